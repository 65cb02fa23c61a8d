"""A preempted job that is started again: one run, one continuous curve, the changes of its configuration kept."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hpkb import curve_file
from hpkb.errors import SourceError
from hpkb.ship import supervise
from hpkb.ship.batch import Batch
from hpkb.ship.resume import hand_over, resuming
from hpkb.ship.rundir import RunDir, RunSettings
from hpkb.ship.shipper import Shipper
from tests.ship.stub_job import process_spool, rows, status, table
from tests.ship.test_shipper import end

pytest.importorskip("torch")
NewRun = Callable[..., RunDir]
SCRIPT = Path(__file__).parents[1] / "capture" / "scripts" / "preempted.py"
SLURM = {"SLURM_JOB_ID": "77", "SLURM_PROCID": "0"}


def attempt(uri: str, folder: Path, *options: str, resume: str = "auto", **environ: str) -> int:
    """One attempt of the job, as `hpkb log` runs it, left in the spool."""
    arguments = ["log", "--tracking-uri", uri, "--experiment", "digits", "--no-wait", "--resume", resume, "--"]
    command = [sys.executable, "-m", "hpkb", *arguments, sys.executable, str(SCRIPT), str(folder), *options]
    env = {**os.environ, "HPKB_LINGER": "1", "OMP_NUM_THREADS": "1", **environ}
    return subprocess.run(command, env=env, capture_output=True, timeout=100).returncode


def losses(uri: str) -> list[int]:
    return [step for (step,) in rows(uri, "SELECT step FROM metrics WHERE key = 'train_loss' ORDER BY timestamp, step")]


def resumed(uri: str) -> tuple[str, str]:
    [(run_id,)] = rows(uri, "SELECT run_uuid FROM runs")
    return str(run_id), table(uri, "tags").get("hpkb.resumed.from_step", "")


def test_a_requeued_job_goes_on_in_its_run(store_uri: str, tmp_path: Path) -> None:
    place = tmp_path / "job"
    place.mkdir()
    assert attempt(store_uri, place, KILL_AT="70", **SLURM) == 137
    assert attempt(store_uri, place, SLURM_RESTART_COUNT="1", RATE="0.02", **SLURM) == 0
    supervise.sync()
    run_id, step = resumed(store_uri)
    assert step == "60"
    assert sorted(losses(store_uri)) == sorted([*range(1, 71), *range(61, 101)])
    assert losses(store_uri)[-40:] == list(range(61, 101))
    assert rows(store_uri, "SELECT step, value FROM latest_metrics WHERE key = 'train_loss'")[0][0] == 100
    params = table(store_uri, "params")
    assert (params["learning_rate"], params["learning_rate.resumed.1"]) == ("0.01", "0.02")
    assert not [name for name in params if name.endswith(".2")]
    assert status(store_uri) == "FINISHED"
    checkpoints = Path(MlflowClient(store_uri).download_artifacts(run_id, "checkpoints.json")).read_text()
    assert '"step": 100' in checkpoints


@pytest.mark.parametrize(("options", "step"), [
    (("--optimizer", "Adam", "--moved"), "60"), (("--moved",), "0"), (("--from-scratch",), "0"),
])  # fmt: skip
def test_by_hand_with_what_is_known_of_the_step(
    store_uri: str, tmp_path: Path, options: tuple[str, ...], step: str
) -> None:
    place = tmp_path / "job"
    place.mkdir()
    assert attempt(store_uri, place, *options, KILL_AT="70") == 137
    assert attempt(store_uri, place, *options, resume="last") == 0
    supervise.sync()
    assert resumed(store_uri)[1] == step
    first = int(step) + 1
    assert losses(store_uri)[70] == first


def _attempt(new_run: NewRun, uri: str, first: int, last: int, ending: str, **settings: object) -> RunDir:
    run = new_run(**settings)
    spool = process_spool(run)
    for step in range(first, last):
        spool.points(step, 1_800_000_000.0 + step, {"train_loss": float(step), "lr": 1.0})
    end(run, ending)
    return run


@pytest.mark.parametrize("cut", [300, 900])
def test_the_whole_curve_has_all_attempts(new_run: NewRun, store_uri: str, tmp_path: Path, cut: int) -> None:
    """Whether the first attempt was long enough to be thinned, or the second, or both."""
    one = _attempt(new_run, store_uri, 0, cut, "KILLED")
    two = _attempt(new_run, store_uri, cut, 1_200, "FINISHED", resumes=one.path.name)
    assert supervise.sync() == 2
    three = _attempt(new_run, store_uri, 1_200, 1_210, "FINISHED", resumes=two.path.name)
    Shipper(store_uri).finish(three)
    run_id, _ = resumed(store_uri)
    file = Path(MlflowClient(store_uri).download_artifacts(run_id, "hpkb/curves.parquet", str(tmp_path)))
    points = [row for batch in curve_file.read(file) for row in batch.to_pylist()]
    assert [(p["step"], p["value"]) for p in points if p["metric"] == "train_loss"] == [
        (step, float(step)) for step in range(1_210)
    ]
    assert status(store_uri) == "FINISHED"


def test_the_earlier_attempt_is_shipped_first(new_run: NewRun, store_uri: str) -> None:
    one = _attempt(new_run, store_uri, 0, 3, "KILLED")
    two = _attempt(new_run, store_uri, 3, 6, "FINISHED", resumes=one.path.name)
    with pytest.raises(Exception, match="comes first"):
        Shipper(store_uri).ship(two)
    assert supervise.sync() == 2
    assert rows(store_uri, "SELECT count(*) FROM runs") == [(1,)]


def test_which_run_is_meant(new_run: NewRun, store_uri: str) -> None:
    settings = RunSettings(store_uri, "digits", command=("python", "train.py"))
    requeued = {**SLURM, "SLURM_RESTART_COUNT": "2"}
    with pytest.raises(SourceError, match="no run to resume"):
        resuming(settings, "last", {})
    one = _attempt(new_run, store_uri, 0, 3, "KILLED", job="slurm::77:0")
    other = _attempt(new_run, store_uri, 0, 3, "KILLED", job="slurm::78:0")
    assert resuming(settings, "auto", {})[1] is None
    assert resuming(settings, "auto", SLURM)[1] is None, "not restarted"
    assert resuming(settings, "never", requeued)[1] is None
    found = resuming(settings, "auto", requeued)
    assert (found[0].resumes, found[0].job) == (one.path.name, "slurm::77:0")
    last = resuming(settings, "last", {})[1]
    assert last is not None
    assert last.path in (one.path, other.path)
    assert resuming(RunSettings(store_uri, "other", command=("x",)), "auto", requeued)[1] is None
    Shipper(store_uri).finish(one)
    assert resuming(settings, str(one.run_id), {})[0].resumes == one.path.name
    named, folder = resuming(settings, "auto", {"MLFLOW_RUN_ID": str(one.run_id)})
    assert (named.resumes, folder and folder.path) == (one.run_id, one.path)
    hand_over(one, other)
    assert (other.path / "resumed.json").exists()


def test_a_run_that_the_store_does_not_have_is_no_reason_to_lose_the_new_one(new_run: NewRun, store_uri: str) -> None:
    run = _attempt(new_run, store_uri, 0, 3, "FINISHED", resumes="0" * 32)
    Shipper(store_uri).finish(run)
    assert status(store_uri) == "FINISHED"
    with closing(sqlite3.connect(store_uri.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("SELECT count(*) FROM metrics").fetchone() == (6,)


def test_names_of_params_that_changed() -> None:
    batch = Batch({"lr": "1", "seed": "1", "seed.2": "2"}, {}, resumed=True)
    batch.add_params({"lr": 2, "seed": 2, "new": 3})
    batch.add_params({"lr": 2, "seed": 4})
    assert batch.params == {"lr.resumed.1": "2", "new": "3", "seed.resumed.1": "4"}
