"""Several trainings in one job: a run each below one parent, whatever dies in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpkb.capture.spool import SpoolWriter
from hpkb.ship import supervise
from hpkb.ship.rundir import RunDir
from hpkb.ship.shipper import Shipper
from hpkb.ship.trainings import Trainings
from tests.ship.stub_job import fork, process_spool, rows, status, table
from tests.ship.test_shipper import end, ship_and_die

NewRun = Callable[..., RunDir]
PID = 1 << 22  # no Linux has it


def training(run: RunDir, number: int, rank: int = 0, group: str | None = None, **fields: Any) -> SpoolWriter:
    """The spool of a process that trains, up to its second step."""
    spool = process_spool(run, PID + 10 * number + rank, rank, argv=["train.py", "--lr", str(number)])
    if rank == 0:
        spool.write({"type": "params", "values": {"cli.lr": number}, "origin": "argparse"})
    at = 1000.0 * number + rank
    spool.write({"type": "training", "at": at, "rank": rank, "group": group, "restart": 0, **fields})
    if rank == 0:
        spool.write({"type": "params", "values": {"learning_rate": number / 10}, "origin": "optimizer"})
        spool.points(1, at, {"train_loss": 1.0 / number})
        spool.points(2, at + 1, {"train_loss": 0.5 / number})
    else:
        spool.write({"type": "tags", "values": {f"hpkb.rank.{rank}.hw.gpu.name": f"gpu of {number}"}})
    return spool


def ended(spool: SpoolWriter, ending: str = "FINISHED", reason: str = "exit status 0", at: float = 5000.0) -> None:
    spool.write({"type": "end", "status": ending, "reason": reason, "ended_at": at, "dropped": 0})


def runs(uri: str) -> dict[str, dict[str, str]]:
    """The tags of each run by its name, with its id, status and params."""
    found: dict[str, dict[str, str]] = {}
    for run_id, name, state in rows(uri, "SELECT run_uuid, name, status FROM runs"):
        tags = dict(rows(uri, f"SELECT key, value FROM tags WHERE run_uuid = '{run_id}'"))
        params = dict(rows(uri, f"SELECT key, value FROM params WHERE run_uuid = '{run_id}'"))
        found[name] = {"id": run_id, "status": state, **tags, **{f"param:{key}": text for key, text in params.items()}}
    return found


def losses(uri: str, run_id: str) -> list[tuple[Any, ...]]:
    of_run = f"WHERE run_uuid = '{run_id}' AND key = 'train_loss'"
    return rows(uri, f"SELECT step, value FROM metrics {of_run} ORDER BY step")


def job(run: RunDir) -> None:
    """A shell script that prepares data, trains twice, the second time to no good end, and evaluates."""
    run.record({"type": "tags", "values": {"hpkb.hw.cpu.cores": "2"}})
    prepare = process_spool(run, PID + 1, argv=["prepare.py"])
    prepare.write({"type": "params", "values": {"cli.lr": 99, "cli.rows": 7}, "origin": "argparse"})
    ended(prepare)
    ended(training(run, 1))
    ended(training(run, 2), "FAILED", "ValueError: bad")
    evaluate = process_spool(run, PID + 2, argv=["evaluate.py"])
    evaluate.points(0, 4000.0, {"test_accuracy": 0.75})
    ended(evaluate)
    end(run)


def assert_shipped(uri: str) -> None:
    found = runs(uri)
    assert sorted(found) == ["sweep", "sweep-1", "sweep-2"]
    parent, first, second = found["sweep"], found["sweep-1"], found["sweep-2"]
    assert (parent["status"], first["status"], second["status"]) == ("FINISHED", "FINISHED", "FAILED")
    assert second["hpkb.end.reason"] == "ValueError: bad"
    assert first["mlflow.parentRunId"] == second["mlflow.parentRunId"] == parent["id"]
    assert parent["hpkb.parent"] == "true"
    assert "hpkb.parent" not in first.keys() | second.keys()
    for number, child in enumerate((first, second), start=1):
        assert losses(uri, child["id"]) == [(1, 1.0 / number), (2, 0.5 / number)]
        assert (child["param:cli.lr"], child["param:learning_rate"]) == (str(number), str(number / 10))
        assert child["hpkb.command"] == f"train.py --lr {number}"
        assert child["param:batch_size"] == "8"
        assert "param:cli.rows" not in child
    for each in found.values():
        assert (each["hpkb.hw.cpu.cores"], each["team"], each["hpkb.task"]) == ("2", "a", "digits")
    assert (parent["param:cli.lr"], parent["param:cli.rows"]) == ("99", "7")
    assert "param:learning_rate" not in parent, "what a program that trains nothing was told is no hyperparameter"
    assert rows(uri, f"SELECT value FROM metrics WHERE run_uuid = '{parent['id']}'") == [(0.75,)]
    assert len(rows(uri, "SELECT 1 FROM metrics")) == 5


def swept(new_run: NewRun) -> RunDir:
    return new_run(run_name="sweep", task="digits", tags={"team": "a"}, params={"batch": "8"})


def test_two_trainings_are_two_runs_below_a_parent(new_run: NewRun, store_uri: str) -> None:
    run = swept(new_run)
    job(run)
    Shipper(store_uri).finish(run)
    assert_shipped(store_uri)
    assert run.spools() == []


def test_runs_appear_while_the_job_goes_on(new_run: NewRun, store_uri: str) -> None:
    run, shipper = new_run(run_name="sweep"), Shipper(store_uri)
    first = training(run, 1)
    assert shipper.ship(run) == 2
    assert sorted(runs(store_uri)) == ["sweep"]
    ended(first)
    second = training(run, 2)
    assert shipper.ship(run) == 2
    found = runs(store_uri)
    assert {name: run["status"] for name, run in found.items()} == {
        "sweep": "RUNNING", "sweep-1": "FINISHED", "sweep-2": "RUNNING",
    }  # fmt: skip
    again = Shipper(store_uri)  # another shipper takes over
    second.points(3, 2003.0, {"train_loss": 0.0})
    assert again.ship(run) == 1
    end(run)
    again.finish(run)
    assert runs(store_uri)["sweep-2"]["status"] == "KILLED", "its process has left without a word"
    assert losses(store_uri, found["sweep-2"]["id"]) == [(1, 0.5), (2, 0.25), (3, 0.0)]
    assert len(runs(store_uri)) == 3


@pytest.mark.parametrize("saves", range(1, 8))
def test_a_shipper_killed_at_any_step_leaves_nothing_twice(new_run: NewRun, store_uri: str, saves: int) -> None:
    run = swept(new_run)
    job(run)
    shipper = fork(ship_and_die, run, saves)
    shipper.join(60)
    assert supervise.sync() == 1
    assert_shipped(store_uri)


def test_ranks_of_one_group_are_one_run(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    for rank in (1, 0, 2):
        ended(training(run, 1, rank, group="a/b"))
    end(run)
    Shipper(store_uri).finish(run)
    assert status(store_uri) == "FINISHED"
    tags = table(store_uri, "tags")
    assert tags["hpkb.rank.1.hw.gpu.name"] == tags["hpkb.rank.2.hw.gpu.name"] == "gpu of 1"
    assert rows(store_uri, "SELECT count(*) FROM metrics") == [(2,)]


def test_two_groups_of_the_same_name_one_after_the_other(new_run: NewRun, store_uri: str) -> None:
    """`torchrun` without `--standalone` has the same port each time."""
    run, shipper = new_run(run_name="x"), Shipper(store_uri)
    for number in (1, 2):
        other, first = training(run, number, 1, "a/b"), None
        shipper.ship(run)
        first = training(run, number, 0, "a/b")
        ended(first)
        ended(other)
    end(run)
    shipper.finish(run)
    found = runs(store_uri)
    assert [found[f"x-{n}"]["hpkb.rank.1.hw.gpu.name"] for n in (1, 2)] == ["gpu of 1", "gpu of 2"]
    assert [found[f"x-{n}"]["status"] for n in (1, 2)] == ["FINISHED"] * 2


def test_a_restarted_group_goes_on_with_its_run(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    training(run, 1, 0, "a/b")
    again = training(run, 2, 0, "a/b", restart=1)
    ended(again)
    end(run)
    Shipper(store_uri).finish(run)
    assert rows(store_uri, "SELECT count(*) FROM runs") == [(1,)]


def test_the_process_that_spawned_a_training_speaks_for_it(new_run: NewRun, store_uri: str) -> None:
    run = new_run(run_name="x")
    for number in (1, 2):
        parent = process_spool(run, PID + 100 + number, argv=["main.py"])
        parent.write({"type": "params", "values": {"cli.epochs": number}, "origin": "argparse"})
        worker = process_spool(run, PID + 200 + number, argv=["main.py"], parent=PID + 100 + number)
        worker.write({"type": "training", "at": 1.0, "rank": 0, "group": None, "restart": 0})
        ended(worker)
        ended(parent)
    end(run)
    Shipper(store_uri).finish(run)
    assert [runs(store_uri)[f"x-{n}"]["param:epochs"] for n in (1, 2)] == ["1", "2"]


def test_preparing_programs_do_not_take_the_names_of_the_training_s_parameters(
    new_run: NewRun, store_uri: str
) -> None:
    run = new_run()
    prepare = process_spool(run, PID + 1, argv=["prepare.py"])
    prepare.write({"type": "params", "values": {"cli.seed": 1, "seed": 1}, "origin": "argparse"})
    ended(prepare)
    shipper = Shipper(store_uri)
    shipper.ship(run)
    spool = training(run, 1)
    spool.write({"type": "params", "values": {"cli.seed": 5, "seed": 5}, "origin": "argparse"})
    ended(spool)
    end(run)
    shipper.finish(run)
    params = table(store_uri, "params")
    assert (params["seed"], params["cli.seed"], params["cli.seed.2"]) == ("5", "5", "1")


def test_artifacts_arrive_once_and_bounded(new_run: NewRun, store_uri: str, tmp_path: Path) -> None:
    run = new_run()
    spool = process_spool(run)
    for path, text in {"code/dirty.diff": "+ é", "../../etc/x": "y", "long.txt": "a" * 5_000_000}.items():
        spool.write({"type": "artifact", "path": path, "text": text})
    ended(spool)
    end(run)
    Shipper(store_uri).finish(run)
    [(root,)] = rows(store_uri, "SELECT artifact_uri FROM runs")
    files = {str(file.relative_to(root)): file for file in Path(root).rglob("*") if file.is_file()}
    assert sorted(files) == ["code/dirty.diff", "etc/x", "long.txt"]
    assert files["code/dirty.diff"].read_text() == "+ é"
    assert files["long.txt"].stat().st_size < 4_000_100


def test_artifacts_that_cannot_be_written_keep_nothing_else_back(
    new_run: NewRun, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr("hpkb.ship.store.MlflowClient.log_text", refuse)
    run = new_run()
    process_spool(run).write({"type": "artifact", "path": "a.txt", "text": "a"})
    end(run)
    Shipper(store_uri).finish(run)
    assert table(store_uri, "tags")["hpkb.artifacts.failed"] == "a.txt"
    assert status(store_uri) == "FINISHED"


def test_a_run_that_the_script_began_first_is_the_run(new_run: NewRun, store_uri: str) -> None:
    from hpkb.ship.store import Store

    store = Store(store_uri)
    own = store.create_run(store.experiment("digits"), "mine", 1, {})
    run = new_run(tags={"team": "a"})
    spool = training(run, 1)
    spool.write({"type": "mlflow_run", "run_id": own, "tracking_uri": store_uri})
    ended(spool)
    end(run)
    Shipper(store_uri).finish(run)
    assert rows(store_uri, "SELECT run_uuid, status FROM runs") == [(own, "FINISHED")]
    assert table(store_uri, "tags")["team"] == "a"
    assert len(losses(store_uri, own)) == 2


def test_a_run_that_the_script_began_later_or_elsewhere_is_named(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    spool = training(run, 1)
    shipper = Shipper(store_uri)
    shipper.ship(run)
    spool.write({"type": "mlflow_run", "run_id": "abc", "tracking_uri": store_uri})
    end(run)
    shipper.finish(run)
    assert table(store_uri, "tags")["hpkb.mlflow.run_id"] == "abc"
    assert rows(store_uri, "SELECT count(*) FROM runs") == [(1,)]


def test_a_process_that_says_too_much_does_not_wait() -> None:
    trainings = Trainings({})
    for file in ("process-1-a.spool", "process-2-b.spool"):
        trainings.note(file, {"type": "header", "pid": 1, "argv": []})
    assert [trainings.waits(file) for file in ("process-1-a.spool", "process-2-b.spool")] == [False, True]
    trainings.give_up("process-2-b.spool")
    assert not trainings.waits("process-2-b.spool")


def test_progress_names_the_run_of_every_training(new_run: NewRun, store_uri: str) -> None:
    run = new_run(run_name="x")
    training(run, 1)
    training(run, 2)
    Shipper(store_uri).ship(run)
    written = json.loads((run.path / "shipped.json").read_text())
    found = runs(store_uri)
    assert written["run_id"] == found["x-1"]["id"]
    assert written["parent"] == found["x"]["id"]
    assert sorted(written["runs"].values()) == sorted(found[name]["id"] for name in ("x-1", "x-2"))
