"""Throughput that bends into a level at a batch size, costs that are powers of it; costs that mean nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.records import Facts, FloatArray, Records
from hpkb.sweep import Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep

SIZES = 2.0 ** np.arange(2, 11)
KNEE = 64.0


def with_costs(sweep: Sweep, numbers: dict[str, FloatArray], features: dict[str, FloatArray]) -> Sweep:
    """The sweep with these numbers, and these averages and peaks of curves, on record."""
    told = {metric: {"tail_mean": v, "maximum": v, "last_value": v} for metric, v in features.items()}
    curves = {metric: [None] * sweep.n_runs for metric in features}
    facts = Facts(curves=curves, numbers=numbers, features=told)
    return replace(sweep, recorded=Records(np.arange(sweep.n_runs, dtype=np.int64), facts))


def timed(
    rng: np.random.Generator, shape: str = "stick", n: int = 60, repeats: int = 2, noise: float = 0.1,
    tails: str = "normal", **law: object,
) -> Sweep:  # fmt: skip
    """A sweep over nine batch sizes with throughput, run time and memory.

    Throughput rises with the batch size up to `KNEE` and stays ("stick"), or is B / (B + KNEE) ("smooth"), or has
    nothing to do with it ("none"); memory goes with its root.
    """
    sweep, _ = planted_sweep(rng, n, repeats, **law)  # type: ignore[arg-type]
    batch = SIZES[rng.permutation(np.arange(n) % SIZES.size)][sweep.configuration]
    moved = (replace(h, values=batch) if h.name == "batch_size" else h for h in sweep.hyperparameters)
    known = {"stick": np.minimum(batch, KNEE), "smooth": batch / (batch + KNEE), "none": np.ones(batch.size)}[shape]
    of_configuration = rng.standard_t(3, n) if tails == "heavy" else rng.standard_normal(n)
    seen = np.exp(5 + noise * of_configuration[sweep.configuration] + rng.normal(0, 0.02, sweep.n_runs)) * known
    memory = np.exp(0.5 * np.log(batch) * (shape != "none") + rng.normal(0, noise, n)[sweep.configuration])
    numbers = {"run_seconds": 1e5 / seen * np.exp(rng.normal(0, 0.03, sweep.n_runs))}
    costs = {"examples_per_second": seen, "gpu_peak_memory_gib": memory}
    return with_costs(replace(sweep, hyperparameters=tuple(moved)), numbers, costs)


def _with_truth(rng: np.random.Generator, truth: float, **law: object) -> tuple[Sweep, float]:
    return timed(rng, **law), truth  # type: ignore[arg-type]


def _law(name: str, quantity: str, truth: float, is_effect: bool = True, condition: str | None = None,
         **law: object) -> Law:  # fmt: skip
    return Law(name, quantity, partial(_with_truth, truth=truth, **law), is_effect, condition=condition)


LAWS = [
    _law("knee at 64, sharp", "throughput_knee", KNEE),
    _law("knee at 64, sharp, heavy tails, uneven seeds", "throughput_knee", KNEE, tails="heavy", repeats=3,
         unbalanced=True),
    _law("knee at 64, smooth", "throughput_knee", KNEE, shape="smooth", n=100),
    _law("memory with the root of the batch", "cost_exponent", 0.5, condition="memory"),
    _law("memory with the root, diverging, cliff", "cost_exponent", 0.5, condition="memory", diverging=True,
         shape="stick", noise=0.3),
    _law("memory without the batch", "cost_exponent", 0.0, False, condition="memory", shape="none"),
]  # fmt: skip


def _meaningless(rng: np.random.Generator, **law: object) -> Sweep:
    return timed(rng, "none", effect=False, **law)  # type: ignore[arg-type]


NOISE = [
    Noise("costs that nothing decides", _meaningless),
    Noise("the same, heavy tails", partial(_meaningless, tails="heavy", heavy_tails=True)),
]
