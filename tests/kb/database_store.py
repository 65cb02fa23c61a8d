"""What the tests of MLflow stores in databases share: a store with all that MLflow lets one write, and its readings."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from hpkb.sources import Source
from tests.kb.rawstore import LARGEST

LONG = "🙂é'\"\\\n" * 1000  # 6,000 characters
START = 1_700_000_000_000
COPIED = ("experiments", "runs", "metrics", "latest_metrics", "params", "tags", "datasets", "inputs", "input_tags")


def fill(client: Any) -> dict[str, str]:
    from mlflow.data.numpy_dataset import from_numpy
    from mlflow.entities import DatasetInput, InputTag, Metric
    from numpy import zeros

    odd = "größe/2 – \"b's\""
    experiments = {name: client.create_experiment(name) for name in ("digits", odd, "gone")}
    ids = {}
    for kind, experiment in [("plain", "digits"), ("deleted", "digits"), ("unfinished", "digits"),
                             ("odd", odd), ("gone", "gone")]:  # fmt: skip
        run = client.create_run(experiments[experiment], START, run_name=f"{kind} 'run' #1").info.run_id
        ids[kind] = run
        for param, value in {"lr": 0.001, "Größe / a.b-c:d": LONG, "opt/name": "", "select": "None"}.items():
            client.log_param(run, param, value)
        values = [1.0, math.nan, math.inf, -math.inf, 0.25, 0.25, 1e-300, -0.0]
        steps = [0, 1, 5, 3, -2, -2, 2**40, 3]
        points = [Metric("val_loss", v, START + i, s) for i, (v, s) in enumerate(zip(values, steps, strict=True))]
        twice = [Metric("order", value, 5, 3) for value in (1.0, 2.0)]
        client.log_batch(run, [*points, *twice, Metric("Größe / a.b", 1.5, 5, 7)])
        if kind != "unfinished":
            client.set_terminated(run, "FAILED" if kind == "odd" else "FINISHED", START + 60_000)
    for name, value in {"hpkb.task": "digits-cnn", "hpkb.hw.cpu.model": "a CPU",
                        "hpkb.split.training.digest": "0123", "hpkb.split.training.n": "7"}.items():  # fmt: skip
        client.set_tag(ids["plain"], name, value)
    data = from_numpy(zeros((7, 2)), targets=zeros(7), name="zeros")._to_mlflow_entity()
    client.log_inputs(ids["plain"], [DatasetInput(data, [InputTag("mlflow.data.context", "val")])])
    client.delete_run(ids["deleted"])
    client.delete_experiment(experiments["gone"])
    return ids


def ids_of(source: Source) -> pa.Array:
    return source.fingerprints()["run_id"].combine_chunks()


def points_of(source: Source, ids: pa.Array | None = None) -> list[str]:
    curves = source.curves(ids_of(source) if ids is None else ids)
    return sorted(repr(row) for batch in curves for row in batch.to_pylist())


def read_all(source: Source) -> list[list[str]]:
    ids = ids_of(source)
    tables = (source.runs(ids), source.parameters(ids), source.hardware(ids), source.splits(ids))
    return [*(sorted(map(repr, table.to_pylist())) for table in tables), points_of(source, ids)]


def assert_runs_as_mlflow_finds_them(source: Source, client: Any, ids: dict[str, str]) -> None:
    found = {row["run_id"]: row for row in source.runs(ids_of(source)).to_pylist()}
    assert set(found) == {ids[kind] for kind in ("plain", "unfinished", "odd")}
    params: dict[str, dict[str, str]] = {run: {} for run in found}
    for row in source.parameters(ids_of(source)).to_pylist():
        params[row["run_id"]][row["name"]] = row["value"]
    for run in client.search_runs([e.experiment_id for e in client.search_experiments()]):
        row = found[run.info.run_id]
        assert (row["run_name"], row["status"]) == (run.info.run_name, run.info.status)
        assert params[run.info.run_id] == run.data.params
    assert params[ids["plain"]]["Größe / a.b-c:d"] == LONG
    assert found[ids["unfinished"]]["ended_at"] is None
    assert source.experiments() == ["Default", "digits", "größe/2 – \"b's\""]


def assert_curves_as_mlflow_has_them(source: Source, client: Any, ids: dict[str, str]) -> None:
    for run in (ids["plain"], ids["odd"]):
        found: dict[str, list[Any]] = {"val_loss": [], "order": [], "Größe / a.b": []}
        for batch in source.curves(pa.array([run])):
            for row in batch.to_pylist():
                assert row["run_id"] == run
                time = int(pa.scalar(row["timestamp"], pa.timestamp("ms")).value)
                found[row["metric"]].append((row["step"], time, repr(row["value"])))
        for metric, points in found.items():
            history = [(m.step, m.timestamp, repr(_restored(m.value))) for m in client.get_metric_history(run, metric)]
            assert sorted(points) == sorted(history)


def _restored(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) == LARGEST else value
