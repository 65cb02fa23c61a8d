"""Normalised regret, the scale on which tasks can be averaged, and what random search reaches on it.

0 is the best configuration of the task's pool, 1 its median, everything worse than twice that is 2. An infeasible run
counts as 2: it cost a trial and gave nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import t as student

from hpkb.sweep import BoolArray, FloatArray, Sweep

CAP = 2.0


def run_regrets(sweep: Sweep) -> FloatArray:
    """Returns the normalised regret of each run, (n,).

    Best and median are those of the configurations' means over seeds, so that one lucky seed does not set the scale.
    """
    means = configuration_means(sweep, sweep.y)
    feasible = means[np.isfinite(means)]
    if feasible.size == 0:
        return np.full(sweep.n_runs, CAP)
    best, median = feasible.min(), np.median(np.where(np.isfinite(means), means, np.inf))
    if not np.isfinite(
        median
    ):  # more than half of the configurations failed: the worst feasible one is the scale
        median = feasible.max()
    spread = median - best
    scaled = (sweep.y - best) / spread if spread > 0 else np.zeros(sweep.n_runs)
    return np.clip(np.where(np.isfinite(scaled), scaled, CAP), 0.0, CAP)


def configuration_means(sweep: Sweep, values: FloatArray) -> FloatArray:
    """Returns the mean of `values` over the runs of each configuration, (configurations,); NaN where one is NaN."""
    total = np.bincount(sweep.configuration, weights=values)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.bincount(sweep.configuration), dtype=np.float64)


def on_regret(sweep: Sweep) -> Sweep:
    """Returns the same sweep with normalised regret as its objective; no run is infeasible on that scale."""
    nothing: BoolArray = np.zeros(sweep.n_runs, dtype=np.bool_)
    return replace(sweep, y=run_regrets(sweep), infeasible=nothing)


def best_of_random(regrets: FloatArray, k: int) -> float:
    """Returns the expected regret of the best of k configurations drawn at random from the pool, with replacement."""
    ordered = np.sort(regrets)
    left = 1.0 - np.arange(ordered.size + 1) / ordered.size
    return float(np.sum(ordered * (left[:-1] ** k - left[1:] ** k)))


def worth_random_trials(regret: float, pools: Sequence[FloatArray], limit: int = 256) -> int:
    """Returns how many random trials a task, on average over the pools, reach the same regret; at most `limit`."""
    for k in range(1, limit + 1):
        if float(np.mean([best_of_random(pool, k) for pool in pools])) <= regret:
            return k
    return limit


def mean_interval(values: FloatArray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Returns (mean, low, high) of regrets over tasks, by Student's t, kept within 0 and the cap."""
    mean = float(values.mean())
    if values.size < 2:
        return mean, 0.0, CAP
    half = float(
        student.ppf((1 + confidence) / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    )
    return mean, max(0.0, mean - half), min(CAP, mean + half)
