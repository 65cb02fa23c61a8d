"""What a kind of model is worth at its own best learning rate, and what two kinds do together."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.records import Facts, FloatArray, IntArray, Records
from hpkb.sweep import Hyperparameter, Scale, Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import CENTRE, Space, Truth, expected_loss, planted_sweep

BETTER = -0.18  # of the loss: twice what 80 configurations can just show, ranks included
CURVATURE = 0.05


def with_level(
    rng: np.random.Generator, name: str, levels: tuple[str, ...] | tuple[float, ...], *, difference: float = 0.0,
    shift: float = 0.0, n: int = 80, together: float = 0.0, curvature_ratio: float = 1.0, **law: object,
) -> Sweep:  # fmt: skip
    """A planted sweep with one more hyperparameter, drawn alike for all configurations.

    Each level moves the best learning rate by `shift` nats and the loss there by `difference` against the one before,
    and makes the bowl `curvature_ratio` times as steep; `together` is the product with ln weight_decay, both centred.
    """
    effect = bool(law.get("effect", True))
    sweep, truth = planted_sweep(rng, n, ridge=0.0, batch_exponent=0.0, dropout=False, **law)  # type: ignore[arg-type]
    code = rng.integers(len(levels), size=sweep.n_configurations)[sweep.configuration].astype(float)
    extra = _added(sweep, truth, code, shift, curvature_ratio) if effect else np.zeros(sweep.n_runs)
    extra = extra + difference * code + together * (code - (len(levels) - 1) / 2) * _centred_decay(sweep)
    y = np.where(sweep.infeasible, np.nan, sweep.y + extra)
    return replace(sweep, y=y, hyperparameters=(*sweep.hyperparameters, _parameter(name, levels, code)))


def _added(sweep: Sweep, truth: Truth, code: FloatArray, shift: float, ratio: float) -> FloatArray:
    """What the moved and steeper bowl adds to the planted one, (n_runs,)."""
    away = np.log(_values(sweep, "learning_rate")) - math.log(truth.best_learning_rate)
    return np.asarray(CURVATURE * (ratio**code * (away - shift * code) ** 2 - away**2))


def _values(sweep: Sweep, name: str) -> FloatArray:
    found = sweep.hyperparameter(name)
    assert found is not None
    return found.values


def _centred_decay(sweep: Sweep) -> FloatArray:
    return np.asarray(np.log(_values(sweep, "weight_decay") / CENTRE["weight_decay"]))


def _parameter(name: str, levels: tuple[str, ...] | tuple[float, ...], code: FloatArray) -> Hyperparameter:
    if isinstance(levels[0], str):
        return Hyperparameter(name, "category", code, tuple(map(str, levels)))
    scale: Scale = "log"
    return Hyperparameter(name, scale, np.array(levels, dtype=float)[code.astype(int)])


def interaction_truth(levels: int, together: float, difference: float) -> float:
    """The share of the variance of the product of level and ln weight_decay over the space that is drawn from."""
    rng = np.random.default_rng(0)
    space, n = Space(dropout=False), 200_000
    values = {name: space.values(name, rng.random(n)) for name in space.names()}
    truth = Truth(0.0, 0.0, 3e-3, 0.0, 0.0, 0.0, True, "quadratic")
    code = rng.integers(levels, size=n) - (levels - 1) / 2
    product = together * code * np.log(values["weight_decay"] / CENTRE["weight_decay"])
    total = expected_loss(space, truth, values) + difference * code + product
    return float(product.var() / total.var())


def _drawn(
    rng: np.random.Generator, name: str, levels: tuple[str, ...], times: int, **law: object
) -> tuple[Sweep, float]:
    return with_level(rng, name, levels, **law), times * float(law.get("difference", 0.0))  # type: ignore[arg-type]


def pair_law(
    title: str, name: str, levels: tuple[str, ...] | tuple[float, ...], condition: str | None, times: int = 1,
    **law: object,
) -> Law:  # fmt: skip
    """The law of the paired difference of two levels, `times` steps apart."""
    draw = partial(_drawn, name=name, levels=levels, times=times, **law)  # type: ignore[arg-type]
    return Law(title, "paired_difference", draw, bool(law.get("difference")), (name,), condition)


def _together(rng: np.random.Generator) -> tuple[Sweep, float]:
    decay = with_level(rng, "weight_decay_twin", ("a", "b"), n=120, difference=0.05, together=0.06, seed_noise=0.02)
    named = tuple(
        replace(h, name={"weight_decay": "depth", "weight_decay_twin": "normalization"}.get(h.name, h.name))
        for h in decay.hyperparameters
    )
    return replace(decay, hyperparameters=named), INTERACTION


INTERACTION = interaction_truth(2, 0.06, 0.05)
WIDTHS = tuple(float(16 * 2**i) for i in range(8))
THIRDS = None  # where the thirds end differs from sweep to sweep
NORMS = ("batch_norm", "none")
LAWS = [
    pair_law("normalisation, its best rate moved", "normalization", NORMS, "batch_norm against no normalization",
             -1, difference=-BETTER, shift=-1.5),
    pair_law("depth, three values, uneven seeds", "depth", (2.0, 4.0, 8.0), "depth 4 against depth 2", 1,
             difference=BETTER, shift=-0.5, n=120, repeats=3, unbalanced=True),
    pair_law("width in thirds", "width", WIDTHS, THIRDS, 5, difference=BETTER / 5, n=96),
    pair_law("residual connections, none, cliff", "residual", ("False", "True"),
             "residual connections against no residual connections", shape="asymmetric", diverging=True),
    pair_law("normalisation, steeper bowl, heavy tails", "normalization", NORMS, "batch_norm against no normalization",
             -1, difference=-2 * BETTER, shift=-1.0, curvature_ratio=2.0, heavy_tails=True, seed_noise=0.02),
    pair_law("depth, adaptive design", "depth", (2.0, 4.0), "depth 4 against depth 2", difference=BETTER, shift=0.5,
             design="adaptive"),
    Law("normalisation and depth together", "interaction_share", _together, True, ("depth", "normalization")),
]  # fmt: skip


def with_data_sizes(rng: np.random.Generator, sweep: Sweep) -> Sweep:
    """The sweep with a number of training examples on record that has no effect."""
    examples = 2.0 ** rng.integers(10, 15, sweep.n_configurations)[sweep.configuration]
    index: IntArray = np.arange(sweep.n_runs, dtype=np.int64)
    return replace(sweep, recorded=Records(index, Facts(numbers={"n_examples.training": examples})))


def _nothing(rng: np.random.Generator, **law: object) -> Sweep:
    sweep = with_level(rng, "normalization", ("batch_norm", "layer_norm", "none"), effect=False, **law)  # type: ignore[arg-type]
    code = rng.integers(3, size=sweep.n_configurations)[sweep.configuration].astype(float)
    depth = _parameter("depth", (2.0, 4.0, 8.0), code)
    return with_data_sizes(rng, replace(sweep, hyperparameters=(*sweep.hyperparameters, depth)))


NOISE = [
    Noise("heavy tails, diverged runs", partial(_nothing, heavy_tails=True, diverging=True)),
    Noise("uneven seeds, adaptive design", partial(_nothing, repeats=3, unbalanced=True, design="adaptive")),
]
