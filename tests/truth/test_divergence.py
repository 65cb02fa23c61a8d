"""The safe bound of the learning rate against a planted boundary."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpkb.miners import Context, divergence
from hpkb.stats.logistic import Data, firth, likelihood_ratio
from tests.truth.laws.divergence import edged, with_gradients
from tests.truth.planted import planted_sweep

TO_THE_BOUND = 3.0 - 0.4 * math.log(9)  # nats above the best rate at which planted runs fail one time in ten


@pytest.mark.parametrize(
    "law",
    [{}, {"n_configurations": 60, "repeats": 3}, {"ridge": None, "batch_exponent": 0.5}],
    ids=["plain", "repeats", "batch size moves it"],
)
def test_the_interval_covers_the_planted_boundary(law):
    inside, supported = [], []
    for trial in range(60):
        sweep, truth = planted_sweep(np.random.default_rng(trial), diverging=True, **law)
        _, bound = divergence.mine(Context(sweep))[:2]
        edge = truth.best_learning_rate * math.exp(TO_THE_BOUND)
        inside.append((bound.low or 0) <= edge <= bound.high)
        supported.append(bound.verdict == "supported")
    assert np.mean(inside) >= 0.9
    assert np.mean(supported) >= 0.95


def test_each_optimizer_has_a_bound_of_its_own():
    inside = []
    for trial in range(12):
        sweep, truth = planted_sweep(
            np.random.default_rng(trial), 150, diverging=True, optimizers=("AdamW", "SGD"),
            learning_rate_range=(1e-5, 10.0),
        )  # fmt: skip
        bounds = [f for f in divergence.mine(Context(sweep)) if f.quantity == "safe_upper_bound"]
        assert [b.condition for b in bounds] == ["optimizer=AdamW", "optimizer=SGD"]
        assert len({b.id for b in bounds}) == 2
        shifts = (0.0, truth.optimizer_shift)
        for bound, shift in zip(bounds, shifts, strict=True):
            edge = truth.best_learning_rate * math.exp(TO_THE_BOUND + shift)
            inside.append((bound.low or 0) <= edge <= bound.high)
    assert np.mean(inside) >= 0.9


def test_random_failures_support_nothing():
    verdicts = []
    for trial in range(80):
        rng = np.random.default_rng(trial)
        sweep, _ = planted_sweep(rng, diverging=True, effect=False, repeats=2, optimizers=("AdamW", "SGD"))
        verdicts += [f.verdict == "supported" for f in divergence.mine(Context(sweep))]
    assert np.mean(verdicts) <= 0.06


def test_configurations_that_fail_as_a_whole_are_not_counted_twice():
    verdicts = []
    for trial in range(60):
        rng = np.random.default_rng(trial)
        sweep, _ = planted_sweep(rng, 40, 4, effect=False)
        sweep.infeasible[:] = (rng.random(40) < 0.2)[sweep.configuration]
        sweep.y[sweep.infeasible] = np.nan
        verdicts += [f.verdict == "supported" for f in divergence.mine(Context(sweep))]
    assert np.mean(verdicts) <= 0.08


def test_without_failures_the_bound_is_the_largest_rate_tried():
    sweep, _ = planted_sweep(np.random.default_rng(0))
    share, bound = divergence.mine(Context(sweep))
    assert share.estimate == 0
    assert 0 < share.high < 0.1
    assert bound.estimate == sweep.hyperparameter("learning_rate").values.max()
    assert bound.verdict == "insufficient"


def test_a_perfect_split_has_a_finite_bound():
    sweep, _ = planted_sweep(np.random.default_rng(0))
    rate = sweep.hyperparameter("learning_rate").values
    sweep.infeasible[:] = rate > 0.1
    sweep.y[sweep.infeasible] = np.nan
    _, bound = divergence.mine(Context(sweep))[:2]
    assert bound.verdict == "supported"
    assert 0.02 < bound.estimate < 0.15
    assert bound.low < bound.estimate < bound.high


def test_firth_gives_the_closed_form_of_two_groups():
    """For a saturated model the penalty adds half a success and half a failure to each group (Firth 1993)."""
    x = np.repeat([[1.0, 0.0], [1.0, 1.0]], [10, 8], axis=0)
    y = np.concatenate([np.arange(10) < 3, np.zeros(8)]).astype(float)
    fit = firth(Data(x, y, np.ones(18)))
    first, second = math.log(3.5 / 7.5), math.log(0.5 / 8.5)
    assert fit.coefficients == pytest.approx([first, second - first], abs=1e-5)


def test_the_likelihood_ratio_holds_its_size():
    p_values = []
    for trial in range(200):
        rng = np.random.default_rng(trial)
        x = np.stack([np.ones(80), rng.normal(size=80), rng.normal(size=80)], axis=1)
        y = (rng.random(80) < 0.1).astype(float)
        p_values.append(likelihood_ratio(Data(x, y, np.ones(80)), np.array([False, True, False])))
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.085


def by_quantity(sweep) -> dict:
    return {(f.quantity, f.hyperparameters): f for f in divergence.mine(Context(sweep))}


def test_what_moves_the_edge_is_told_from_what_does_not():
    sweep, _ = planted_sweep(np.random.default_rng(1), 250, diverging=True, batch_exponent=0.5)
    found = by_quantity(sweep)
    batch = found["boundary_exponent", ("batch_size",)]
    assert batch.verdict == "supported"
    assert batch.low <= 0.5 <= batch.high
    assert found["boundary_exponent", ("weight_decay",)].verdict != "supported"


def test_a_best_rate_at_the_edge_is_told_from_one_well_below():
    at, below = (
        [by_quantity(edged(np.random.default_rng(trial), nats))["best_rate_margin", ("learning_rate",)].verdict
         for trial in range(4)]
        for nats in (0.1, 3.0)
    )  # fmt: skip
    assert at.count("supported") >= 3
    assert "supported" not in below


def test_gradients_that_grow_before_the_end_are_found():
    rng = np.random.default_rng(2)
    grown = by_quantity(with_gradients(rng, edged(rng, 1.0), 1.5))["gradient_growth", ()]
    level = by_quantity(with_gradients(rng, edged(rng, 1.0), 0.0))["gradient_growth", ()]
    assert grown.verdict == "supported"
    assert grown.estimate > 2
    assert level.verdict != "supported"
