"""Reading W&B's own folders, made by the real wandb offline: what was logged comes out, and not one byte changes."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hpkb.errors import SourceError
from hpkb.kb import connect, ingest_into
from hpkb.sources import Source
from hpkb.sources.wandb_offline import WandbOffline
from hpkb.sources.wandb_records import DAMAGED, FOREIGN, UNFINISHED

pytest.importorskip("wandb", reason="wandb is not installed (the extra `dev` has it)")

NASTY = "größe/2 – \"b\" 'c'; SELECT 🦀"
LONG = "🦀é" * 3000
STEPS = 400  # some blocks of the file
KILLED_STEPS = 3000

SCRIPT = f"""
import math, os, sys
import wandb

kind = sys.argv[1]
optim = {{"name": "adam", "betas": [0.9, 0.99], "deep": {{"wd": None}}}}
config = {{"lr": 1e-3, "optim": optim, "flag": True, {NASTY!r}: {LONG!r}}}
settings = wandb.Settings(x_disable_stats=True)
options = dict(project="digits", name=f"{{kind}} run", id=f"id-{{kind}}", config=config, settings=settings)
if kind == "steps":
    run = wandb.init(**options)
    run.define_metric("global_step")
    run.define_metric("train/*", step_metric="global_step")
    for i in range(10):
        run.log({{"train/loss": 1.0 / (i + 1), "global_step": 500 * i, "other": float(i)}})
    run.finish()
    sys.exit()
run = wandb.init(**options)
run.config.update({{"late": "set later", "optim": {{"name": "sgd"}}}}, allow_val_change=True)
for i in range({KILLED_STEPS} if kind == "killed" else {STEPS}):
    run.log({{"train/loss": 1.0 / (i + 1), "val": {{"loss": i * 0.1}}, "select": i, "text": "x", "flag": i % 2 == 0}})
run.log({{"odd": math.nan}}, step=1000)
run.log({{"odd": math.inf, {NASTY!r}: -math.inf}}, step=2000)
run.log({{"odd": 1e300}}, step=2001)
run.summary["test_accuracy"] = 0.75
if kind == "killed":
    os._exit(9)
if kind == "raises":
    raise ValueError("no")
if kind == "interrupted":
    raise KeyboardInterrupt
run.finish(exit_code=3 if kind == "failed" else 0)
"""


def log(folder: Path, kind: str) -> None:
    """Lets the real wandb write a run."""
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(folder)}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, kind], env=environment, cwd=folder, capture_output=True, timeout=240
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of every kind."""
    folder = tmp_path_factory.mktemp("made")
    for kind in ("plain", "failed", "raises", "interrupted", "killed", "steps"):
        log(folder, kind)
    assert len(list(folder.glob("wandb/offline-run-*/*.wandb"))) == 6
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the test's own."""
    return shutil.copytree(made / "wandb", tmp_path / "wandb", symlinks=True)


def file_of(folder: Path, kind: str) -> Path:
    return next(folder.glob(f"offline-run-*/run-id-{kind}.wandb"))


def read(source: Source) -> dict[str, dict[str, Any]]:
    """All that there is, by W&B's id."""
    ids = source.fingerprints()["run_id"].combine_chunks()
    runs: dict[str, dict[str, Any]] = {
        row["run_id"]: {**row, "params": {}, "curves": {}, "times": []}
        for row in source.runs(ids).to_pylist()
    }
    for row in source.parameters(ids).to_pylist():
        runs[row["run_id"]]["params"][row["name"]] = row["value"]
    for batch in source.curves(ids):
        for row in batch.to_pylist():
            runs[row["run_id"]]["curves"].setdefault(row["metric"], []).append((row["step"], row["value"]))
            runs[row["run_id"]]["times"].append(row["timestamp"])
    return {run_id.removeprefix("digits/id-"): run for run_id, run in runs.items()}


def test_what_was_logged_comes_out(made: Path) -> None:
    before = {
        file: (file.read_bytes(), file.stat().st_mtime_ns) for file in made.rglob("*") if file.is_file()
    }
    source = WandbOffline(made)
    run = read(source)["plain"]
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in before} == before
    assert source.notes() == {}
    assert (run["experiment"], run["task"], run["run_name"]) == ("digits", "digits", "plain run")
    assert run["params"] == {
        "lr": "0.001", "optim.name": "sgd", "flag": "True", NASTY: LONG, "late": "set later",
    }  # fmt: skip
    curves = run["curves"]
    assert curves["train/loss"] == [(i, 1 / (i + 1)) for i in range(STEPS)]
    assert curves["val.loss"] == [(i, i * 0.1) for i in range(STEPS)]
    assert curves["select"] == [(i, i) for i in range(STEPS)]
    assert curves["flag"] == [(i, float(i % 2 == 0)) for i in range(STEPS)]
    assert repr(curves["odd"]) == repr([(1000, math.nan), (2000, math.inf), (2001, 1e300)])
    assert curves[NASTY] == [(2000, -math.inf)]
    assert curves["test_accuracy"] == [(2001, 0.75)]
    assert set(curves) == {"train/loss", "val.loss", "select", "flag", "odd", NASTY, "test_accuracy"}
    assert run["started_at"] <= min(run["times"]) <= max(run["times"]) <= run["ended_at"]


