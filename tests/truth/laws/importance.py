"""What share of the variance each hyperparameter and each pair has, over the space that was tried."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from hpkb.sweep import FloatArray, Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import Space, Truth, divergence_chance, expected_loss, planted_sweep
from tests.truth.shares import cells, shares_of

RATE, DECAY, BATCH, DROPOUT = "learning_rate", "weight_decay", "batch_size", "dropout"
RANDOM: dict[str, object] = {"design": "random", "n_configurations": 200}
CELLS = 24  # of a number, in the exact decomposition


def true_shares(
    sweep: Sweep, truth: Truth, space: Space | None = None, of: Callable[..., FloatArray] = expected_loss
) -> dict[tuple[str, ...], float]:
    """Returns the exact shares of the law's expected loss (or of what else) over the product of the ranges tried."""
    axes = [cells(h, CELLS) for h in sweep.hyperparameters]
    grid = np.meshgrid(*axes, indexing="ij")
    names = [h.name for h in sweep.hyperparameters]
    values = {name: axis.ravel() for name, axis in zip(names, grid, strict=True)}
    return shares_of(of(space or Space(), truth, values).reshape(grid[0].shape), names)


def _drawn(names: tuple[str, ...], rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    sweep, truth = planted_sweep(rng, **law)  # type: ignore[arg-type]
    return sweep, true_shares(sweep, truth)[names]


def _diverging(names: tuple[str, ...], rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    sweep, truth = planted_sweep(rng, diverging=True, **RANDOM, **law)  # type: ignore[arg-type]
    return sweep, min(true_shares(sweep, truth, of=divergence_chance)[names], 1.0)  # no rounding beyond all of it


def _law(name: str, names: tuple[str, ...], is_effect: bool = True, **law: object) -> Law:
    return Law(name, "variance_share", partial(_drawn, names, **law), is_effect, names)


LAWS = [
    _law("a main effect, quadratic", (RATE,), **RANDOM),
    _law("a main effect, cliff, seeds unbalanced", (RATE,), shape="asymmetric", repeats=3, unbalanced=True),
    _law("a pair, quadratic", (RATE, DECAY), ridge=-0.4, **RANDOM),
    _law("a pair, cliff", (RATE, BATCH), batch_exponent=1.0, shape="asymmetric", **RANDOM),
    _law("a weak main effect, heavy tails", (BATCH,), batch_exponent=0.0, heavy_tails=True, **RANDOM),
    _law("no pair beside a strong main effect", (DECAY, DROPOUT), False, **RANDOM),
    Law("feasibility, one alone", "infeasibility_share", partial(_diverging, (RATE,)), True, (RATE,)),
    Law("feasibility, a pair", "infeasibility_share", partial(_diverging, (RATE, BATCH), batch_exponent=1.0), True,
        (RATE, BATCH)),
]
NOISE: list[Noise] = []
