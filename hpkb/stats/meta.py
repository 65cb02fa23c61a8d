"""Random-effects meta-analysis: what several tasks say together, and how much they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hpkb.sweep import FloatArray

NORMAL = 1.959964  # half the width of a 95% interval in standard errors
SWEEPS = 500


@dataclass(frozen=True)
class Pooled:
    """The mean effect over tasks with its interval, and where the effect of the next task is expected.

    `tau` is the standard deviation of the true effects between tasks, `i_squared` the share of the scatter that is
    not error, `agreement` the share of tasks whose estimate has the sign of the mean. The prediction is None with
    fewer than three tasks.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    tau: float
    i_squared: float
    prediction_low: float | None
    prediction_high: float | None
    agreement: float
    n: int


def random_effects(
    estimates: Sequence[float] | FloatArray, errors: Sequence[float] | FloatArray, confidence: float = 0.95
) -> Pooled:
    """The mean of effects that truly differ, from estimates and their standard errors, (k,) each, k at least 2.

    Variance between tasks by restricted maximum likelihood (Viechtbauer 2005); interval and p-value by Hartung and
    Knapp (2001), never narrower than the plain one (Röver, Knapp & Friede 2015); prediction interval by Higgins,
    Thompson & Spiegelhalter (2009). Raises ValueError for fewer than two tasks, or an error that is not positive.
    """
    y, variance = np.asarray(estimates, dtype=np.float64), np.asarray(errors, dtype=np.float64) ** 2
    if y.size < 2 or y.size != variance.size:
        raise ValueError("A meta-analysis needs two or more estimates, each with its error.")
    if not (np.isfinite(y).all() and np.isfinite(variance).all() and (variance > 0).all()):
        raise ValueError("An estimate is not finite, or an error is not positive.")
    tau2 = _reml(y, variance)
    weights = 1 / (variance + tau2)
    mean = float(weights @ y / weights.sum())
    scatter = float(weights @ (y - mean) ** 2) / (y.size - 1)
    error = float(np.sqrt(max(scatter, 1.0) / weights.sum()))
    half = float(stats.t.ppf(0.5 + confidence / 2, y.size - 1)) * error
    prediction = _prediction(mean, tau2 + error**2, y.size, confidence)
    return Pooled(
        mean, mean - half, mean + half, 2 * float(stats.t.sf(abs(mean) / error, y.size - 1)), float(np.sqrt(tau2)),
        _i_squared(y, variance), *prediction, float((np.sign(y) == np.sign(mean)).mean()), y.size,
    )  # fmt: skip


def _reml(y: FloatArray, variance: FloatArray) -> float:
    """The variance between tasks that maximises the restricted likelihood, by its fixed-point equation."""
    tau2 = max(float(y.var(ddof=1) - variance.mean()), 0.0)
    for _ in range(SWEEPS):
        weights = 1 / (variance + tau2)
        mean = weights @ y / weights.sum()
        square = weights**2
        new = max(float(square @ ((y - mean) ** 2 - variance) / square.sum() + 1 / weights.sum()), 0.0)
        if abs(new - tau2) <= 1e-10 * (tau2 + float(variance.min())):
            return new
        tau2 = new
    return tau2


def _i_squared(y: FloatArray, variance: FloatArray) -> float:
    """Higgins & Thompson (2002): the share of Cochran's Q beyond its degrees of freedom."""
    weights = 1 / variance
    q = float(weights @ (y - weights @ y / weights.sum()) ** 2)
    return max(0.0, (q - (y.size - 1)) / q) if q > 0 else 0.0


def _prediction(mean: float, variance: float, k: int, confidence: float) -> tuple[float | None, float | None]:
    if k < 3:
        return None, None
    half = float(stats.t.ppf(0.5 + confidence / 2, k - 2)) * float(np.sqrt(variance))
    return mean - half, mean + half


def fisher(p_values: Sequence[float]) -> float:
    """The p-value of no effect in any of several independent tasks (Fisher 1932)."""
    p = np.clip(np.asarray(p_values, dtype=np.float64), 1e-300, 1.0)
    return float(stats.chi2.sf(-2 * np.log(p).sum(), 2 * p.size)) if p.size else 1.0