def test_every_end_is_what_it_was(folder: Path) -> None:
    def ends() -> dict[str, tuple[str, str | None]]:
        return {kind: (run["status"], run["end_reason"]) for kind, run in read(WandbOffline(folder)).items()}

    cut = file_of(folder, "killed")  # W&B writes in another process, which may have been quick enough to have it all
    os.truncate(cut, cut.stat().st_size * 2 // 3)
    known = {
        "plain": ("FINISHED", None), "steps": ("FINISHED", None), "failed": ("FAILED", "exit code 3"),
        "raises": ("FAILED", "exit code 1"), "interrupted": ("KILLED", "interrupted"),
    }  # fmt: skip
    assert ends() == {**known, "killed": ("RUNNING", None)}
    for file in folder.rglob("*.wandb"):
        os.utime(file, (time.time() - 86400,) * 2)
    assert ends() == {**known, "killed": ("KILLED", "crashed")}
    kept = read(WandbOffline(folder))["killed"]["curves"]["train/loss"]
    assert 0 < len(kept) < KILLED_STEPS
    assert kept == [(i, 1 / (i + 1)) for i in range(len(kept))]


def test_a_metric_is_drawn_over_the_step_metric_that_it_was_given(made: Path) -> None:
    curves = read(WandbOffline(made))["steps"]["curves"]
    assert curves["train/loss"] == [(500 * i, 1 / (i + 1)) for i in range(10)]
    assert curves["other"] == [(i, float(i)) for i in range(10)]


def test_a_resumed_run_is_one_and_a_copy_none(folder: Path, tmp_path: Path) -> None:
    log(tmp_path, "failed")
    shutil.copytree(
        file_of(folder, "plain").parent, tmp_path / "backup" / file_of(folder, "plain").parent.name
    )
    source = WandbOffline(tmp_path)
    runs = read(source)
    assert len(runs) == 6
    assert len(runs["failed"]["curves"]["train/loss"]) == 2 * STEPS
    assert len(runs["plain"]["curves"]["train/loss"]) == STEPS
    assert source.notes() == {"copies of W&B run folders, left out": 1}


def test_damage_costs_what_is_damaged(folder: Path) -> None:
    file = file_of(folder, "plain")
    whole = file.read_bytes()
    complete = read(WandbOffline(folder))["plain"]["curves"]["train/loss"]
    for size in (40_000, 50_000, 65_537, len(whole) - 1):
        file.write_bytes(whole[:size])
        source = WandbOffline(folder)
        run = read(source)["plain"]
        assert source.notes() == {UNFINISHED: 1}
        assert run["status"] == "RUNNING"
        assert run["curves"]["train/loss"] == complete[: len(run["curves"]["train/loss"])]
    file.write_bytes(whole[:40_000] + bytes([whole[40_000] ^ 1]) + whole[40_001:])
    source = WandbOffline(folder)
    run = read(source)["plain"]
    assert source.notes() == {DAMAGED: 1}
    assert run["status"] == "FINISHED"
    assert run["curves"]["train/loss"][-1] == complete[-1]
    assert set(run["curves"]["train/loss"]) < set(complete)


def test_files_that_say_nothing_are_counted(folder: Path) -> None:
    for name, content in (
        ("run-a.wandb", b""),
        ("run-b.wandb", b":W&B\xe1\xbe\0"),
        ("run-c.wandb", b"no file of theirs"),
    ):
        (folder / name).write_bytes(content)
    source = WandbOffline(folder)
    assert len(read(source)) == 6
    assert source.notes() == {"W&B files that end before they say whose they are, left out": 3, FOREIGN: 1}


def test_importing_again_reads_what_changed(folder: Path, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    assert ingest_into(kb, WandbOffline(folder), objective="train/loss:min").new == 6
    report = ingest_into(kb, WandbOffline(folder), objective="train/loss:min")
    assert (report.unchanged, report.points) == (6, 0)
    moved = folder.rename(tmp_path / "elsewhere")
    file = file_of(moved, "plain")
    file.write_bytes(file.read_bytes()[:40_000])
    report = ingest_into(kb, WandbOffline(moved), objective="train/loss:min")
    assert (report.unchanged, report.changed) == (5, 1)
    with connect(kb, read_only=True) as connection:
        statuses = connection.execute(
            "SELECT run_id, status FROM runs WHERE run_id = 'digits/id-plain'"
        ).fetchall()
    assert statuses == [("digits/id-plain", "RUNNING")]


def test_what_is_missing_is_said_in_a_sentence(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match="No W&B runs in"):
        WandbOffline(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb.proto", None)
    with pytest.raises(SourceError, match=r"pip install 'hpkb\[wandb\]'"):
        WandbOffline(made)
