"""Outcomes: which metric a task is judged by, what is infeasible, and which runs are one configuration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from hpkb.errors import SourceError, UsageError
from hpkb.kb import connect, ingest_into, load_sweeps, set_objective, writing
from hpkb.sources import open_source
from hpkb.sources.objectives import choose, parse_objective
from hpkb.sweep import Sweep
from tests.kb.rawstore import RawStore


def outcomes(store: RawStore, tmp_path: Path, objective: str | None = None) -> dict[str, dict[str, Any]]:
    kb = tmp_path / "kb.duckdb"
    ingest_into(kb, open_source(store.uri), objective=objective)
    with connect(kb, read_only=True) as connection:
        cursor = connection.execute("FROM runs")
        names = [column[0] for column in cursor.description]
        return {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}


def sweep_of(store: RawStore, tmp_path: Path) -> Sweep:
    outcomes(store, tmp_path)
    with connect(tmp_path / "kb.duckdb", read_only=True) as connection:
        return load_sweeps(connection)[0]


def test_infeasible_runs_and_why(store: RawStore, tmp_path: Path) -> None:
    oom = {"hpkb.end.reason": "torch.OutOfMemoryError: CUDA out of memory"}
    val = {"val_loss": [1.0, 0.5]}
    cases = {
        store.run("a", curves={"val_loss": [0.5, math.nan]}): "objective is NaN",
        store.run("a", curves={"val_loss": [0.5, -math.inf]}): "objective is infinite",
        store.run("a", curves={**val, "train_loss": [1.0, math.nan]}): "train_loss is NaN",
        store.run("a", curves={**val, "Train Loss": [1.0, math.inf]}): "Train Loss is infinite",
        store.run("a", curves={**val, "train_loss": [2.0] + [5.0] * 20}): "train_loss rose from 2 to 5",
        store.run("a", tags=oom, status="FAILED"): "out of memory",
        store.run("a", curves={"train_loss": [1.0, math.nan]}, status="KILLED"): "train_loss is NaN",
        store.run("a", curves={**val, "train_loss": [2.0] + [3.9] * 20}): None,
        store.run("a", curves={"val_loss": [math.nan, 0.5]}): None,
        store.run("a", curves={"val_loss": [0.5, math.nan]}, status="RUNNING"): None,
        store.run("a", tags={"hpkb.end.reason": "ValueError"}, status="FAILED"): None,
    }
    found = outcomes(store, tmp_path)
    assert {run: found[run]["infeasible_reason"] for run in cases} == cases
    assert all((found[run]["objective_min"] is None) or not found[run]["infeasible"] for run in cases)


def test_a_diverged_run_is_never_the_best(store: RawStore, tmp_path: Path) -> None:
    """MLflow stores NaN as 0 and -inf as a number: read naively, both win."""
    good = store.run("a", {"lr": 0.1}, {"val_loss": [0.4, 0.3]})
    store.run("a", {"lr": 1.0}, {"val_loss": [0.4, math.nan]})
    store.run("a", {"lr": 2.0}, {"val_loss": [0.4, -math.inf]})
    found = outcomes(store, tmp_path)
    ranked = sorted((o["objective_min"], run) for run, o in found.items() if o["objective_min"] is not None)
    assert ranked == [(0.3, good)]
    sweep = sweep_of(store, tmp_path)
    assert sweep.n_runs == 3
    assert sweep.infeasible.tolist() == [False, True, True]
    assert sweep.hyperparameters[0].values.tolist() == [0.1, 1.0, 2.0]


def test_unfinished_and_cut_short_runs_take_no_part(store: RawStore, tmp_path: Path) -> None:
    ended = [store.run("a", {"lr": i}, {"val_loss": [1.0] * 10}) for i in range(3)]
    late = store.run("a", {"lr": 4}, {"val_loss": [0.9] * 10}, status="FAILED")
    early = store.run("a", {"lr": 5}, {"val_loss": [0.1] * 2}, status="KILLED")
    running = store.run("a", {"lr": 6}, {"val_loss": [0.1] * 10}, status="RUNNING")
    found = outcomes(store, tmp_path)
    assert {run for run, o in found.items() if o["objective_min"] is not None} == {*ended, late}
    assert not found[early]["infeasible"]
    assert not found[running]["infeasible"]
    assert set(sweep_of(store, tmp_path).run_ids) == {*ended, late}


def test_a_maximised_objective_is_negated(store: RawStore, tmp_path: Path) -> None:
    run = store.run("a", curves={"val_acc": [0.2, 0.9]})
    outcome = outcomes(store, tmp_path)[run]
    assert (outcome["objective"], outcome["objective_min"]) == (0.9, -0.9)


def test_the_last_value_is_that_of_the_last_step_not_of_the_last_row(store: RawStore, tmp_path: Path) -> None:
    run = store.run("a", curves={"val_loss": [3.0, 2.0]})
    store.log(run, "val_loss", [9.0], first_step=-4, time=9_999)
    assert outcomes(store, tmp_path)[run]["objective"] == 2.0


@pytest.mark.parametrize(
    ("counts", "n_runs", "chosen"),
    [
        ({"val_loss": 10, "val_acc": 10, "train_loss": 10}, 10, "val_loss:min"),
        ({"val_loss": 2, "val_acc": 10}, 10, "val_acc:max"),
        ({"val_loss": 2, "val_acc": 1}, 10, "val_loss:min"),
        ({"Loss/val": 10, "loss": 10}, 10, "Loss/val:min"),
        ({"test_acc": 10, "train_loss": 10}, 10, "test_acc:max"),
        ({"accuracy": 5, "lr": 5}, 5, "accuracy:max"),
        ({"validation/loss": 5, "grad_norm": 5}, 5, "validation/loss:min"),
        ({"train_loss": 5}, 5, "train_loss:min"),
        ({"grad_norm": 5}, 5, "None"),
    ],
)
def test_the_objective_nobody_named(counts: dict[str, int], n_runs: int, chosen: str) -> None:
    assert str(choose(counts, n_runs).objective) == chosen


def test_what_is_said_of_an_objective_chosen_for_want_of_better() -> None:
    assert (
        choose({"val_loss": 9}, 10).reason == "a validation loss, lower is better; 9 of 10 ended runs have it"
    )
    assert "no test is left to confirm" in choose({"test_acc": 1}, 1).reason
    assert "nothing of generalisation" in choose({"train_loss": 1}, 1).reason


def test_objectives_of_preference(store: RawStore, tmp_path: Path) -> None:
    a, b = store.run("a", curves={"top5": [0.9], "perp": [5.0]}), store.run("b", curves={"perp": [7.0]})
    found = outcomes(store, tmp_path, "top5:max,perp:min")
    assert (found[a]["objective_min"], found[b]["objective_min"]) == (-0.9, 7.0)
    with pytest.raises(UsageError, match="no direction"):
        parse_objective("val_loss")


def test_no_known_metric_is_a_clear_error(store: RawStore, tmp_path: Path) -> None:
    store.run("a", curves={"grad_norm": [1.0]})
    with pytest.raises(SourceError, match=r"There are: grad_norm\. Give one: --objective"):
        outcomes(store, tmp_path)


def test_runs_without_any_metric_are_no_error(store: RawStore, tmp_path: Path) -> None:
    store.run("a", {"lr": 1}, status="RUNNING")
    report = ingest_into(tmp_path / "kb.duckdb", open_source(store.uri))
    assert (report.tasks, report.without_objective) == ((), ())
    assert [task.reason for task in report.tasks_shown] == ["no run with a metric has ended"]


def test_an_objective_given_later_holds_for_what_is_there(store: RawStore, tmp_path: Path) -> None:
    run = store.run("a", curves={"val_loss": [1.0], "val_acc": [0.5]})
    outcomes(store, tmp_path)
    with writing(tmp_path / "kb.duckdb") as connection:
        set_objective(connection, parse_objective("val_acc:max"))
        assert connection.execute("SELECT run_id, objective_min FROM runs").fetchall() == [(run, -0.5)]
        assert load_sweeps(connection)[0].objective == "val_acc:max"
        with pytest.raises(SourceError, match="There are: val_acc, val_loss"):
            set_objective(connection, parse_objective("top1:max"))


def test_configurations_leave_out_the_seed_and_agree_on_numbers(store: RawStore, tmp_path: Path) -> None:
    curves = {"val_loss": [1.0]}
    same = [
        store.run("a", {"learning_rate": "1e-3", "seed": 1, "amsgrad": "True"}, curves),
        store.run("a", {"learning_rate": "0.001", "seed": 2, "amsgrad": "true"}, curves),
        store.run("a", {"lr": 0.001, "cli.lr": 0.5, "cli.out": "/x", "amsgrad": True}, curves),
        store.run(
            "a", {"cli.lr": 0.0010000000474974513, "config.lr": 7, "cli.seed": 3, "amsgrad": "TRUE"}, curves
        ),
    ]
    other = store.run("a", {"learning_rate": 0.002, "seed": 1, "amsgrad": True}, curves)
    found = outcomes(store, tmp_path)
    assert len({found[run]["configuration_id"] for run in same}) == 1
    assert found[other]["configuration_id"] != found[same[0]]["configuration_id"]
    assert [found[run]["seed"] for run in same] == [1, 2, None, 3]


def test_the_scripts_own_names_stay_beside_the_canonical_ones(store: RawStore, tmp_path: Path) -> None:
    params = {"cli.drop_rate": 0.1, "cli.my-own": "x", "lr": 0.5, "learning_rate": 0.25}
    run = store.run("a", params, {"val_loss": [1.0]})
    outcomes(store, tmp_path)
    with connect(tmp_path / "kb.duckdb", read_only=True) as connection:
        found = connection.execute(
            "SELECT name, value_text FROM hyperparameters WHERE run_id = $run", {"run": run}
        )
        assert dict(found.fetchall()) == {
            "cli.drop_rate": "0.1", "dropout": "0.1", "cli.my-own": "x", "learning_rate": "0.25", "lr": "0.5",
        }  # fmt: skip
        matrix = connection.execute("SELECT learning_rate, dropout FROM run_matrix").fetchall()
        assert matrix == [(0.25, 0.1)]


def test_a_task_is_its_tag_or_its_experiment(store: RawStore, tmp_path: Path) -> None:
    tagged = store.run("a", curves={"val_loss": [1.0]}, tags={"hpkb.task": "digits"})
    plain = store.run("a", curves={"val_loss": [1.0]})
    found = outcomes(store, tmp_path)
    assert (found[tagged]["task_id"], found[plain]["task_id"]) == ("digits", "a")


def test_a_sweep_has_what_varies_and_says_something(store: RawStore, tmp_path: Path) -> None:
    for i in range(24):
        sgd = i % 2 == 0
        params = {
            "learning_rate": 10.0 ** -(i % 6), "weight_decay": [0.0, 0.01, 0.1][i % 3],
            "optimizer": "SGD" if sgd else "AdamW",
            "batch_size": 32 * 2 ** (i % 4), "micro_batch_size": 32 * 2 ** (i % 4), "epochs": 10, "seed": i % 2,
            "cli.lr": 10.0 ** -(i % 6), "cli.out_name": f"run {i}", "cli.patience": i % 5, "cli.ratio": 3.0 ** (i % 7),
            "grad_clip": "None" if i % 3 else 1.0 + i % 2, "amp": i % 2 == 0,
            **({"momentum": 0.9, "nesterov": "False"} if sgd else {"beta1": 0.9, "epsilon": 1e-8}),
        }  # fmt: skip
        store.run("a", params, {"val_loss": [1.0, i / 24]})
    sweep = sweep_of(store, tmp_path)
    assert {h.name: (h.scale, h.levels) for h in sweep.hyperparameters} == {
        "learning_rate": ("log", ()), "weight_decay": ("log", ()), "optimizer": ("category", ("AdamW", "SGD")),
        "batch_size": ("log", ()), "gradient_clip_norm": ("log", ()), "cli.patience": ("linear", ()),
        "cli.ratio": ("log", ()),
    }  # fmt: skip
    assert sweep.fixed == {
        "epochs": "10", "momentum": "0.9", "nesterov": "False", "beta1": "0.9", "epsilon": "1e-08"
    }  # fmt: skip
    clip = sweep.hyperparameter("gradient_clip_norm")
    assert clip is not None
    assert sum(map(math.isnan, clip.values)) == 16
    assert sweep.configuration[0] == 0
    assert set(map(int, sweep.configuration)) == set(range(sweep.n_configurations))


def test_seeds_share_a_configuration_whatever_else_tells_them_apart(store: RawStore, tmp_path: Path) -> None:
    for i in range(12):
        store.run("a", {"lr": 10.0 ** -(i // 3), "seed": i % 3, "cli.id": f"job-{i}"}, {"val_loss": [i / 12]})
    sweep = sweep_of(store, tmp_path)
    assert (sweep.n_configurations, sweep.n_seeds) == (4, 3)
    assert sweep.seed.tolist() == [0.0, 1.0, 2.0] * 4
