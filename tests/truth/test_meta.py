"""Random-effects meta-analysis against a published worked example and planted tasks."""

from __future__ import annotations

import numpy as np
import pytest

from hpkb.stats.meta import fisher, random_effects


def test_it_agrees_with_the_bcg_trials():
    """The BCG vaccine trials (Colditz et al. 1994): metafor's documentation gives tau² 0.3132 and mean -0.7145."""
    trials = np.array([
        [4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761],
        [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892], [29, 7470, 45, 7232],
        [17, 1699, 65, 1600], [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825],
    ])  # fmt: skip
    a, b, c, d = trials.T
    estimates = np.log((a / (a + b)) / (c / (c + d)))
    pooled = random_effects(estimates, np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)))
    assert pooled.tau**2 == pytest.approx(0.3132, abs=5e-4)
    assert pooled.estimate == pytest.approx(-0.7145, abs=5e-4)
    assert (pooled.low, pooled.high) == (pytest.approx(-1.11, abs=0.02), pytest.approx(-0.32, abs=0.02))
    assert pooled.i_squared == pytest.approx(0.92, abs=0.01)
    assert pooled.prediction_low < pooled.low < pooled.high < pooled.prediction_high


@pytest.mark.parametrize("tasks", [3, 8])
@pytest.mark.parametrize("between", [0.0, 0.3])
def test_the_interval_covers_the_planted_mean(tasks, between):
    rng, covered, sweeps = np.random.default_rng(7), 0, 400
    for _ in range(sweeps):
        errors = rng.uniform(0.05, 0.3, tasks)
        pooled = random_effects(0.5 + between * rng.normal(size=tasks) + errors * rng.normal(size=tasks), errors)
        covered += pooled.low <= 0.5 <= pooled.high
    assert covered >= 0.93 * sweeps


def test_the_prediction_interval_covers_a_further_task():
    rng, covered = np.random.default_rng(8), 0
    for _ in range(400):
        errors = rng.uniform(0.05, 0.2, 8)
        pooled = random_effects(0.5 + 0.3 * rng.normal(size=8) + errors * rng.normal(size=8), errors)
        covered += pooled.prediction_low <= 0.5 + 0.3 * rng.normal() <= pooled.prediction_high
    assert covered >= 0.9 * 400


def test_no_effect_is_found_at_the_stated_rate():
    rng = np.random.default_rng(9)
    found = [random_effects(0.2 * rng.normal(size=5), np.full(5, 0.2)).p_value <= 0.05 for _ in range(1000)]
    assert sum(found) <= 60


def test_agreement_counts_signs_and_two_tasks_predict_nothing():
    pooled = random_effects([0.4, -0.1, 0.5, 0.6], [0.1, 0.1, 0.1, 0.1])
    assert pooled.agreement == 0.75
    assert random_effects([0.4, 0.6], [0.1, 0.1]).prediction_low is None


@pytest.mark.parametrize(("estimates", "errors"), [([0.1], [0.1]), ([0.1, 0.2], [0.1, 0.0]), ([0.1, np.nan], [1, 1])])
def test_bad_input_is_refused(estimates, errors):
    with pytest.raises(ValueError, match="estimate"):
        random_effects(estimates, errors)


def test_fisher_is_uniform_where_nothing_is():
    rng = np.random.default_rng(3)
    p = np.array([fisher(rng.random(6)) for _ in range(2000)])
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.015)
    assert fisher([]) == 1.0
