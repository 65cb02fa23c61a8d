"""The difference of two levels, each at its own best learning rate, against planted ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpkb.stats.contrast import Contrast, contrasts
from hpkb.sweep import Hyperparameter, Sweep
from tests.truth.laws.schedule import other_curve, schedules


def of(sweep: Sweep) -> Contrast:
    """constant less cosine."""
    (found,) = contrasts(sweep, "lr_schedule")
    assert (found.a, found.b) == ("constant", "cosine")
    return found


def test_curves_that_differ_in_place_and_depth_are_compared_at_their_lowest_points() -> None:
    found = [of(other_curve(np.random.default_rng(seed), seed_noise=0.1, lower=0.1)) for seed in range(15)]
    assert np.mean([abs(c.estimate or 9.0) <= c.half_width for c in found]) >= 0.8
    assert np.mean([c.at_own_best for c in found]) == 1
    ratio = np.exp(np.median([np.log(c.rate_ratio or 1.0) for c in found]))
    assert 0.1 < ratio < 0.45  # exp(-1.5) is 0.22


def test_a_best_rate_at_the_edge_of_what_was_tried_is_told() -> None:
    sweep = schedules(np.random.default_rng(0), seed_noise=0.02, learning_rate_range=(1e-5, 3e-3))
    found = of(sweep)
    assert not found.at_own_best
    assert "largest" in found.reason


def test_a_level_that_went_along_with_another_hyperparameter_is_not_compared() -> None:
    sweep = schedules(np.random.default_rng(0))
    schedule = sweep.hyperparameter("lr_schedule")
    assert schedule is not None
    tied = Hyperparameter("normalization", "category", schedule.values, ("batch", "layer"))
    found = of(replace(sweep, hyperparameters=(*sweep.hyperparameters, tied)))
    assert found.estimate is None
    assert "went along" in found.reason


def test_a_level_of_few_runs_is_not_compared() -> None:
    sweep = schedules(np.random.default_rng(0))
    schedule = sweep.hyperparameter("lr_schedule")
    assert schedule is not None
    kept = (schedule.values == 0) | (np.cumsum(schedule.values == 1) <= 4)
    assert "fewer than" in of(sweep.subset(kept)).reason


def test_without_a_learning_rate_the_others_are_held_and_that_is_told() -> None:
    sweep = schedules(np.random.default_rng(0), curvature=0.0, seed_noise=0.02)
    kept = tuple(h for h in sweep.hyperparameters if h.name != "learning_rate")
    found = of(replace(sweep, hyperparameters=kept))
    assert found.reason == "the learning rate was not varied"
    assert found.estimate is not None
    assert abs(found.estimate + 0.1) <= found.half_width
