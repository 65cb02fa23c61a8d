"""What spools hold arrives in MLflow, point by point, once; whatever dies in between."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hpkb.capture.spool import FRAME, MAGIC, VALUE
from hpkb.capture.spool import POINTS as POINT
from hpkb.errors import TrackingError
from hpkb.ship import supervise
from hpkb.ship.rundir import Progress, RunDir, unshipped
from hpkb.ship.shipper import Shipper
from hpkb.ship.store import Store
from tests.ship.stub_job import fork, process_spool, rows, status, table

NewRun = Callable[..., RunDir]
POINTS = "SELECT key, step, timestamp, value, is_nan FROM metrics ORDER BY key, step"


def end(run: RunDir, ending: str = "FINISHED", reason: str = "exit status 0") -> None:
    run.record(
        {"type": "end", "status": ending, "reason": reason, "exit_status": 0, "ended_at": 1_900_000_000.5, "dropped": 0}
    )


def test_everything_arrives_at_its_place(new_run: NewRun, store_uri: str) -> None:
    run = new_run(task="digits/mlp", run_name="first", tags={"team": "a"}, params={"lr": "0.1"})
    spool = process_spool(run)
    values = {"learning_rate": 0.1, "cli.dropout": 0.25, "cli.key_dim": 8}
    spool.write({"type": "params", "values": values, "origin": "argparse"})
    spool.write({"type": "tags", "values": {"hpkb.hw.cpu.model": "a chip", "hpkb.code.commit": "abc"}})
    spool.write({"type": "split", "role": "training", "dataset": "TensorDataset", "n": 1437,
                 "digest": "0123456789abcdef", "digest_of": "all"})  # fmt: skip
    for step in range(3):
        spool.points(step, 1_800_000_000.25 + step, {"train_loss": 0.1 * step})
    end(run)
    assert Shipper(store_uri).finish(run) == 3
    params, tags = table(store_uri, "params"), table(store_uri, "tags")
    assert params == {
        "learning_rate": "0.1", "config.lr": "0.1", "cli.dropout": "0.25", "dropout": "0.25", "cli.key_dim": "8",
    }  # fmt: skip
    assert rows(store_uri, POINTS) == [("train_loss", i, 1_800_000_000_250 + 1000 * i, 0.1 * i, 0) for i in range(3)]
    expected = {
        "hpkb.task": "digits/mlp", "hpkb.schema": "1", "hpkb.hw.cpu.model": "a chip", "team": "a",
        "hpkb.code.commit": "abc", "mlflow.source.git.commit": "abc", "mlflow.source.name": "train.py",
        "mlflow.runName": "first",
        "hpkb.split.training.digest": "0123456789abcdef", "hpkb.split.training.n": "1437",
        "hpkb.command": "python train.py", "hpkb.end.reason": "exit status 0",
    }  # fmt: skip
    assert expected.items() <= tags.items()
    assert rows(store_uri, "SELECT status, end_time, start_time FROM runs") == [
        ("FINISHED", 1_900_000_000_500, int(run.created_at * 1000))
    ]
    client = MlflowClient(store_uri)
    [found] = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    [split] = found.inputs.dataset_inputs
    assert (split.dataset.name, split.dataset.digest) == ("TensorDataset", "0123456789abcdef")
    assert [(tag.key, tag.value) for tag in split.tags] == [("mlflow.data.context", "training")]
    assert list(run.path.glob("*.spool")) == []
    assert unshipped() == []


def test_nan_and_infinities_survive(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    spool = process_spool(run)
    for step, value in enumerate([math.nan, math.inf, -math.inf, 1.0]):
        spool.points(step, 1.0 + step, {"train_loss": value})
    Shipper(store_uri).ship(run)
    assert [row[3:] for row in rows(store_uri, POINTS)] == [
        (0.0, 1), (1.7976931348623157e308, 0), (-1.7976931348623157e308, 0), (1.0, 0),
    ]  # fmt: skip


def test_a_running_job_is_shipped_bit_by_bit(new_run: NewRun, store_uri: str) -> None:
    run, shipper = new_run(), Shipper(store_uri)
    spool = process_spool(run)
    assert shipper.ship(run) == 0
    spool.points(0, 1.0, {"a": 1.0})
    assert shipper.ship(run) == 1
    spool.points(1, 2.0, {"a": 1.0, "b": 2.0})
    assert (shipper.ship(run), shipper.ship(run)) == (2, 0)
    assert status(store_uri) == "RUNNING"
    assert Shipper(store_uri).ship(run) == 0  # another shipper goes on where the positions say
    assert len(rows(store_uri, POINTS)) == 3


def test_many_points_go_in_full_batches(new_run: NewRun, store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(full_metrics=True)
    spool = process_spool(run)
    for step in range(700):
        spool.points(step, float(step), {"a": 1.0, "b": 2.0, "c": 3.0})
    sizes: list[int] = []
    original = MlflowClient.log_batch

    def count(self: MlflowClient, run_id: str, metrics: Sequence[object] = (), **rest: object) -> None:
        sizes.extend([len(metrics)] if metrics else [])
        original(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(MlflowClient, "log_batch", count)
    assert Shipper(store_uri).ship(run) == 2100
    assert sizes == [951, 951, 198]
    assert rows(store_uri, "SELECT count(*) FROM metrics") == [(2100,)]


def test_params_of_several_processes_are_merged(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    first, second = process_spool(run, pid=1 << 22), process_spool(run, pid=(1 << 22) + 1)
    first.write({"type": "params", "values": {"learning_rate": 0.001, "seed": 1}, "origin": "optimizer"})
    second.write({"type": "params", "values": {"learning_rate": 0.01, "seed": 1}, "origin": "optimizer"})
    Shipper(store_uri).finish(run)
    again = process_spool(run, pid=(1 << 22) + 2)
    again.write({"type": "params", "values": {"learning_rate": "1e-2"}, "origin": "optimizer"})
    Shipper(store_uri).finish(run)
    assert table(store_uri, "params") == {"learning_rate": "0.001", "learning_rate.2": "0.01", "seed": "1"}


def test_a_param_that_the_script_logged_itself_is_resumed(store_uri: str) -> None:
    store = Store(store_uri)
    run_id = store.create_run(store.experiment("digits"), None, 1, {})
    store.log(run_id, {"learning_rate": "0.1", "a": "1"}, {}, [])
    store.log(run_id, {"learning_rate": "0.2", "a": "1.0", "b": "1"}, {}, [])
    store.log(run_id, {"learning_rate": "0.3"}, {}, [])
    assert table(store_uri, "params") == {
        "learning_rate": "0.1", "a": "1", "b": "1", "learning_rate.resumed.1": "0.2", "learning_rate.resumed.2": "0.3",
    }  # fmt: skip


def test_long_and_refused_params_arrive(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    spool = process_spool(run)
    long_name = "layer." * 60
    values = {f"p{i}": "é" * 7000 for i in range(150)} | {"acc@5": 1, "": 2, long_name: 3, "config.api_key": "geheim"}
    spool.write({"type": "params", "values": values, "origin": "user"})
    spool.points(0, 1.0, {"top@5 (val)": 1.0})
    Shipper(store_uri).ship(run)
    params = table(store_uri, "params")
    assert len(params) == 154
    assert len(params["p0"]) == 6000
    assert params["acc_x40_5"] == "1"
    assert "geheim" not in params.values()
    assert long_name in table(store_uri, "tags").values()
    assert rows(store_uri, POINTS)[0][0] == "top_x40_5 _x28_val_x29_"


def test_a_failure_says_why(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    spool = process_spool(run)
    spool.write({"type": "end", "status": "FAILED", "reason": "ValueError: bad", "ended_at": 5.0, "dropped": 7})
    end(run, "FAILED", "exit status 1")
    Shipper(store_uri).finish(run)
    assert status(store_uri) == "FAILED"
    tags = table(store_uri, "tags")
    assert (tags["hpkb.end.reason"], tags["hpkb.spool.dropped"]) == ("exit status 1: ValueError: bad", "7")


def test_a_run_without_an_end_is_closed_as_killed(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    run.record({"type": "child", "pid": 1 << 22})
    process_spool(run).points(0, time.time() + 50, {"a": 1.0})
    os.utime(run.path / "supervisor.spool", (time.time() - 86400 * 365,) * 2)  # nobody of it is there any more
    assert supervise.sync() == 1
    assert status(store_uri) == "KILLED"
    assert rows(store_uri, "SELECT end_time - start_time > 49000 FROM runs") == [(1,)]


def test_a_process_that_outlives_the_end_is_still_shipped(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    spool = process_spool(run, os.getpid())
    spool.points(0, 1.0, {"a": 1.0})
    end(run)
    assert Shipper(store_uri).finish(run) == 1
    assert unshipped() == []
    spool.points(1, 2.0, {"a": 2.0})
    assert supervise.sync() == 1
    assert len(rows(store_uri, POINTS)) == 2
    assert status(store_uri) == "FINISHED"
    spool.write({"type": "end", "status": "FINISHED", "reason": "exit status 0", "ended_at": 3.0, "dropped": 0})
    supervise.sync()
    assert run.spools() == []


def test_a_damaged_spool_gives_what_is_before_the_damage(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    spool = process_spool(run)
    for step in range(10):
        spool.points(step, float(step), {"a": 1.0})
    file = Path(spool.path)
    content = bytearray(file.read_bytes())
    content[-20] ^= 0xFF
    file.write_bytes(content)
    end(run)
    assert Shipper(store_uri).finish(run) == 9
    assert "damaged at byte" in table(store_uri, "tags")["hpkb.spool.damage"]
    assert [left.name for left in run.path.glob("*.damaged")] == [f"{file.name}.damaged"]
    assert unshipped() == []


def ship_and_die(run: RunDir, saves: int) -> None:
    """Ships the run, but is killed when it writes down what was acknowledged for the time after `saves`."""
    save, left = RunDir.save, iter(range(saves))

    def dying_save(self: RunDir, progress: Progress, durable: bool = False) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, progress, durable)

    RunDir.save = dying_save  # type: ignore[method-assign]
    Shipper(run.settings.tracking_uri).finish(run)


@pytest.mark.parametrize("saves", [1, 3])
def test_a_shipper_killed_between_sending_and_writing_it_down(new_run: NewRun, store_uri: str, saves: int) -> None:
    run = new_run(params={"seed": "1"}, full_metrics=True)
    spool = process_spool(run)
    for step in range(1500):
        spool.points(step, float(step), {"a": 1.0, "b": step})
    spool.write({"type": "params", "values": {"seed": 2}, "origin": "user"})
    end(run)
    shipper = fork(ship_and_die, run, saves)
    shipper.join(60)
    assert shipper.exitcode == -signal.SIGKILL
    assert len(rows(store_uri, "SELECT 1 FROM runs")) == 1
    before = len(rows(store_uri, POINTS))
    assert (before > 0) == (saves == 3)
    assert supervise.sync() == 1
    assert len(rows(store_uri, "SELECT 1 FROM runs")) == 1
    assert rows(store_uri, "SELECT key, count(*), count(DISTINCT step) FROM metrics GROUP BY key") == [
        ("a", 1500, 1500), ("b", 1500, 1500),
    ]  # fmt: skip
    assert table(store_uri, "params") == {"seed": "1", "seed.2": "2"}
    assert status(store_uri) == "FINISHED"


def test_two_shippers_never_take_the_same_run(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    end(run)
    with run.lock():
        assert supervise.sync() == 0
    assert supervise.sync() == 1


def test_an_experiment_is_made_once(store_uri: str) -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(Store(store_uri).experiment("new"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_a_deleted_experiment_is_one_sentence(store_uri: str) -> None:
    store = Store(store_uri)
    MlflowClient(store_uri).delete_experiment(store.experiment("old"))
    with pytest.raises(TrackingError, match="restore -x"):
        store.experiment("old")


@pytest.mark.parametrize("bytes_kept", ["those of the opened file", "those before the first point"])
def test_a_process_that_is_killed_before_its_first_point_leaves_nothing_to_ship(
    new_run: NewRun, store_uri: str, bytes_kept: str
) -> None:
    """Between the names of its points and the points, or right after it has opened its file."""
    run = new_run()
    spool = process_spool(run)
    spool.points(1, time.time(), {"train_loss": 1.0})
    spool.close()
    [file] = run.path.glob("process-*.spool")
    point = FRAME.size + POINT.size + VALUE.size
    file.write_bytes(MAGIC if "opened" in bytes_kept else file.read_bytes()[:-point])
    end(run, "KILLED", "SIGKILL")
    Shipper(store_uri).finish(run)
    assert not run.to_ship()
    assert not list(run.path.glob("*.spool*"))
    assert "hpkb.spool.damage" not in table(store_uri, "tags")


def test_a_new_store_has_the_rights_that_its_user_gives_to_new_files(tmp_path: Path) -> None:
    """SQLite's own would shut a group out."""
    before = os.umask(0o007)
    try:
        Store(f"sqlite:///{tmp_path / 'shared.db'}")
    finally:
        os.umask(before)
    assert (tmp_path / "shared.db").stat().st_mode & 0o777 == 0o660


