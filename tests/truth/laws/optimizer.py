"""The expected best of k configurations of one optimizer less that of another."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import numpy as np

from hpkb.sweep import Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep

BOTH = {"optimizers": ("AdamW", "SGD"), "design": "random"}
MANY = 4000


def _searched(rng: np.random.Generator, **law: object) -> Sweep:
    return planted_sweep(rng, **{**BOTH, **law})[0]  # type: ignore[arg-type]


@cache
def _truth(k: int, law: tuple[tuple[str, object], ...]) -> float:
    """The difference of SGD and AdamW, from a search so large that its own error does not count."""
    means = []
    for seed in range(5):
        large = _searched(np.random.default_rng(seed), **{**dict(law), "n_configurations": 2 * MANY, "repeats": 1})
        optimizer = large.hyperparameter("optimizer")
        assert optimizer is not None
        y = np.where(large.infeasible, np.nanmax(large.y), large.y)
        y = np.minimum(y, np.quantile(y, 0.99)) if k > 1 else y
        means.append([_best(y[optimizer.values == level], k) for level in (0, 1)])
    adamw, sgd = np.mean(means, axis=0)
    return float(sgd - adamw)


def _best(y: np.ndarray, k: int) -> float:
    return float(y[: y.size // k * k].reshape(-1, k).min(axis=1).mean())


def _drawn(rng: np.random.Generator, k: int, **law: object) -> tuple[Sweep, float]:
    return _searched(rng, **law), _truth(k, tuple(law.items()))


def _law(name: str, k: int, is_effect: bool = True, **law: object) -> Law:
    condition = f"SGD against AdamW, k={k}"
    draw = partial(_drawn, k=k, **law)
    return Law(name, "difference_at_equal_budget", draw, is_effect, ("optimizer",), condition)


LAWS = [
    _law("one configuration, 60 tried", 1, False, n_configurations=60, optimizer_shift=0.0),
    _law("best of 4, 600 tried", 4, n_configurations=600, optimizer_shift=0.0),
    _law("best of 16, 400 tried", 16, n_configurations=400, optimizer_shift=0.0),
    _law("best of 16, heavy tails, 80 tried", 16, False, n_configurations=80, heavy_tails=True, optimizer_shift=0.0),
    _law("best of 4, cliff, diverging, 60 tried", 4, False, n_configurations=60, shape="asymmetric", diverging=True),
]

SAME = {"optimizer_shift": 0.0, "effect": False}
NOISE = [
    Noise("two of one kind", partial(_searched, **SAME)),
    Noise("two of one kind, heavy tails, diverging", partial(_searched, heavy_tails=True, diverging=True, **SAME)),
]


def _confounded(rng: np.random.Generator) -> Sweep:
    """No difference of the optimizers, one of which got the better half of the weight decays somewhat more often."""
    sweep = _searched(rng, optimizer_shift=0.0, n_configurations=400)
    optimizer, decay = sweep.hyperparameter("optimizer"), sweep.hyperparameter("weight_decay")
    assert optimizer is not None
    assert decay is not None
    large = decay.values > np.median(decay.values)
    kept = (large == (optimizer.values == 0)) | (rng.random(sweep.n_runs) < 0.5)
    return replace(sweep, y=sweep.y - 0.15 * optimizer.values + 0.3 * large).subset(kept)


NOISE.append(Noise("two of one kind, weight decay went along", _confounded))
