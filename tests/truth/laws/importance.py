"""What share of the variance each hyperparameter and each pair has, over the space that was tried."""

from __future__ import annotations

from functools import partial

import numpy as np

from hpkb.sweep import Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import Space, Truth, expected_loss, planted_sweep
from tests.truth.shares import cells, shares_of

CELLS = 24  # of a number, in the exact decomposition


def true_shares(sweep: Sweep, truth: Truth, space: Space | None = None) -> dict[tuple[str, ...], float]:
    """Returns the exact shares of the law's expected loss over the product of the ranges that the sweep tried."""
    axes = [cells(h, CELLS) for h in sweep.hyperparameters]
    grid = np.meshgrid(*axes, indexing="ij")
    names = [h.name for h in sweep.hyperparameters]
    values = {name: axis.ravel() for name, axis in zip(names, grid, strict=True)}
    loss = expected_loss(space or Space(), truth, values)
    return shares_of(loss.reshape(grid[0].shape), names)


def _drawn(names: tuple[str, ...], rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    sweep, truth = planted_sweep(rng, **law)  # type: ignore[arg-type]
    return sweep, true_shares(sweep, truth)[names]


def _law(name: str, names: tuple[str, ...], is_effect: bool = True, **law: object) -> Law:
    return Law(name, "variance_share", partial(_drawn, names, **law), is_effect, names)


RATE, DECAY, BATCH, DROPOUT = "learning_rate", "weight_decay", "batch_size", "dropout"
RANDOM = {"design": "random", "n_configurations": 200}

LAWS = [
    _law("a main effect, quadratic", (RATE,), **RANDOM),
    _law("a main effect, cliff, seeds unbalanced", (RATE,), shape="asymmetric", repeats=3, unbalanced=True),
    _law("a pair, quadratic", (RATE, DECAY), ridge=-0.4, **RANDOM),
    _law("a pair, cliff", (RATE, BATCH), batch_exponent=1.0, shape="asymmetric", **RANDOM),
    _law("a weak main effect, heavy tails", (BATCH,), batch_exponent=0.0, heavy_tails=True, **RANDOM),
    _law("no pair beside a strong main effect", (DECAY, DROPOUT), False, **RANDOM),
]
NOISE: list[Noise] = []
