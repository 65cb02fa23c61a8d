"""Runs of W&B that were exported with its interface for Python, in the forms that people write."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from hpkb.errors import SourceError
from hpkb.kb import ingest_into
from hpkb.sources.wandb_export import WandbExport, is_export
from tests.kb.test_wandb import read

ROWS: list[dict[str, Any]] = [
    {"_step": 0, "_timestamp": 1_700_000_000.5, "train/loss": 1.0, "val_loss": None, "note": "x"},
    {"_step": 10, "_timestamp": 1_700_000_010.5, "train/loss": "NaN", "val_loss": 0.5, "note": None},
    {"_step": 20, "_timestamp": 1_700_000_020.5, "train/loss": "-Infinity", "val_loss": None, "note": "x"},
]
CURVES = {
    "train/loss": [(0, 1.0), (10, math.nan), (20, -math.inf)],
    "val_loss": [(10, 0.5)],
    "best": [(20, 0.4)],
}
CONFIG = {"lr": 1e-3, "optim": {"name": "adam", "betas": [0.9, 0.99]}, "wd": None, "_wandb": {"x": 1}}
SUMMARY = {
    "_step": 20,
    "_timestamp": 1_700_000_020.5,
    "val_loss": 0.5,
    "best": 0.4,
    "img": {"_type": "image-file"},
}


def history(folder: Path, form: str) -> None:
    file = folder / f"history.{form}"
    if form == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif form == "json":
        file.write_text(json.dumps(ROWS))
    elif form == "parquet":
        rows = [{**row, "train/loss": str(row["train/loss"])} for row in ROWS]
        pa.parquet.write_table(pa.Table.from_pylist(rows), file)
    else:
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ROWS[0])
            writer.writeheader()
            writer.writerows(ROWS)


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet"])
def test_a_folder_a_run(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "export" / "abc123"
    folder.mkdir(parents=True)
    history(folder, form)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "wandb-summary.json").write_text(json.dumps(SUMMARY))
    meta = {
        "id": "abc123",
        "name": "first",
        "project": "digits",
        "state": "crashed",
        "created_at": "2023-11-14T22:13:20Z",
    }
    (folder / "run.json").write_text(json.dumps(meta))
    (folder / "wandb-metadata.json").write_text(
        json.dumps({"gpu": "a GPU", "git": {"commit": "0a"}, "id": "not this"})
    )
    source = WandbExport(tmp_path / "export")
    ((run_id, run),) = read(source).items()
    assert run_id == "digits/abc123"
    assert repr(run["curves"]) == repr(CURVES)
    assert run["params"] == {"lr": "0.001", "optim.name": "adam", "optim.betas": "[0.9, 0.99]", "wd": "None"}
    assert (run["run_name"], run["task"], run["status"]) == ("first", "digits", "KILLED")
    assert run["started_at"].isoformat() == "2023-11-14T22:13:20"
    assert run["ended_at"].isoformat() == "2023-11-14T22:13:40.500000"
    facts = source.hardware(pa.array([run_id])).to_pylist()
    assert {fact["name"]: fact["value"] for fact in facts} == {
        "hpkb.hw.gpu.name": "a GPU",
        "hpkb.code.commit": "0a",
    }
    assert source.notes() == {}


def test_the_files_of_a_run_that_was_online(tmp_path: Path) -> None:
    folder = tmp_path / "mnist" / "run-20231114_221320-abc" / "files"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "wandb_version: 1\nlr:\n  desc: null\n  value: 0.1\noptim:\n  value:\n    name: sgd\n"
    )
    (folder / "wandb-summary.json").write_text('{"val_loss": NaN, "_step": 7}')
    ((run_id, run),) = read(WandbExport(tmp_path / "mnist")).items()
    assert run_id == "mnist/run-20231114_221320-abc"
    assert run["params"] == {"lr": "0.1", "optim.name": "sgd"}
    assert repr(run["curves"]) == repr({"val_loss": [(0, math.nan)]})
    assert run["status"] == "FINISHED"


@pytest.mark.parametrize("form", ["csv", "json", "columns", "jsonl"])
def test_a_run_a_row(tmp_path: Path, form: str) -> None:
    diverged = {"val_loss": math.nan, "best": -math.inf}
    rows = [
        {"summary": SUMMARY, "config": CONFIG, "name": "first"},
        {"summary": diverged, "config": {"lr": 1}, "name": "b"},
    ]
    path = tmp_path / f"project.{'json' if form == 'columns' else form}"
    if form == "csv":  # the script of W&B's documentation
        pandas = pytest.importorskip("pandas", reason="pandas is not installed (it comes with mlflow)")
        pandas.DataFrame(rows).to_csv(path)
    elif form == "columns":
        path.write_text(
            json.dumps({name: {str(i): row[name] for i, row in enumerate(rows)} for name in rows[0]})
        )
    elif form == "json":
        path.write_text(
            json.dumps([{**row, "history": ROWS if row["name"] == "first" else []} for row in rows])
        )
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs = read(WandbExport(path))
    first, second = runs["project/project/0"], runs["project/project/1"]
    assert first["params"]["optim.betas"] == "[0.9, 0.99]"
    assert repr(first["curves"]) == repr(
        CURVES if form == "json" else {"val_loss": [(0, 0.5)], "best": [(0, 0.4)]}
    )
    assert repr(second["curves"]) == repr({"val_loss": [(0, math.nan)], "best": [(0, -math.inf)]})
    assert (first["run_name"], first["status"]) == ("first", "FINISHED")


def test_importing_again_reads_what_changed(tmp_path: Path) -> None:
    path, kb = tmp_path / "project.jsonl", tmp_path / "kb.duckdb"
    rows = [{"id": f"r{i}", "config": {"lr": 10.0**-i}, "summary": {"val_loss": i}} for i in range(4)]
    for changed in (4, 0, 1):
        rows[0]["summary"] = {"val_loss": 9} if changed == 1 else {"val_loss": 0}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        report = ingest_into(kb, WandbExport(path))
        assert (report.new + report.changed, report.unchanged) == (changed, 4 - changed)


def test_damage_is_counted_and_no_export_is_said_in_a_sentence(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / "export" / name).mkdir(parents=True)
        (tmp_path / "export" / name / "config.json").write_text('{"lr": 1}' if name == "good" else "{")
        (tmp_path / "export" / name / "history.jsonl").write_text('{"_step": 3, "loss": 1}\n{"_step": 4, "lo')
    source = WandbExport(tmp_path / "export")
    runs = read(source)
    assert [run["curves"] for run in runs.values()] == [{"loss": [(3, 1.0)]}] * 2
    assert source.notes() == {"files of W&B exports that could not be read, left out": 3}
    (tmp_path / "runs.json").write_text('[{"config": {}, "summary": ')
    with pytest.raises(SourceError, match="it is damaged"):
        WandbExport(tmp_path / "runs.json").fingerprints()
    with pytest.raises(SourceError, match="No W&B export at"):
        WandbExport(tmp_path / "export" / "good" / "history.jsonl")
    assert not is_export(tmp_path / "export" / "good" / "config.json")
