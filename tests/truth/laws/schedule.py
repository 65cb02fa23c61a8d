"""The difference of two schedules, each at its own best learning rate."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.sweep import FloatArray, Sweep
from tests.truth.laws import Law, Noise
from tests.truth.laws.lr_batch_size import DEMO
from tests.truth.planted import planted_sweep

STEP = 0.1  # what each further schedule of the list adds to the loss
TWO = ("constant", "cosine")
FOUR = ("constant", "cosine", "step", "warm_restarts")


def schedules(rng: np.random.Generator, **law: object) -> Sweep:
    return planted_sweep(rng, **{"schedules": TWO, **law})[0]  # type: ignore[arg-type]


def _of(sweep: Sweep) -> tuple[FloatArray, FloatArray]:
    """How far ln of the learning rate lies above the best one, and the schedule's number, (n_runs,) each."""
    rate, schedule = sweep.hyperparameter("learning_rate"), sweep.hyperparameter("lr_schedule")
    assert rate is not None
    assert schedule is not None
    optimizer = sweep.hyperparameter("optimizer")
    sgd = 0.0 if optimizer is None else optimizer.values == optimizer.levels.index("SGD")
    return np.log(rate.values / 3e-3) - np.log(30.0) * sgd, schedule.values


def other_curve(
    rng: np.random.Generator, steeper: float = 2.0, moved: float = 1.5, lower: float = 0.0, **law: object
) -> Sweep:
    """A sweep whose second schedule has a steeper curve that lies at higher rates; `lower` is taken off at its best."""
    sweep = schedules(rng, **law)
    away, schedule = _of(sweep)
    curve = 0.05 * (steeper * (away - moved) ** 2 - away**2) - lower
    return replace(sweep, y=sweep.y + (schedule == 1) * curve)


def _plain(rng: np.random.Generator, pairs: int = 1, **law: object) -> tuple[Sweep, float]:
    return schedules(rng, **law), pairs * STEP


def _moved(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    return other_curve(rng, **law), STEP  # type: ignore[arg-type]


def _none(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    return other_curve(rng, lower=STEP, **law), 0.0  # type: ignore[arg-type]


def _law(name: str, draw: object, is_effect: bool = True, **law: object) -> Law:
    condition = "cosine against constant"
    return Law(name, "paired_difference", partial(draw, **law), is_effect, ("lr_schedule",), condition)  # type: ignore[arg-type]


LAWS = [
    _law("worse by 0.1, quadratic", _plain, seed_noise=0.05, n_configurations=120),
    _law("the same, steeper at higher rates", _moved, seed_noise=0.05, n_configurations=120),
    _law("the same, ridges, adaptive design", _plain, seed_noise=0.04, ridge=-0.5, design="adaptive"),
    _law("the same, cliff, two optimizers", _plain, n_configurations=240, seed_noise=0.05, shape="asymmetric",
         diverging=True, optimizers=("SGD", "AdamW"), ridge=-0.5),
    _law("the same, heavy tails", _plain, heavy_tails=True, design="random", n_configurations=240, seed_noise=0.01),
    _law("the demo's design", _plain, False, **{**DEMO, "schedules": FOUR}),
    _law("none, but steeper at higher rates", _none, False, seed_noise=0.1),
    Law("warm restarts, worse by 0.2", "restarts_vs_plain",
        partial(_plain, pairs=2, schedules=FOUR, seed_noise=0.05, n_configurations=120)),
]  # fmt: skip


def _same_at_best(rng: np.random.Generator, **law: object) -> Sweep:
    return other_curve(rng, lower=STEP, **law)  # type: ignore[arg-type]


NOISE = [
    Noise("as good, but steeper at higher rates", partial(_same_at_best, seed_noise=0.1)),
    Noise("as good, steeper, heavy tails", partial(_same_at_best, heavy_tails=True, design="random")),
    Noise("as good, steeper, two optimizers", partial(_same_at_best, diverging=True, optimizers=("SGD", "AdamW"))),
]
