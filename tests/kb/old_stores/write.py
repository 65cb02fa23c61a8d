"""Writes a SQLite store and a file store with the MLflow at hand, and what that MLflow's own client reads in them.

`make.py` runs it in the environment of every version, so it is written for Python 3.7 and MLflow 1.4 on:
`python write.py FOLDER` leaves `mlflow.db`, `mlruns/` and `expected.json` in the folder. What a version refuses is left
out: whether it does is tried in a store of its own, because some write what they cannot read again.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, ViewType
from mlflow.store.tracking.file_store import FileStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient

START = 1_600_000_000_000  # ms
ROOT = "s3://store/mlruns"  # a neutral place that no version tries to make
NOWHERE = "/store/not here"  # where artifacts were once
PIECE = "🙂é'\"\\ \n\t--;"  # of a param at its longest
LENGTHS = (8000, 6000, 500, 250)
METRICS = ("select", "group by/order", "Größe / a.b-c d", "train:loss", "é" * 250)
PARAMS = {
    "lr": "0.001", "optim.args/Größe - b": "None", "select": "' OR 1=1", "empty": "", "a:b": "1",
    "lines": "a\n'b'\r\n",
}  # fmt: skip
TAGS = {
    "hpkb.task": "digits / cnn 'é'", "hpkb.hw.cpu.model": "a CPU", "hpkb.split.training.digest": "0123456789abcdef",
    "hpkb.split.training.n": "1437", "mlflow.source.git.commit": "0" * 40, "mlflow.user": "user",
    "mlflow.note.content": "two\nlines",
}  # fmt: skip
ODD_NAMES = ("größe/2 – \"b\" 'c'; --  d", 'größe/2 – "b"', "größe/2 – b")
STATUSES = {"failed": "FAILED", "killed": "KILLED", "scheduled": "SCHEDULED"}


def main(folder: str) -> None:
    """Leaves both stores and the expectation in the folder."""
    folder = os.path.abspath(folder)
    expected: dict[str, Any] = {"mlflow": mlflow.__version__, "python": ".".join(map(str, sys.version_info[:2]))}
    for kind, place in (("sqlite", "mlflow.db"), ("files", "mlruns")):
        with tempfile.TemporaryDirectory() as trials:
            os.chdir(trials)  # some versions make a folder for artifacts in the current one
            accepts = _trial(_client(kind, os.path.join(trials, place)))
            _fill(_client(kind, os.path.join(folder, place)), accepts)
            expected[kind] = _reported(_client(kind, os.path.join(folder, place)))
            os.chdir(folder)
    database = sqlite3.connect("mlflow.db")
    expected["head"] = database.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    database.close()
    with open("expected.json", "w", encoding="utf-8") as file:
        json.dump(expected, file, indent=1, sort_keys=True)


def _client(kind: str, path: str) -> MlflowClient:
    """The client of a store; the store is made with a neutral artifact root where it is not there."""
    uri = "sqlite:///" + path if kind == "sqlite" else "file://" + path
    if kind == "sqlite":
        SqlAlchemyStore(uri, ROOT)
    else:
        FileStore(uri, ROOT)
    return MlflowClient(uri)


def _trial(client: MlflowClient) -> Callable[..., bool]:
    """Returns what tells whether a call of the client on a run works, and whether the run can be read again then."""
    experiment = client.create_experiment("trials", ROOT)

    @functools.lru_cache(1000)
    def accepts(method: str, *arguments: Any) -> bool:
        run = client.create_run(experiment, START).info.run_id
        try:
            getattr(client, method)(run, *arguments)
            data = client.get_run(run).data
            for key in data.metrics:
                client.get_metric_history(run, key)
        except Exception as error:
            print(f"refused by {mlflow.__version__}: {method}{arguments!r:.60}: {error!r:.90}")
            return False
        return True

    return accepts


def _fill(client: MlflowClient, accepts: Callable[..., bool]) -> None:
    digits = client.create_experiment("digits", ROOT + "/1")
    odd = _odd_experiment(client)
    gone = client.create_experiment("gone", ROOT + "/3")
    ids = {}
    for kind in ("plain", "nan", "infinite", "failed", "killed", "scheduled", "unfinished", "deleted", "long"):
        ids[kind] = _fill_run(client, accepts, digits, kind, {})
    _fill_run(client, accepts, odd, "child", {"mlflow.parentRunId": ids["plain"], "hpkb.curves": "hpkb/curves.parquet"})
    _fill_run(client, accepts, odd, "grandchild", {"mlflow.parentRunId": ids["plain"]})
    _fill_run(client, accepts, gone, "of a deleted experiment", {})
    client.delete_run(ids["deleted"])
    client.delete_experiment(gone)


def _odd_experiment(client: MlflowClient) -> str:
    """The experiment of the oddest name that the version takes."""
    for name in ODD_NAMES:
        try:
            return str(client.create_experiment(name, NOWHERE))
        except Exception as error:
            print(f"refused by {mlflow.__version__}: experiment {name!r}: {error!r:.90}")
    raise SystemExit("No name was taken")


def _fill_run(
    client: MlflowClient, accepts: Callable[..., bool], experiment: str, kind: str, tags: dict[str, str]
) -> str:
    name = f"{kind} 'run' #1 é"
    run = str(client.create_run(experiment, START, dict(TAGS, **{"mlflow.runName": name}, **tags)).info.run_id)
    for key, value in PARAMS.items():
        if kind == "plain" and accepts("log_param", key, value):
            client.log_param(run, key, value)
    _log_curves(client, accepts, run, kind)
    if kind == "plain":
        _log_datasets(client, run)
    if kind == "long":
        _log_long(client, accepts, run)
    if kind == "unfinished":
        return run
    status = STATUSES.get(kind, "FINISHED")
    if accepts("set_terminated", status, START):
        client.set_terminated(run, status, START + 60_000)
    return run


def _log_curves(client: MlflowClient, accepts: Callable[..., bool], run: str, kind: str) -> None:
    """Steps out of order, negative, beyond 32 bits and twice; at the end NaN or an infinity where the kind says so."""
    last = {"nan": math.nan, "infinite": -math.inf}.get(kind, 0.1 + 0.2)
    values = [(0, 2.5), (3, 1.0), (-1, 5e-324), (2**40, 1e300), (3, 0.5), (7, math.inf), (8, -0.0), (9, last)]
    for i, (step, value) in enumerate(values):
        client.log_metric(run, "val_loss", value, START + i, step)
    for value in (1.0, 2.0, 2.0):  # at one time
        client.log_metric(run, "twice", value, START, 3)
    client.log_metric(run, "once", 7, START, 0)
    if kind == "plain":
        for key in METRICS:
            if accepts("log_metric", key, 1.5, START, 2):
                client.log_metric(run, key, 1.5, START, 2)


def _log_long(client: MlflowClient, accepts: Callable[..., bool], run: str) -> None:
    """A param as long as it may be, of characters as odd as they may be; and a curve of 200 points."""
    for length in LENGTHS:
        text = (PIECE * length)[:length]
        kept = [text, text.replace("\n", " ").replace("\t", " ")]  # some versions cannot read a second line
        value = next((value for value in kept if accepts("log_param", "long", value)), None)
        if value is not None:
            client.log_param(run, "long", value)
            break
    metrics = [Metric("acc", math.sin(i / 100) / 3, START + 10 * i, i) for i in range(200)]
    for first in (0, 100):
        client.log_batch(run, metrics[first : first + 100], [Param(f"batch{first}", "64")] if first else [], [])


def _log_datasets(client: MlflowClient, run: str) -> None:
    """Two data sets, one without a context, where the version knows of them."""
    try:
        from mlflow.entities import Dataset, DatasetInput, InputTag
    except ImportError:
        return
    profile = json.dumps({"num_rows": 200, "features": "é'"})
    digits = Dataset("digits", "0a1b2c3d", "local", "{}", None, profile)
    letters = Dataset("letters", "ffffffff", "local", "{}", None, None)
    tags = [InputTag("mlflow.data.context", "val")]
    client.log_inputs(run, datasets=[DatasetInput(digits, tags), DatasetInput(letters, [])])


def _reported(client: MlflowClient) -> dict[str, Any]:
    """What the client says of the whole store, deleted things too."""
    search = getattr(client, "search_experiments", None) or client.list_experiments
    experiments = list(search(view_type=ViewType.ALL))
    ids = [experiment.experiment_id for experiment in experiments]
    runs = client.search_runs(ids, run_view_type=ViewType.ALL)
    return {
        "experiments": [{"id": e.experiment_id, "name": e.name, "stage": e.lifecycle_stage} for e in experiments],
        "runs": {run.info.run_id: _reported_run(client, run) for run in runs},
    }


def _reported_run(client: MlflowClient, run: Any) -> dict[str, Any]:
    info, data = run.info, run.data
    datasets = getattr(getattr(run, "inputs", None), "dataset_inputs", [])
    return {
        "experiment": info.experiment_id, "stage": info.lifecycle_stage, "status": info.status,
        "name": getattr(info, "run_name", None) or data.tags.get("mlflow.runName"),
        "start_time": info.start_time, "end_time": info.end_time, "params": data.params, "tags": data.tags,
        "metrics": {key: _history(client, info.run_id, key) for key in data.metrics},
        "latest": {key: repr(float(value)) for key, value in data.metrics.items()},
        "datasets": [[_context(given), given.dataset.digest, given.dataset.profile] for given in datasets],
    }  # fmt: skip


def _history(client: MlflowClient, run: str, key: str) -> list[list[Any]]:
    """Step, time and value, as text, of each point."""
    return sorted([m.step, m.timestamp, repr(float(m.value))] for m in client.get_metric_history(run, key))


def _context(given: Any) -> str:
    return next((tag.value for tag in given.tags if tag.key == "mlflow.data.context"), "")


if __name__ == "__main__":
    main(sys.argv[1])
