"""What curves look like before a run diverges: spikes near the edge, gradients that grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit
from scipy.stats import mannwhitneyu

from hpkb.records import Curve
from hpkb.stats.slopes import Slope, measured, slope
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import FloatArray, Sweep

FEWEST = 8  # configurations of either kind
FEWEST_POINTS = 8
GRADIENT = "grad_norm"


@dataclass(frozen=True)
class Difference:
    """A difference of two means with half its 95% interval, and the p-value of none."""

    estimate: float
    half_width: float
    p_value: float


def spikes(sweep: Sweep) -> tuple[str, Slope] | None:
    """The metric of training and the slope of ln(1 + spikes) in ln learning_rate over the feasible runs."""
    rate = sweep.hyperparameter("learning_rate")
    metric = sweep.records.training or ("train_loss" if "train_loss" in sweep.records.metrics else "")
    if rate is None or rate.scale != "log" or not metric:
        return None
    counted = np.log1p(sweep.records.feature(metric, "n_spikes"))
    usable = feasible_runs(sweep) & np.isfinite(counted) & np.isfinite(rate.transformed)
    if not usable.any() or np.ptp(counted[usable]) == 0:
        return None
    at = measured(sweep, counted, usable)
    found = slope(sweep, at, rate.transformed[at.first], ("learning_rate",)) if at.y.size > 2 else None
    return (metric, found) if found else None


def gradient_growth(sweep: Sweep) -> Difference | None:
    """By how much more ln gradient norm has grown at the end of runs that end infeasible than of the others.

    The growth of a run is the logarithm of the largest norm in its last fifth over the median of its first half.
    Means over the seeds of each configuration count once; Welch's interval, and the larger p-value of it and of the
    rank test.
    """
    curves = sweep.records.curves(GRADIENT)
    growth = np.array([np.nan if c is None else _growth(c) for c in curves])
    parts = []
    for which in (sweep.infeasible, ~sweep.infeasible):
        rows = np.flatnonzero(which & np.isfinite(growth))
        _, member = np.unique(sweep.configuration[rows], return_inverse=True)
        parts.append(np.bincount(member, weights=growth[rows]) / np.bincount(member) if rows.size else np.zeros(0))
    failed, others = parts
    if min(failed.size, others.size) < FEWEST or np.ptp(np.concatenate(parts)) == 0:
        return None
    return _welch(failed, others)


def _growth(curve: Curve) -> float:
    value = np.abs(curve.value)
    good = value[np.isfinite(value) & (value > 0)]
    if good.size < FEWEST_POINTS:
        return float("nan")
    return float(np.log(good[-max(good.size // 5, 1) :].max() / np.median(good[: good.size // 2])))


def _welch(a: FloatArray, b: FloatArray) -> Difference | None:
    of_a, of_b = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    error = float(np.sqrt(of_a + of_b))
    if error == 0:
        return None
    degrees = (of_a + of_b) ** 2 / (of_a**2 / (a.size - 1) + of_b**2 / (b.size - 1))
    estimate = float(a.mean() - b.mean())
    p = 2 * float(stdtr(degrees, -abs(estimate) / error))
    on_ranks = float(mannwhitneyu(a, b, alternative="two-sided").pvalue)
    return Difference(estimate, float(stdtrit(degrees, 0.975)) * error, max(p, on_ranks))
