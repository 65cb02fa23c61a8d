"""What warmup does to the result, each at its own best learning rate, and its best length."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.sweep import Hyperparameter, Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep

BEST = 400.0  # steps
EFFECT = -0.12  # of warmup on the loss, each at its own best rate


def warmed_up(
    rng: np.random.Generator, effect: float = EFFECT, bend: float = 0.0, raises: float = 1.0, without: float = 0.5,
    best_rate: bool = True, **law: object,
) -> Sweep:  # fmt: skip
    """A sweep in which a share of the runs have no warmup, the others 20 to 8000 steps of it.

    `raises` is what warmup adds to ln of the best learning rate, `bend` the loss per (ln of the length off the best)².
    """
    sweep, _ = planted_sweep(rng, **law)  # type: ignore[arg-type]
    rate = sweep.hyperparameter("learning_rate")
    assert rate is not None
    n, member = sweep.n_configurations, sweep.configuration
    steps = np.exp(rng.uniform(np.log(20), np.log(8000), n)) * (rng.random(n) >= without)
    warm = steps[member] > 0
    away = np.log(rate.values) - np.log(3e-3)
    moved = 0.05 * ((away - raises) ** 2 - away**2) if best_rate else 0.0
    off = np.log(np.where(warm, steps[member], BEST) / BEST)
    y = sweep.y + warm * (effect + moved + bend * off**2)
    parameter = Hyperparameter("warmup_steps", "linear", steps[member])
    return replace(sweep, y=y, hyperparameters=(*sweep.hyperparameters, parameter))


def _difference(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    return warmed_up(rng, **law), float(law.get("effect", EFFECT))  # type: ignore[arg-type]


def _ratio(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    return warmed_up(rng, **law), float(np.exp(law.get("raises", 1.0)))  # type: ignore[arg-type]


def _length(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    return warmed_up(rng, without=0.1, bend=0.05, **law), BEST  # type: ignore[arg-type]


def _law(name: str, quantity: str, draw: object, is_effect: bool = True, **law: object) -> Law:
    return Law(name, quantity, partial(draw, **law), is_effect)  # type: ignore[arg-type]


LAWS = [
    _law("better by 0.12, bears a higher rate", "paired_difference", _difference, seed_noise=0.05),
    _law("the same, heavy tails", "paired_difference", _difference, seed_noise=0.02, heavy_tails=True, design="random",
         n_configurations=240),
    _law("none, but a higher rate", "paired_difference", _difference, False, effect=0.0, seed_noise=0.1),
    _law("best length 400, seeds unbalanced", "optimum", _length, seed_noise=0.1, repeats=3, unbalanced=True),
    _law("best length 400, heavy tails", "optimum", _length, seed_noise=0.02, heavy_tails=True, design="random",
         n_configurations=160),
    _law("best rate 2.7 times as high", "best_rate_ratio", _ratio, seed_noise=0.05),
]  # fmt: skip

NOISE = [
    Noise("no effect of warmup", partial(warmed_up, effect=0.0, raises=0.0, seed_noise=0.1)),
    Noise("the same, heavy tails", partial(warmed_up, effect=0.0, raises=0.0, heavy_tails=True, diverging=True)),
    Noise("no effect of anything", partial(warmed_up, effect=0.0, best_rate=False, heavy_tails=True, curvature=0.0)),
]
