"""How much seeds scatter, alike everywhere or not, and how that goes with the batch size."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.sweep import FloatArray, Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep

SD = 0.05


def _scattered(rng: np.random.Generator, sweep: Sweep, sds: FloatArray) -> Sweep:
    """The sweep with normal noise of each configuration's own deviation added."""
    return replace(sweep, y=sweep.y + sds[sweep.configuration] * rng.standard_normal(sweep.n_runs))


def _repeated(sweep: Sweep) -> FloatArray:
    return np.bincount(sweep.configuration[~sweep.infeasible]).astype(float)


def _unequal(rng: np.random.Generator, spread: float, **law: object) -> tuple[Sweep, FloatArray]:
    sweep, _ = planted_sweep(rng, seed_noise=0.0, **law)  # type: ignore[arg-type]
    sds = SD * np.exp(spread * rng.standard_normal(sweep.n_configurations))
    return _scattered(rng, sweep, sds), sds


def _alike(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    sweep, truth = planted_sweep(rng, seed_noise=SD, **law)  # type: ignore[arg-type]
    return sweep, truth.seed_noise


def _differing(rng: np.random.Generator, spread: float, **law: object) -> tuple[Sweep, float]:
    """The truth is the root of the mean variance of the repeated configurations, by degrees of freedom."""
    sweep, sds = _unequal(rng, spread, **law)
    degrees = np.maximum(_repeated(sweep) - 1, 0)
    return sweep, math.sqrt(float(degrees @ sds**2 / degrees.sum()))


def _typical(rng: np.random.Generator, spread: float, **law: object) -> tuple[Sweep, float]:
    return _unequal(rng, spread, **law)[0], SD


def _student(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    sweep, _ = planted_sweep(rng, seed_noise=0.0, **law)  # type: ignore[arg-type]
    noise = SD * rng.standard_t(5, sweep.n_runs) / math.sqrt(5 / 3)
    return replace(sweep, y=sweep.y + noise), SD


def _of_batch(rng: np.random.Generator, exponent: float, **law: object) -> tuple[Sweep, float]:
    sweep, _ = planted_sweep(rng, seed_noise=0.0, batch_exponent=0.5, **law)  # type: ignore[arg-type]
    batch = next(h.values for h in sweep.hyperparameters if h.name == "batch_size")
    noise = SD * (batch / 64) ** exponent * rng.standard_normal(sweep.n_runs)
    return replace(sweep, y=sweep.y + noise), exponent


LAWS = [
    Law("alike everywhere", "seed_sd", partial(_alike, n_configurations=20, repeats=3)),
    Law("alike, seeds unbalanced", "seed_sd", partial(_alike, n_configurations=60, repeats=3, unbalanced=True)),
    Law("log-normal between configurations", "seed_sd",
        partial(_differing, spread=0.5, n_configurations=20, repeats=3)),
    Law("Student's t", "seed_sd", partial(_student, n_configurations=40, repeats=3)),
    Law("of a typical one, log-normal", "noise_floor", partial(_typical, spread=0.5, n_configurations=40, repeats=3)),
    Law("with batch size, square root", "seed_sd_batch_exponent",
        partial(_of_batch, exponent=-0.5, n_configurations=60, repeats=3)),
    Law("not with batch size", "seed_sd_batch_exponent",
        partial(_of_batch, exponent=0.0, n_configurations=60, repeats=3), False),
]  # fmt: skip
NOISE = [
    Noise("alike", lambda rng: planted_sweep(rng, 40, 3, effect=False)[0]),
    Noise("log-normal deviations", lambda rng: _unequal(rng, 0.7, n_configurations=40, repeats=3, effect=False)[0]),
    Noise("heavy tails", lambda rng: planted_sweep(rng, 40, 3, effect=False, heavy_tails=True)[0]),
]
