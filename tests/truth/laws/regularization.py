"""How the generalisation gap goes with weight decay and dropout, beside a hump in the learning rate."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.records import Facts, FloatArray, Records
from hpkb.sweep import Hyperparameter, Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep

DECAY, DROPOUT = -0.05, -0.04  # of the gap, per decade and per 0.1
SD = 0.05


def with_gap(sweep: Sweep, gap: FloatArray, **numbers: FloatArray) -> Sweep:
    """The sweep with these gaps, and these numbers, on record."""
    facts = Facts(numbers={"gap": gap, **numbers}, training="train_loss", validation="val_loss")
    return replace(sweep, recorded=Records(np.arange(sweep.n_runs, dtype=np.int64), facts))


def regularised(
    rng: np.random.Generator, n: int = 60, slopes: tuple[float, float] = (DECAY, DROPOUT), heavy: bool = False,
    sd: float = SD, **law: object,
) -> Sweep:  # fmt: skip
    """A sweep whose gap falls with weight decay and dropout, and has a hump in the learning rate.

    Configurations scatter by `sd` beside the seeds, with Student's tails of 2 degrees of freedom where `heavy`.
    """
    sweep, _ = planted_sweep(rng, n, **law)  # type: ignore[arg-type]
    rate, decay, dropout = (_varied(sweep, name).values for name in ("learning_rate", "weight_decay", "dropout"))
    gap = 0.3 * np.exp(-((np.log10(rate) + 2.5) ** 2) / 2)
    gap = gap + slopes[0] * np.log10(decay) + slopes[1] * dropout / 0.1
    of_configuration = rng.standard_t(2, sweep.n_configurations) if heavy else rng.normal(size=sweep.n_configurations)
    return with_gap(sweep, gap + sd * of_configuration[sweep.configuration] + rng.normal(0, sd, sweep.n_runs))


def _varied(sweep: Sweep, name: str) -> Hyperparameter:
    found = sweep.hyperparameter(name)
    assert found is not None
    return found


def _drawn(
    rng: np.random.Generator, place: int, slopes: tuple[float, float], **law: object
) -> tuple[Sweep, float]:
    return regularised(rng, slopes=slopes, **law), slopes[place]  # type: ignore[arg-type]


def _law(name: str, place: int, slopes: tuple[float, float], **law: object) -> Law:
    own = ("weight_decay", "dropout")[place]
    draw = partial(_drawn, place=place, slopes=slopes, **law)
    return Law(name, "generalization_gap_slope", draw, bool(slopes[place]), (own,))


LAWS = [
    _law("weight decay, two seeds", 0, (DECAY, DROPOUT), repeats=2),
    _law("dropout, uneven seeds", 1, (DECAY, DROPOUT), repeats=3, unbalanced=True),
    _law("none, heavy tails", 0, (0.0, DROPOUT), heavy=True, sd=0.01),
    _law("dropout, adaptive design", 1, (DECAY, DROPOUT), design="adaptive", repeats=2),
]
NOTHING = {"slopes": (0.0, 0.0), "effect": False}
NOISE = [
    Noise("heavy tails, diverged runs", partial(regularised, heavy=True, diverging=True, **NOTHING)),  # type: ignore[arg-type]
    Noise("adaptive design", partial(regularised, design="adaptive", **NOTHING)),  # type: ignore[arg-type]
]
