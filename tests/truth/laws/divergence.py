"""From which learning rate on runs diverge, what moves that edge, and whether the best rate lies at it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.records import Curve, Facts, Records
from hpkb.sweep import Hyperparameter, Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep

LOSS_OF_CHANCE = 2.3
TO_THE_BOUND = 3.0 - 0.4 * math.log(9)  # nats above the best rate at which planted runs fail one time in ten


def _bound(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    sweep, truth = planted_sweep(rng, diverging=True, **law)  # type: ignore[arg-type]
    batch = sweep.hyperparameter("batch_size")
    off = truth.batch_exponent * math.log(float(np.median(batch.values)) / 64) if batch is not None else 0.0
    return sweep, truth.best_learning_rate * math.exp(TO_THE_BOUND + off)


def _moved(rng: np.random.Generator, what: str, **law: object) -> tuple[Sweep, float]:
    sweep, truth = planted_sweep(rng, diverging=True, **law)  # type: ignore[arg-type]
    return sweep, getattr(truth, what)


def edged(rng: np.random.Generator, nats: float, n: int = 120, precision: float = 0.0) -> Sweep:
    """A sweep whose loss is lowest `nats` below the rate at which one run in ten fails; bf16 moves both."""
    u = rng.uniform(math.log(1e-4), math.log(1.0), n)
    half = rng.integers(0, 2, n).astype(float)
    bound = math.log(0.02) + precision * half
    away = u - (bound - nats)
    failed = rng.random(n) < 1 / (1 + np.exp(-(u - bound) / 0.3 + math.log(9)))
    y = LOSS_OF_CHANCE * (1 - np.exp(-0.5 * (away / 2) ** 2)) + rng.normal(0, 0.05, n)
    hyperparameters = (
        Hyperparameter("learning_rate", "log", np.exp(u)),
        Hyperparameter("precision", "category", half, ("float32", "bfloat16")),
    )
    ids = tuple(f"run-{i:04}" for i in range(n))
    return Sweep("edged", "val_loss:min", ids, np.arange(n), np.zeros(n), np.where(failed, np.nan, y), failed,
                 hyperparameters)  # fmt: skip


def _at_edge(rng: np.random.Generator, nats: float) -> tuple[Sweep, float]:
    return edged(rng, nats), math.exp(nats)


def _by_precision(rng: np.random.Generator, factor: float) -> tuple[Sweep, float]:
    """The truth is that of the rarer precision against the commoner one, float32 where both are as common."""
    sweep = edged(rng, 1.5, 160, math.log(factor))
    half = next(h.values for h in sweep.hyperparameters if h.name == "precision")
    return sweep, factor if half.mean() <= 0.5 else 1 / factor


def with_gradients(rng: np.random.Generator, sweep: Sweep, growth: float) -> Sweep:
    """The sweep with gradient norms that have grown by about e to the power of `growth` where runs fail."""
    curves = []
    for failed in sweep.infeasible:
        steps = np.arange(50.0)
        rise = growth * np.clip(steps / 49 - 0.8, 0, None) / 0.2 if failed else 0.0
        curves.append(Curve(steps, np.exp(rise + rng.normal(0, 0.3, 50)), steps))
    return replace(sweep, recorded=Records(np.arange(sweep.n_runs), Facts(curves={"grad_norm": curves})))


BOUND, MARGIN = "safe_upper_bound", "best_rate_margin"
LAWS = [
    Law("bound, plain", BOUND, partial(_bound)),
    Law("bound, repeats, batch size moves it", BOUND,
        partial(_bound, n_configurations=60, repeats=2, batch_exponent=0.5)),
    Law("batch size moves it, square root", "boundary_exponent",
        partial(_moved, what="batch_exponent", batch_exponent=0.5, n_configurations=200), True, ("batch_size",)),
    Law("weight decay does not", "boundary_exponent",
        partial(_moved, what="ridge", ridge=0.0, n_configurations=200), False, ("weight_decay",)),
    Law("precision moves it fourfold", "boundary_factor", partial(_by_precision, factor=0.25), True, ("precision",)),
    Law("best rate at the edge", MARGIN, partial(_at_edge, nats=0.2)),
    Law("best rate well below it", MARGIN, partial(_at_edge, nats=2.5), False),
]  # fmt: skip
NOISE = [
    Noise("failures at random", lambda rng: planted_sweep(rng, repeats=2, diverging=True, effect=False)[0]),
    Noise("failures at random, with gradients",
          lambda rng: with_gradients(rng, planted_sweep(rng, 120, diverging=True, effect=False)[0], 0.0)),
]  # fmt: skip
