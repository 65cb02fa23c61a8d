"""What is read off curves for the batch size: a measured scale by phase of training, and the scatter of a loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr
from scipy.stats import wilcoxon

from hpkb.records import Curve
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import FloatArray, IntArray, Sweep

NAMES = ("early", "middle", "late")
FEWEST = 6  # configurations, for an interval of a median
FEWEST_POINTS = 12  # in the half of a curve whose scatter is taken
NORMAL_MAD = 0.6745


@dataclass(frozen=True)
class Phases:
    """The logarithm of a positive curve in each third of training.

    `values` by phase are means over the seeds of each configuration, (k,); `of_runs` by run, (n,), of the sweep's rows
    `runs` (n,).
    """

    values: dict[str, FloatArray]
    of_runs: dict[str, FloatArray]
    runs: IntArray

    def median(self, name: str) -> tuple[float, float | None, float | None]:
        """The median over configurations, on the curve's own scale, with the 95% interval of the order statistics."""
        ordered = np.sort(self.values[name])
        n = ordered.size
        inside = int((bdtr(np.arange(n // 2 + 1), n, 0.5) <= 0.025).sum())
        estimate = float(np.exp(np.median(ordered)))
        if not inside:
            return estimate, None, None
        return estimate, float(np.exp(ordered[inside - 1])), float(np.exp(ordered[n - inside]))


def phases(sweep: Sweep, metric: str) -> Phases | None:
    """The thirds of a metric's curves; None where fewer than six configurations have one."""
    usable = feasible_runs(sweep)
    thirds = [_thirds(c) if ok else None for c, ok in zip(sweep.records.curves(metric), usable, strict=True)]
    runs = np.array([i for i, t in enumerate(thirds) if t is not None], dtype=np.int64)
    if np.unique(sweep.configuration[runs]).size < FEWEST:
        return None
    table = np.array([t for t in thirds if t is not None])
    _, member = np.unique(sweep.configuration[runs], return_inverse=True)
    seeds = np.bincount(member)
    means = np.column_stack([np.bincount(member, column) / seeds for column in table.T])
    return Phases(dict(zip(NAMES, means.T, strict=True)), dict(zip(NAMES, table.T, strict=True)), runs)


def _thirds(curve: Curve | None) -> tuple[float, float, float] | None:
    """The logarithm of the median in each third of the steps; None where one has no positive median."""
    if curve is None:
        return None
    finite = np.isfinite(curve.value)
    step, value = curve.step[finite], curve.value[finite]
    if step.size < 3:
        return None
    third = np.clip((3 * (step - step[0]) / max(step[-1] - step[0], 1e-300)).astype(int), 0, 2)
    medians = [float(np.median(value[third == i])) if (third == i).any() else 0.0 for i in range(3)]
    return (math.log(medians[0]), math.log(medians[1]), math.log(medians[2])) if min(medians) > 0 else None


def signed_rank_p(differences: FloatArray) -> float:
    """The p-value of no difference, by Wilcoxon's signed ranks (1945); 1 where all are 0."""
    return float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0


def scatter(curve: Curve | None) -> float:
    """The logarithm of the noise of a single point in the second half of a curve; NaN where there are too few.

    The median distance of a point from the mean of its two neighbours, which a slow trend leaves alone, brought to the
    standard deviation of normal noise: such a difference has a variance of 3/2.
    """
    if curve is None:
        return math.nan
    value = curve.value[np.isfinite(curve.value)]
    value = value[value.size // 2 :]
    if value.size < FEWEST_POINTS:
        return math.nan
    away = np.abs(value[1:-1] - (value[:-2] + value[2:]) / 2)
    sd = float(np.median(away)) / NORMAL_MAD / math.sqrt(1.5)
    return math.log(sd) if sd > 0 else math.nan


def steps_per_point(sweep: Sweep, curves: Sequence[Curve | None]) -> FloatArray:
    """What a step of a run's curve is worth in optimizer steps, up to one factor for all runs, (n_runs,).

    1, unless the curves end where the epochs of their runs do: then they count epochs, and an epoch has as many steps
    as the batch size goes into the number of examples.
    """
    epochs, batch = sweep.hyperparameter("epochs"), sweep.hyperparameter("batch_size")
    last = np.array([np.nan if c is None or not c.step.size else c.step[-1] for c in curves])
    told = epochs.values if epochs is not None else np.full(sweep.n_runs, _number(sweep.fixed.get("epochs")))
    known = np.isfinite(last) & np.isfinite(told) & feasible_runs(sweep)
    if batch is None or not known.any() or np.mean(np.abs(last - told)[known] <= 1) < 0.7:
        return np.ones(sweep.n_runs)
    return np.asarray(1 / batch.values)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
