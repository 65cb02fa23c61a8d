"""The expected result of the best of k configurations, from a search of n: the value of a tuning budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, ndtri, stdtr, stdtrit
from scipy.stats import rankdata

from hpkb.sweep import FloatArray


@dataclass(frozen=True)
class Expected:
    """The expected lowest of k values, its standard error, and the degrees of freedom of that."""

    estimate: float
    error: float
    degrees: float


def expected_best(y: FloatArray, k: int) -> Expected:
    """The expected lowest of k draws, from n values y, k at most n / 2.

    The mean over all subsets of k values, a U-statistic: unbiased, where the plug-in estimator of Dodge et al. (2019),
    which draws with replacement, is biased once k is not small beside n (Tang et al. 2020). The error is that of the
    jackknife, which is never too small on average (Efron & Stein 1981), without its factor of (n - 1) / n: few skewed
    values hide some of their scatter. Raises ValueError where k is below 1 or above n / 2.
    """
    if not 1 <= k <= y.size // 2:
        raise ValueError(f"The best of {k} cannot be told from {y.size} configurations.")
    values = np.sort(y)
    whole = float(weights(values.size, k) @ values)
    less = weights(values.size - 1, k)
    before = np.concatenate([[0.0], np.cumsum(less * values[:-1])])  # of those below the one left out
    after = np.concatenate([np.cumsum((less * values[1:])[::-1])[::-1], [0.0]])  # of those above it
    left_out = before + after
    error = float(np.sqrt(((left_out - left_out.mean()) ** 2).sum()))
    return Expected(whole, error, _degrees(left_out))


def weights(n: int, k: int) -> FloatArray:
    """The probability that the i-th lowest of n is the lowest of k drawn without replacement, (n,)."""
    i = np.arange(n)
    there = n - 1 - i >= k - 1
    left = np.where(there, n - 1 - i, k - 1)
    logs = _log_choose(left, k - 1) - _log_choose(np.array([n]), k)
    return np.asarray(np.where(there, np.exp(logs), 0.0))


def _log_choose(n: FloatArray, k: int) -> FloatArray:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _degrees(left_out: FloatArray) -> float:
    """What the jackknife's variance rests on: few values where the lowest ones decide (Satterthwaite 1946)."""
    squares = (left_out - left_out.mean()) ** 2
    total = float(squares.sum())
    if total <= 0:
        return float(left_out.size - 1)
    variance = float(((squares - squares.mean()) ** 2).sum()) * left_out.size / max(left_out.size - 1, 1)
    return float(np.clip(2 * total**2 / max(variance, 1e-300), 2.0, left_out.size - 1))


@dataclass(frozen=True)
class Difference:
    """The expected best of one search less that of another, with its error, degrees of freedom and p-value of none."""

    estimate: float
    error: float
    degrees: float
    p_value: float

    @property
    def half_width(self) -> float:
        """Half of Student's 95% interval."""
        return float(stdtrit(self.degrees, 0.975)) * self.error


def difference(a: FloatArray, b: FloatArray, k: int) -> Difference:
    """The expected best of k of a less that of b, by Welch's degrees of freedom."""
    one, other = expected_best(a, k), expected_best(b, k)
    variance = one.error**2 + other.error**2
    parts = one.error**4 / one.degrees + other.error**4 / other.degrees
    degrees = variance**2 / parts if parts > 0 else 1.0
    estimate, error = one.estimate - other.estimate, float(np.sqrt(variance))
    p = 2 * float(stdtr(degrees, -abs(estimate) / error)) if error > 0 else 1.0
    return Difference(estimate, error, degrees, p)


def normal_scores(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The normal scores of the ranks of both together, in two parts (van der Waerden)."""
    ranks = rankdata(np.concatenate([a, b]))
    scores = ndtri(ranks / (ranks.size + 1))
    return scores[: a.size], scores[a.size :]
