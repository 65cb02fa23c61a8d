"""Optimum, plateau and edge against planted ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpkb.miners import Context, response
from tests.truth.planted import planted_sweep

TRIALS = 15


def found_for(name: str, sweep) -> dict:
    found = response.mine(Context(sweep))
    return {f.quantity: f for f in found if f.hyperparameters == (name,) and not f.condition}


@pytest.mark.parametrize(
    "law",
    [
        {"repeats": 2},
        {"repeats": 2, "shape": "asymmetric", "diverging": True},
        {"repeats": 2, "design": "adaptive"},
        {"repeats": 3, "optimizers": ("AdamW", "SGD"), "momentum": True, "optimizer_shift": 0.0},
    ],
    ids=["bowl", "cliff", "adaptive", "conditional"],
)
def test_optimum_and_plateau_hold_the_planted_one(law):
    inside, flat, supported = [], [], []
    for trial in range(TRIALS):
        sweep, truth = planted_sweep(np.random.default_rng(trial), **law)
        found = found_for("learning_rate", sweep)
        low, high = found["plateau_low"].estimate, found["plateau_high"].estimate
        inside.append(found["optimum"].low <= truth.best_learning_rate <= found["optimum"].high)
        flat.append(low <= truth.best_learning_rate <= high)
        supported.append(found["optimum"].verdict == "supported")
        assert low <= found["optimum"].estimate <= high
    assert np.mean(inside) >= 0.86
    assert np.mean(flat) >= 0.8
    assert np.mean(supported) == 1


def test_each_optimizer_has_a_best_learning_rate_of_its_own():
    inside = []
    for trial in range(8):
        sweep, truth = planted_sweep(
            np.random.default_rng(trial), 120, 2, optimizers=("AdamW", "SGD"), learning_rate_range=(1e-5, 10.0)
        )
        found = [f for f in response.mine(Context(sweep)) if f.quantity == "optimum"]
        adamw, sgd = (f for f in found if f.hyperparameters == ("learning_rate",))
        assert (adamw.condition, sgd.condition) == ("", "optimizer=SGD")
        assert adamw.claim.startswith("With AdamW, the best learning_rate")
        rates = (truth.best_learning_rate, truth.best_learning_rate * math.exp(truth.optimizer_shift))
        inside += [f.low <= rate <= f.high for f, rate in zip((adamw, sgd), rates, strict=True)]
    assert np.mean(inside) >= 0.85


def test_the_edge_is_told_from_the_inside():
    edge, inside = [], []
    for trial in range(6):
        rng = np.random.default_rng(trial)
        sweep, _ = planted_sweep(rng, learning_rate_range=(1e-5, 1e-3), best_learning_rate=3e-2, repeats=2)
        edge.append(found_for("learning_rate", sweep)["at_boundary"])
        sweep, _ = planted_sweep(rng, repeats=2)
        inside.append(found_for("learning_rate", sweep)["at_boundary"].verdict)
    assert sum(f.verdict == "supported" and "largest" in f.claim for f in edge) >= 5
    assert inside.count("rejected") >= 5


def test_an_exact_zero_is_no_edge():
    sweep, _ = planted_sweep(np.random.default_rng(0), 120)
    dropout = sweep.hyperparameter("dropout").values
    dropout[:] = np.round(dropout, 1)
    sweep.y[:] += 2 * dropout
    found = found_for("dropout", sweep)
    assert found["optimum"].estimate < 0.15
    assert found["at_boundary"].verdict != "supported"


def test_the_best_level_of_a_category():
    sweep, _ = planted_sweep(
        np.random.default_rng(1), 120, optimizers=("AdamW", "SGD"), optimizer_shift=0.0, seed_noise=0.02
    )
    found = found_for("optimizer", sweep)
    assert list(found) == ["optimum"]
    assert found["optimum"].estimate == "AdamW"
    assert found["optimum"].figure["optimum"]["x"] == "AdamW"


def test_a_higher_objective_is_drawn_as_it_was_logged():
    sweep, _ = planted_sweep(np.random.default_rng(2), 60)
    object.__setattr__(sweep, "objective", "val_acc:max")
    figure = found_for("learning_rate", sweep)["optimum"].figure
    best = max(figure["line"], key=lambda point: point["y"])
    assert math.log(best["x"]) == pytest.approx(math.log(3e-3), abs=1.5)
    assert all(p["low"] <= p["y"] <= p["high"] for p in figure["line"])
    assert figure["points"][0]["y"] == -sweep.y[0]


def test_on_pure_noise_at_most_one_claim_in_twenty_is_supported():
    verdicts = []
    for trial in range(20):
        sweep, _ = planted_sweep(np.random.default_rng(trial), effect=False, repeats=2)
        verdicts += [f.verdict == "supported" for f in response.mine(Context(sweep))]
    assert np.mean(verdicts) <= 0.08


def test_tasks_are_combined_on_the_hyperparameters_own_scale():
    found = []
    for trial, best in enumerate((2e-3, 3e-3, 4e-3)):
        sweep, _ = planted_sweep(
            np.random.default_rng(trial), 80, 2, best_learning_rate=best, seed_noise=0.1, task=f"task {trial}"
        )
        found += response.mine(Context(sweep))
    (rate,) = (f for f in response.combine(found) if f.hyperparameters == ("learning_rate",))
    assert (rate.task, rate.n_tasks, rate.verdict) == (None, 3, "supported")
    assert rate.low <= 3e-3 <= rate.high
    assert len(rate.figure["rows"]) == 3


def test_plateaus_that_do_not_meet_are_no_rule():
    found = []
    for trial, best in enumerate((1e-4, 1e-4, 3e-1)):
        sweep, _ = planted_sweep(
            np.random.default_rng(trial), 80, 2, best_learning_rate=best, seed_noise=0.02, task=f"task {trial}"
        )
        found += response.mine(Context(sweep))
    (rate,) = (f for f in response.combine(found) if f.hyperparameters == ("learning_rate",))
    assert rate.verdict == "rejected"
    assert "no learning_rate that is as good" in rate.claim
