"""Long curves: bounded in MLflow's metrics, whole among the artifacts, the same whoever ships them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hpkb import curve_file
from hpkb.ship.rundir import RunDir, RunSettings
from hpkb.ship.shipper import Shipper
from tests.ship.stub_job import process_spool, rows, table

NewRun = Callable[..., RunDir]
STEPS = 5_000
POINTS = "SELECT key, step, timestamp, value FROM metrics ORDER BY key, step, timestamp, value"


def _write(run: RunDir, first: int = 0, last: int = STEPS, seed: int = 0) -> None:
    noise = random.Random(seed)
    spool = process_spool(run)
    for step in range(first, last):
        spool.points(step, 1_800_000_000.0 + step, {"train_loss": noise.random(), "learning_rate": 0.1})
    spool.write({"type": "end", "status": "FINISHED", "reason": "", "exit_status": 0, "ended_at": 1.9e9, "dropped": 0})


def _file(uri: str, folder: Path) -> Path:
    client = MlflowClient(uri)
    [run] = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert run.data.tags[curve_file.TAG] == "hpkb/curves.parquet"
    return Path(client.download_artifacts(run.info.run_id, "hpkb/curves.parquet", str(folder)))


def test_metrics_are_bounded_and_the_file_is_whole(new_run: NewRun, store_uri: str, tmp_path: Path) -> None:
    run = new_run()
    _write(run)
    Shipper(store_uri).finish(run)
    sent = rows(store_uri, POINTS)
    counts = {key: sum(row[0] == key for row in sent) for key in ("train_loss", "train_loss.sd", "learning_rate")}
    assert 900 < counts["train_loss"] < 1_000
    assert 380 < counts["train_loss.sd"] < counts["train_loss"] - 512
    points = [row for batch in curve_file.read(_file(store_uri, tmp_path)) for row in batch.to_pylist()]
    noise = random.Random(0)
    assert [point["value"] for point in points if point["metric"] == "train_loss"] == [
        noise.random() for _ in range(STEPS)
    ]
    assert [point["step"] for point in points if point["metric"] == "learning_rate"] == list(range(STEPS))
    assert not list(run.path.glob("*.parquet"))


@pytest.mark.parametrize("every", [1, 7])
def test_shippers_that_die_leave_the_same_points(new_run: NewRun, store_uri: str, every: int) -> None:
    one, other = new_run(experiment="one"), new_run(experiment="other")
    _write(one)
    Shipper(store_uri).finish(one)
    spool = process_spool(other)
    noise = random.Random(0)
    for step in range(STEPS):
        spool.points(step, 1_800_000_000.0 + step, {"train_loss": noise.random(), "learning_rate": 0.1})
        if step % 501 == 0:
            shipper = Shipper(store_uri)
            before = other.progress()
            shipper.ship(other)
            if before is not None and before.run_id and (step // 501) % every == 0:
                other.save(before)  # the store has taken what the shipper did not come to write down
    spool.write({"type": "end", "status": "FINISHED", "reason": "", "exit_status": 0, "ended_at": 1.9e9, "dropped": 0})
    Shipper(store_uri).finish(other)
    query = (
        "SELECT key, step, timestamp, value FROM metrics m JOIN runs r USING (run_uuid) JOIN experiments e "
        "ON e.experiment_id = r.experiment_id WHERE e.name = '{}' ORDER BY key, step, timestamp, value"
    )
    assert rows(store_uri, query.format("other")) == rows(store_uri, query.format("one"))


def test_full_metrics_sends_every_point_and_no_file(new_run: NewRun, store_uri: str) -> None:
    run = new_run(full_metrics=True)
    _write(run, last=2_000)
    Shipper(store_uri).finish(run)
    assert len(rows(store_uri, POINTS)) == 4_000
    assert curve_file.TAG not in table(store_uri, "tags")


def test_artifacts_that_cannot_be_written_keep_the_file(new_run: NewRun, store_uri: str, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the artifacts should be a folder")
    MlflowClient(store_uri).create_experiment("digits", artifact_location=str(blocked))
    run = new_run()
    _write(run, last=1_000)
    Shipper(store_uri).finish(run)
    assert run.finished
    assert table(store_uri, "tags")["hpkb.artifacts.failed"] == "hpkb/curves.parquet"
    assert len(list(run.path.glob("*-curves.parquet"))) == 1


def test_a_long_parameter_is_whole_in_an_artifact(new_run: NewRun, store_uri: str) -> None:
    run, text = new_run(), "x" * 20_000
    process_spool(run).write({"type": "params", "values": {"cli.prompt": text}, "origin": "argparse"})
    Shipper(store_uri).finish(run)
    assert table(store_uri, "params")["cli.prompt"].endswith("[cut by hpkb]")
    client = MlflowClient(store_uri)
    [found] = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert Path(client.download_artifacts(found.info.run_id, "params/cli.prompt.txt")).read_text() == text


def test_artifacts_lie_beside_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    for experiment in ("Default", "vision/cifar"):
        run = RunDir.create(RunSettings(uri, experiment))
        process_spool(run).write({"type": "artifact", "path": "code/dirty.diff", "text": "+1"})
        Shipper(uri).finish(run)
    found = sorted(file.relative_to(tmp_path) for file in tmp_path.rglob("dirty.diff"))
    assert [file.parts[:3] for file in found] == [("new", "mlruns", "0"), ("new", "mlruns", "vision")]
