"""The best value of a hyperparameter, at the edge of what was tried and within it."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from hpkb.sweep import Sweep
from tests.truth.laws import Law
from tests.truth.planted import planted_sweep

BEST_DROPOUT = 0.2


def _rate(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    sweep, truth = planted_sweep(rng, **law)  # type: ignore[arg-type]
    return sweep, truth.best_learning_rate


def _sgd(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    sweep, truth = planted_sweep(rng, optimizers=("AdamW", "SGD"), learning_rate_range=(1e-5, 10.0), **law)  # type: ignore[arg-type]
    return sweep, truth.best_learning_rate * math.exp(truth.optimizer_shift)


def _dropout(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    return planted_sweep(rng, **law)[0], BEST_DROPOUT  # type: ignore[arg-type]


def _law(name: str, draw: object = _rate, own: str = "learning_rate", condition: str = "", **law: object) -> Law:
    return Law(name, "optimum", partial(draw, **law), True, (own,), condition)  # type: ignore[arg-type]


LAWS = [
    _law("bowl", repeats=2),
    _law("cliff, diverging runs", repeats=2, shape="asymmetric", diverging=True),
    _law("bowl, adaptive design", repeats=2, design="adaptive"),
    _law("bowl, heavy tails", n_configurations=160, heavy_tails=True),
    _law("of the other optimizer", _sgd, condition="optimizer=SGD", n_configurations=120, repeats=2),
    _law("a weak one", _dropout, "dropout", n_configurations=200, repeats=2),
]