def test_an_older_store_is_not_migrated(store_uri: str) -> None:
    file = store_uri.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        connection.execute("DROP TABLE input_tags")
    os.utime(file, (1, 1))
    with pytest.raises(TrackingError, match=r"older MLflow \(schema 451aebb31d03.*mlflow db upgrade"):
        Store(store_uri)
    assert rows(store_uri, "SELECT 1 FROM sqlite_master WHERE name = 'input_tags'") == []


def test_a_newer_store_and_foreign_files_are_left_alone(store_uri: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store_uri.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    os.utime(store_uri.removeprefix("sqlite:///"), (1, 1))
    with pytest.raises(TrackingError, match="newer MLflow"):
        Store(store_uri)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection, connection:
        connection.execute("CREATE TABLE mine (x)")
    os.utime(tmp_path / "other.db", (1, 1))
    with pytest.raises(TrackingError, match="no MLflow store"):
        Store(f"sqlite:///{tmp_path / 'other.db'}")
    (tmp_path / "text.db").write_text("hello, this is no database at all\n" * 50)
    with pytest.raises(TrackingError, match="cannot be read as an SQLite file"):
        Store(f"sqlite:///{tmp_path / 'text.db'}")


def test_a_store_of_ours_is_in_wal_mode_and_a_foreign_one_is_not_switched(made_store: Path, store_uri: str) -> None:
    assert rows(f"sqlite:///{made_store}", "PRAGMA journal_mode") == [("wal",)]
    rows(store_uri, "PRAGMA journal_mode = delete")
    Store(store_uri)
    assert rows(store_uri, "PRAGMA journal_mode") == [("delete",)]
    assert [file.name for file in made_store.parent.iterdir() if file.name.startswith(".")] == []
