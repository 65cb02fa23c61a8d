"""The records of runs, read from a knowledge base made from a real store, stand beside the rows of the sweep."""

from __future__ import annotations

import mlflow
import numpy as np
import pytest

from hpkb.kb import load_sweeps
from hpkb.kb.ingest import ingest
from hpkb.kb.records import with_records
from hpkb.kb.store import writing
from hpkb.records import POINTS_OF_A_CURVE
from hpkb.sources import open_source
from hpkb.sweep import Sweep

LONG = 3 * POINTS_OF_A_CURVE + 7


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("records")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("records")
    for number in range(4):
        tags = {"hpkb.task": "t", "hpkb.hw.gpu.name": f"gpu {number}", "hpkb.split.overlap": "none"}
        tags |= {"hpkb.split.training.digest": "a" if number else "b", "hpkb.split.training.n": str(100 + number)}
        tags |= {"hpkb.energy_joules": "12.5"} if number == 2 else {}
        run = client.create_run(experiment, start_time=1_000_000, tags=tags)
        params = [mlflow.entities.Param("learning_rate", str(10.0**-number))]
        points = [("val_loss", 1.0 + number, 5), ("val_loss", float(number), 10)]
        points += [("train_loss", number + 1 / (1 + step), step) for step in range(LONG if number == 1 else 4)]
        logged = [mlflow.entities.Metric(name, value, 1_000_000 + 1000 * step, step) for name, value, step in points]
        for start in range(0, len(logged), 900):
            client.log_batch(run.info.run_id, logged[start : start + 900], params if not start else [])
        client.set_terminated(run.info.run_id, end_time=1_060_000)
    with writing(folder / "kb.duckdb") as connection:
        source = open_source(uri)
        ingest(connection, source)
        source.close()
        return with_records(connection, load_sweeps(connection)[0])


def numbers(sweep: Sweep) -> list[int]:
    rate = sweep.hyperparameter("learning_rate")
    assert rate is not None
    return [round(-np.log10(x)) for x in rate.values]


def test_curves_stand_beside_their_runs(sweep: Sweep) -> None:
    for number, curve in zip(numbers(sweep), sweep.records.curves("val_loss"), strict=True):
        assert curve is not None
        assert curve.step.tolist() == [5, 10]
        assert curve.value.tolist() == [1 + number, number]
        assert curve.seconds.tolist() == [5, 10]


def test_long_curves_are_thinned_evenly_with_their_last_point(sweep: Sweep) -> None:
    curve = dict(zip(numbers(sweep), sweep.records.curves("train_loss"), strict=True))[1]
    assert curve is not None
    assert curve.step.size == POINTS_OF_A_CURVE
    assert curve.step[-1] == LONG - 1
    assert set(np.diff(curve.step)) == {3, 4}
    assert np.array_equal(curve.value, 1 + 1 / (1 + curve.step))


def test_features_facts_and_splits_stand_beside_their_runs(sweep: Sweep) -> None:
    records, order = sweep.records, numbers(sweep)
    assert records.feature("val_loss", "best").tolist() == order
    assert records.texts("hpkb.hw.gpu.name") == [f"gpu {number}" for number in order]
    assert records.texts("hpkb.split.overlap") == ["none"] * 4
    assert records.digests("training") == ["a" if number else "b" for number in order]
    assert records.numbers("n_examples.training").tolist() == [100 + number for number in order]
    assert records.numbers("run_seconds").tolist() == [60.0] * 4
    assert np.isnan(records.numbers("hpkb.energy_joules")).tolist() == [number != 2 for number in order]
    assert (records.training, records.validation) == ("train_loss", "val_loss")


def test_what_is_not_recorded_is_absent(sweep: Sweep) -> None:
    assert sweep.records.curves("grad_norm") == [None] * 4
    assert np.isnan(sweep.records.feature("grad_norm", "best")).all()
    assert sweep.records.texts("nothing") == sweep.records.digests("test") == [None] * 4


def test_a_subset_has_the_records_of_its_runs(sweep: Sweep) -> None:
    part = sweep.subset(np.array([2, 0]))
    names = sweep.records.texts("hpkb.hw.gpu.name")
    assert part.records.texts("hpkb.hw.gpu.name") == [names[2], names[0]]
    assert part.records.feature("val_loss", "best").tolist() == [numbers(sweep)[i] for i in (2, 0)]


def test_a_sweep_without_records_has_none(sweep: Sweep) -> None:
    bare = Sweep("t", "val_loss:min", sweep.run_ids, sweep.configuration, sweep.seed, sweep.y, sweep.infeasible, ())
    assert bare.records.metrics == ()
    assert bare.subset(np.array([1])).records.texts("status") == [None]
