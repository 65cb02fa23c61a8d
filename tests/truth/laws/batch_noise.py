"""Curves from a known law of the batch size: steps to a target, the gradient's noise scale, the loss's scatter."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.records import Curve, Facts, FloatArray, Records
from hpkb.sweep import Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep

POINTS = 150
NOISE_SCALE = (12.0, 200.0)  # early and late in training


def batch_sweep(
    rng: np.random.Generator, *, critical: float = 64.0, scatter: float = -0.5, sd: float = 0.1, heavy: bool = False,
    growth: bool = True, steps: float = 300.0, n: int = 80, **law: object,
) -> Sweep:  # fmt: skip
    """A sweep whose runs fall as a power of their steps, at a pace that the batch size and the learning rate set.

    The validation loss is 0.3 + (1 + S/S₀)^-0.7, with S₀ = `steps`/10 · (1 + critical/batch) · e^(0.1 · d²), d nats
    from the best rate, and a lognormal factor of scatter `sd`: steps to any target follow S_min (1 + critical/batch).
    All runs take the same number of steps. `critical` infinite: in proportion to 1/batch; 0: no matter. The scatter of
    the training loss goes as batch^`scatter`; the noise scale grows from 12 to 200 where `growth`, else it stays at 12.
    """
    sweep, truth = planted_sweep(rng, n, **{"batch_exponent": 0.5, "seed_noise": 0.02, **law})  # type: ignore[arg-type]
    batch, rate = (sweep.hyperparameter(name) for name in ("batch_size", "learning_rate"))
    assert batch is not None
    assert rate is not None
    away = np.log(rate.values / truth.best_learning_rate) - truth.batch_exponent * np.log(batch.values / 64)
    draws = rng.standard_t(2, sweep.n_runs) if heavy else rng.normal(size=sweep.n_runs)
    share = 64 / batch.values if np.isinf(critical) else 1 + critical / batch.values
    pace = steps / 10 * share * np.exp(0.1 * away**2 * bool(truth.effect) + sd * draws)
    at = np.linspace(1, steps * 40, POINTS).round()
    falls = 0.3 + (1 + at / pace[:, None]) ** -0.7
    training = falls + 0.05 * (batch.values[:, None] / 64) ** scatter * rng.normal(size=falls.shape)
    grown = np.linspace(0, 1, POINTS) * np.log(NOISE_SCALE[1] / NOISE_SCALE[0]) * growth
    scattered = 0.3 * rng.normal(size=(sweep.n_runs, 1)) + 0.1 * rng.normal(size=falls.shape)
    scale = NOISE_SCALE[0] * np.exp(grown + scattered)
    curves = {name: _curves(at, values) for name, values in
              (("val_loss", falls), ("train_loss", training), ("gradient_noise_scale", scale))}  # fmt: skip
    facts = Facts(curves=curves, training="train_loss", validation="val_loss")
    return replace(sweep, y=np.where(sweep.infeasible, np.nan, falls[:, -1]),
                   recorded=Records(np.arange(sweep.n_runs, dtype=np.int64), facts))  # fmt: skip


def _curves(step: FloatArray, values: FloatArray) -> list[Curve | None]:
    return [Curve(step, row, np.full(step.size, np.nan)) for row in values]


def _critical(rng: np.random.Generator, critical: float, **law: object) -> tuple[Sweep, float]:
    return batch_sweep(rng, critical=critical, **law), critical  # type: ignore[arg-type]


def _scatter(rng: np.random.Generator, scatter: float, **law: object) -> tuple[Sweep, float]:
    return batch_sweep(rng, scatter=scatter, **law), scatter  # type: ignore[arg-type]


def _scale(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    """The median of the last third: of ln, five sixths of the way, the noise of runs has median 0."""
    early, late = np.log(NOISE_SCALE)
    return batch_sweep(rng, **law), float(np.exp(early + (late - early) * 5 / 6))  # type: ignore[arg-type]


def _result(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    """The planted objective rises by 0.06 per nat of batch size, each at its own best rate."""
    sweep, _ = planted_sweep(rng, **{"batch_exponent": 0.5, **law})  # type: ignore[arg-type]
    return sweep, 0.06 * float(np.log(2))


def _no_law(rng: np.random.Generator, **law: object) -> Sweep:
    """The steps to a target depend on nothing, the loss's scatter neither, and the noise scale stays as it is."""
    return batch_sweep(rng, critical=0.0, scatter=0.0, growth=False, effect=False, **law)  # type: ignore[arg-type]


LAWS = [
    Law("critical batch 64", "critical_batch_size", partial(_critical, critical=64.0)),
    Law("critical batch 128, more scatter", "critical_batch_size", partial(_critical, critical=128.0, sd=0.25, n=120)),
    Law("critical batch 64, random, seeds", "critical_batch_size",
        partial(_critical, critical=64.0, design="random", repeats=2, sd=0.2)),
    Law("critical batch 32, diverging", "critical_batch_size",
        partial(_critical, critical=32.0, diverging=True, shape="asymmetric", n=120)),
    Law("scatter -0.5", "noise_exponent", partial(_scatter, scatter=-0.5)),
    Law("scatter -0.25, adaptive", "noise_exponent", partial(_scatter, scatter=-0.25, design="adaptive")),
    Law("scatter does not depend on it", "noise_exponent", partial(_scatter, scatter=0.0), False),
    Law("noise scale late in training", "gradient_noise_scale", _scale, condition="late in training"),
    Law("result rises with batch", "result_by_batch_size", _result),
    Law("result rises, heavy tails", "result_by_batch_size", partial(_result, heavy_tails=True), False),
]  # fmt: skip
NOISE = [
    Noise("curves without any law", _no_law),
    Noise("curves, heavy tails, few runs", partial(_no_law, heavy=True, sd=0.5, n=40, diverging=True)),
    Noise("curves, adaptive", partial(_no_law, design="adaptive", sd=0.3)),
]
