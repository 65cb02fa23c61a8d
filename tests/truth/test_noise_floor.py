"""The noise floor against planted seed noise."""

from __future__ import annotations

import numpy as np
import pytest

from hpkb.miners import Context, noise_floor
from hpkb.stats import noise
from tests.truth.planted import planted_sweep

TRIALS = 200


def _coverage(**law: object) -> float:
    inside = 0
    for trial in range(TRIALS):
        sweep, truth = planted_sweep(np.random.default_rng(trial), **law)  # type: ignore[arg-type]
        found = noise.pooled(noise.repeats_of(sweep))
        assert found is not None
        inside += found.low <= truth.seed_noise <= found.high
    return inside / TRIALS


@pytest.mark.parametrize(
    "law",
    [
        {"n_configurations": 5, "repeats": 2},
        {"n_configurations": 20, "repeats": 3},
        {"n_configurations": 80, "repeats": 3, "unbalanced": True},
        {"n_configurations": 40, "repeats": 2, "diverging": True, "design": "adaptive"},
    ],
    ids=["few", "usual", "unbalanced", "diverging"],
)
def test_the_interval_covers_the_planted_noise(law):
    assert _coverage(**law) >= 0.91


def _scattered(rng, n, draw):
    y = draw(rng, n)
    group = np.repeat(np.arange(n), y.shape[1])
    squares = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return noise.Repeats(y.ravel(), group, y.mean(axis=1), np.full(n, y.shape[1] - 1.0), squares)


@pytest.mark.parametrize(
    ("draw", "rate"),
    [
        (lambda rng, n: rng.standard_t(5, (n, 3)) / np.sqrt(5 / 3), 0.90),
        (lambda rng, n: rng.exponential(1.0, (n, 3)), 0.85),
        (lambda rng, n: rng.normal(0, np.exp(rng.normal(-0.25, 0.5, (n, 1))), (n, 3)), 0.84),
    ],
    ids=["heavy tails", "skewed", "unequal"],
)
def test_the_interval_stays_near_its_rate_when_the_noise_is_not_normal(draw, rate):
    rng = np.random.default_rng(0)
    found = [noise.pooled(_scattered(rng, 20, draw)) for _ in range(TRIALS)]
    assert np.mean([f.low <= 1 <= f.high for f in found]) >= rate


def test_a_huge_finite_loss_does_not_become_the_noise():
    sweep, truth = planted_sweep(np.random.default_rng(1), 40, 3, seed_noise=0.02)
    sweep.y[7] = 1e6
    found = noise.pooled(noise.repeats_of(sweep))
    assert found.sd < 100 * truth.seed_noise


def test_on_pure_noise_nothing_is_supported_but_the_noise_is_still_stated():
    verdicts = []
    for trial in range(TRIALS):
        sweep, truth = planted_sweep(np.random.default_rng(trial), 40, 3, effect=False)
        found = noise_floor.mine(Context(sweep))
        verdicts += [f.verdict == "supported" for f in found]
        assert found[0].estimate == pytest.approx(truth.seed_noise, rel=0.5)
    assert np.mean(verdicts) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / TRIALS)


def test_a_real_effect_is_supported_and_the_difference_is_the_textbook_one():
    sweep, truth = planted_sweep(np.random.default_rng(3), 80, 3)
    found = {f.quantity: f for f in noise_floor.mine(Context(sweep))}
    assert {found[q].verdict for q in ("seed_sd", "noise_floor", "minimum_detectable_difference")} == {"supported"}
    difference = found["minimum_detectable_difference"]
    assert difference.estimate == pytest.approx(2.8 * truth.seed_noise * np.sqrt(2 / 3), rel=0.25)
    labels = [row["label"] for row in difference.figure["rows"]]
    assert labels == ["1 seed each", *(f"{n} seeds each" for n in (2, 3, 5, 10))]


def test_the_floor_is_that_of_the_better_half():
    sweep, _ = planted_sweep(np.random.default_rng(4), 80, 4, seed_noise=0.01)
    means = sweep.y.reshape(80, 4).mean(axis=1)
    bad = (means > np.median(means))[sweep.configuration]
    sweep.y[bad] += 1
    sweep.y[bad] += np.random.default_rng(5).normal(0, 0.5, bad.sum())
    everything = noise.pooled(noise.repeats_of(sweep))
    assert noise.floor(sweep) < everything.sd / 3


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_typical_noise_covers_the_truth_also_where_configurations_differ(spread):
    covered = 0
    for trial in range(TRIALS):
        rng = np.random.default_rng(trial)
        sds = 0.1 * np.exp(spread * rng.standard_normal(12))
        y = (sds[:, None] * rng.standard_normal((12, 3))).ravel()
        group = np.repeat(np.arange(12), 3)
        squares = ((y.reshape(12, 3) - y.reshape(12, 3).mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        found = noise.typical(noise.Repeats(y, group, y.reshape(12, 3).mean(axis=1), np.full(12, 2.0), squares))
        covered += found.low <= 0.1 <= found.high
    assert 0.92 <= covered / TRIALS <= 0.99


def test_without_repeats_it_says_what_to_run():
    sweep, _ = planted_sweep(np.random.default_rng(6), 30, 1)
    found = noise_floor.mine(Context(sweep))
    assert {f.verdict for f in found} == {"insufficient"}
    assert all("two more seeds" in f.claim for f in found)
    assert noise.floor(sweep) is None
    assert all(f.estimate is not None and "near-duplicates" in f.caveats[0] for f in found)


def test_noise_that_goes_with_the_batch_size_is_found():
    rng = np.random.default_rng(7)
    sweep, _ = planted_sweep(rng, 80, 3, seed_noise=0.0)
    batch = sweep.hyperparameter("batch_size").values
    sweep.y[:] += 0.05 * (batch / 64) ** -0.5 * rng.standard_normal(sweep.n_runs)
    found = {f.quantity: f for f in noise_floor.mine(Context(sweep))}
    exponent = found["seed_sd_batch_exponent"]
    assert exponent.verdict == "supported"
    assert exponent.estimate == pytest.approx(-0.5, abs=0.25)
    assert found["seed_sd_ratio_away_from_optimum"].verdict != "supported"


def test_seeds_needed_is_the_detectable_difference_turned_round():
    found = noise.SeedNoise(0.1, 0.08, 0.13, 40, 20)
    for seeds in (1, 3, 10):
        assert noise.seeds_needed(found, noise.minimum_detectable_difference(found, seeds)) == seeds
