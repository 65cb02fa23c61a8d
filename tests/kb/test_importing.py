"""What `hpkb import` takes a source for, and which options it takes there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hpkb.cli import cli
from hpkb.errors import HpkbError, SourceError, UsageError
from hpkb.kb import connect, load_sweeps
from hpkb.sources.importing import open_import
from hpkb.sources.table import Layout


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """Six runs of W&B, exported, on two data sets."""
    for i in range(6):
        folder = tmp_path / "sweep" / f"run{i}"
        folder.mkdir(parents=True)
        config = {"opt": {"step_size": 10.0**-i}, "data": "ab"[i % 2], "random": i, "depth": "?"}
        (folder / "config.json").write_text(json.dumps(config))
        rows = [{"_step": step, "val_loss": i + 1 / (step + 1), "val_acc": step / 10} for step in range(5)]
        (folder / "history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "sweep"


def imported(source: Path | str, kb: Path, *options: str) -> str:
    result = CliRunner().invoke(cli, ["import", str(source), "--kb", str(kb), *options])
    if result.exception:
        raise result.exception
    return result.output


def sweeps(kb: Path) -> Sequence[Any]:
    with connect(kb, read_only=True) as connection:
        return load_sweeps(connection)


def test_the_options_hold_for_a_store_as_for_a_table(exported: Path, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    options = (
        "--map", "learning_rate=opt.step_size", "--seed-column", "random", "--task-column", "data",
        "--fixed", "depth=3", "--objective", "val_acc:max",
    )  # fmt: skip
    assert "6 new" in imported(exported, kb, *options)
    first, second = sweeps(kb)
    assert (first.task, second.task) == ("a", "b")
    assert first.objective == "val_acc:max"
    assert {h.name for h in first.hyperparameters} == {"learning_rate"}
    assert first.fixed["depth"] == "3"
    assert sorted(first.seed.tolist()) == [0, 2, 4]
    assert "6 as before" in imported(exported, kb, *options)
    assert "6 changed" in imported(exported, kb, *options, "--fixed", "width=8")
    report = imported(exported, kb, "--map", "momentum=mu")
    assert "6 runs without the parameter 'mu'" in report
    assert {sweep.objective for sweep in sweeps(kb)} == {"val_loss:min"}


def test_an_optuna_storage_by_its_uri_and_by_its_file(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="optuna is not installed (the extra `dev` has it)")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = tmp_path / "studies"  # without an ending
    study = optuna.create_study(storage=f"sqlite:///{file}", study_name="digits")
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1, log=True), n_trials=4)
    assert "4 new" in imported(f"sqlite:///{file}", tmp_path / "kb.duckdb")
    assert "4 as before" in imported(file, tmp_path / "kb.duckdb")
    assert "4 changed" in imported(file, tmp_path / "kb.duckdb", "--fixed", "optimizer=sgd")
    (sweep,) = sweeps(tmp_path / "kb.duckdb")
    assert (sweep.task, sweep.objective, sweep.n_runs) == ("digits", "value:min", 4)


def test_what_cannot_be_imported_is_said_in_a_sentence(exported: Path, tmp_path: Path) -> None:
    for folder in ("empty", "mixed"):
        (tmp_path / folder).mkdir()
    (tmp_path / "mixed" / "events.out.tfevents.1.a").write_bytes(b"")
    (tmp_path / "mixed" / "run-a.wandb").write_bytes(b"")
    (tmp_path / "other.db").touch()
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    cases: list[tuple[type[HpkbError], str, Path, Layout, Path | None]] = [
        (SourceError, "Nothing at .* Give a table", tmp_path / "none", Layout(), None),
        (SourceError, "Nothing to import in", tmp_path / "empty", Layout(), None),
        (SourceError, "W&B runs and TensorBoard runs in it", tmp_path / "mixed", Layout(), None),
        (SourceError, "other.db", tmp_path / "other.db", Layout(), None),
        (SourceError, "Cannot import", Path(__file__), Layout(), None),
        (UsageError, "--run-column is for tables", exported, Layout(run_column="id"), None),
        (UsageError, "--curves is for tables", exported, Layout(), tmp_path / "curves.csv"),
        (UsageError, "--map infeasible is for tables", exported, Layout(mapping={"infeasible": "x"}), None),
    ]
    for kind, message, path, layout, curves in cases:
        with pytest.raises(kind, match=message) as error:
            open_import(str(path), layout, curves)
        assert "\n" not in str(error.value)
    with pytest.raises(SourceError, match="has the metric 'top1'"):
        imported(exported, tmp_path / "kb.duckdb", "--objective", "top1:max")
    assert not (tmp_path / "kb.duckdb").exists()


def test_event_files_in_a_run_of_wandb_are_that_runs(tmp_path: Path) -> None:
    run = tmp_path / "wandb" / "offline-run-20261123_235139-ut8a88wm"
    (run / "files").mkdir(parents=True)
    (run / "run-ut8a88wm.wandb").write_bytes(b":W&B\xe1\xbe\0")
    (run / "files" / "events.out.tfevents.1.a").write_bytes(b"")
    assert open_import(str(tmp_path), Layout(), None).source.kind == "wandb_offline"
