"""Normalised regret, the scale on which tasks can be averaged, and what random search reaches on it.

0 is the best configuration of the task's pool, 1 its median, everything worse than twice that is 2. An infeasible run
counts as 2: it cost a trial and gave nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hpkb.sweep import BoolArray, FloatArray, IntArray, Sweep

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
    return float(best_of_each(regrets, np.array([k]))[0])


def best_of_each(regrets: FloatArray, numbers: IntArray) -> FloatArray:
    """Returns the expected regret of the best of k configurations for each k of `numbers`."""
    ordered = np.sort(regrets)
    left = (1.0 - np.arange(ordered.size + 1) / ordered.size) ** numbers[:, None]
    return np.asarray((left[:, :-1] - left[:, 1:]) @ ordered)


def worth_random_trials(regret: float, pools: Sequence[FloatArray], limit: int = 256) -> int:
    """Returns how many random trials a task, on average over the pools, reach the same regret; at most `limit`."""
    for k in range(1, limit + 1):
        if float(np.mean([best_of_random(pool, k) for pool in pools])) <= regret:
            return k
    return limit


def mean_interval(values: FloatArray, weights: FloatArray | None = None) -> tuple[float, float, float]:
    """Returns (mean, low, high) of regrets over tasks, with Student's 95% interval, kept within 0 and the cap.

    With `weights` the weighted mean, and the interval at the effective number of tasks (Kish 1965).
    """
    w = np.ones(values.size) if weights is None else weights
    mean = float(np.average(values, weights=w))
    if values.size < 2:
        return mean, 0.0, CAP
    n = float(w.sum() ** 2 / (w**2).sum())
    spread = float(np.average((values - mean) ** 2, weights=w)) * n / max(n - 1, 1e-9)
    from scipy.stats import t as student  # half a second to import: who only asks for regrets need not pay it

    half = float(student.ppf(0.975, max(n - 1, 0.5))) * float(np.sqrt(spread / n))
    return mean, max(0.0, mean - half), min(CAP, mean + half)


def regret_summary(regrets: FloatArray, tasks: Sequence[str], weights: FloatArray | None = None) -> dict[str, Any]:
    """Returns regrets (tasks,) as the contract has them: the mean with its interval, and the worst task by name."""
    mean, low, high = mean_interval(regrets, weights)
    worst = int(regrets.argmax())
    return {
        "mean": mean, "low": low, "high": high, "worst": float(regrets[worst]), "worst_task": tasks[worst],
        "tasks": len(tasks), "by_task": {task: float(r) for task, r in zip(tasks, regrets, strict=True)},
    }  # fmt: skip
