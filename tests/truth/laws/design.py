"""Trends along the order of the runs, settings against seeds, shares of infeasible runs; designs that mean nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import numpy as np
from scipy.stats import spearmanr

from hpkb.records import FloatArray
from hpkb.sweep import Sweep
from tests.truth.curves import recorded
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep


def _noise(rng: np.random.Generator, n: int, tails: str) -> FloatArray:
    return np.asarray(rng.standard_t(2, n) if tails == "heavy" else rng.standard_normal(n))


def _base(rng: np.random.Generator, n: int = 80, repeats: int = 1, **law: object) -> Sweep:
    return planted_sweep(rng, n, repeats, effect=False, **law)[0]  # type: ignore[arg-type]


def ordered(sweep: Sweep, place: FloatArray) -> Sweep:
    """The sweep with the starts of its configurations in this order."""
    return recorded(sweep, {}, started_at=1.7e9 + 3600.0 * place[sweep.configuration] + np.nan_to_num(sweep.seed))


def drifting(rng: np.random.Generator, trend: float, tails: str = "normal", repeats: int = 1) -> tuple[Sweep, float]:
    """Results that change with the order, and Spearman's correlation of the two."""
    sweep = _base(rng, 80, repeats)
    place = rng.permutation(80).astype(float)
    y = trend * place / 79 + _noise(rng, 80, tails)
    return ordered(replace(sweep, y=y[sweep.configuration]), place), _correlation(trend, tails)


@cache
def _correlation(trend: float, tails: str) -> float:
    """Spearman's correlation of a uniform place with a result that changes along it, by a large sample."""
    rng = np.random.default_rng(0)
    place = rng.random(400_000)
    return float(spearmanr(place, trend * place + _noise(rng, place.size, tails)).statistic)


def scattered(rng: np.random.Generator, ratio: float, seeds: int = 2, tails: str = "normal") -> tuple[Sweep, float]:
    """Settings that scatter `ratio` times as far as seeds."""
    sweep = _base(rng, 60, seeds)
    noise = rng.standard_t(4, sweep.n_runs) / np.sqrt(2) if tails == "heavy" else rng.standard_normal(sweep.n_runs)
    return replace(sweep, y=ratio * rng.standard_normal(60)[sweep.configuration] + noise), ratio


def failing(rng: np.random.Generator, share: float) -> tuple[Sweep, float]:
    """A share of the runs is infeasible, wherever they are."""
    sweep = _base(rng, 100)
    lost = rng.random(100) < share
    return replace(sweep, y=np.where(lost, np.nan, sweep.y), infeasible=lost), share


LAWS = [
    Law("later runs are better", "sampling_bias", partial(drifting, trend=-2.4)),
    Law("later runs are better, heavy tails, seeds", "sampling_bias",
        partial(drifting, trend=-3.8, tails="heavy", repeats=2)),
    Law("no order", "sampling_bias", partial(drifting, trend=0.0), False),
    Law("settings move three times as far as seeds", "effect_over_noise", partial(scattered, ratio=3.0)),
    Law("twice as far, heavy tails, three seeds", "effect_over_noise",
        partial(scattered, ratio=2.0, seeds=3, tails="heavy")),
    Law("half as far", "effect_over_noise", partial(scattered, ratio=0.5, seeds=3), False),
    Law("60% infeasible", "infeasible_excess", partial(failing, share=0.6)),
    Law("20% infeasible", "infeasible_excess", partial(failing, share=0.2), False),
]  # fmt: skip


def _in_random_order(rng: np.random.Generator, **law: object) -> Sweep:
    sweep = _base(rng, **law)  # type: ignore[arg-type]
    return ordered(sweep, rng.permutation(sweep.n_configurations).astype(float))


def confounded(rng: np.random.Generator) -> Sweep:
    """Weight decay mostly went with the learning rate, and nothing has an effect."""
    sweep = _in_random_order(rng)
    rate = sweep.hyperparameter("learning_rate")
    assert rate is not None
    values = 0.1 * rate.values * np.exp(rng.normal(0, 1.5, sweep.n_configurations))[sweep.configuration]
    moved = (replace(h, values=values) if h.name == "weight_decay" else h for h in sweep.hyperparameters)
    return replace(sweep, hyperparameters=tuple(moved))


NOISE = [
    Noise("random order, heavy tails, infeasible runs", partial(_in_random_order, heavy_tails=True, diverging=True)),
    Noise("random order, three seeds", partial(_in_random_order, repeats=3, unbalanced=True)),
    Noise("confounded design", confounded),
]
