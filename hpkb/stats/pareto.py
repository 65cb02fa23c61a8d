"""Which of many alternatives are not beaten in everything at once, beyond noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from hpkb.sweep import BoolArray, FloatArray

CHALLENGERS = 16  # of each axis: who is best is among the best by their means
SMALLEST_P = 1e-12  # of a difference on an axis that does not scatter at all


@dataclass(frozen=True)
class Front:
    """The alternatives that none beats: `kept` (n,) beyond noise; at least `low` and at most `high` in truth."""

    kept: BoolArray
    low: int
    high: int


def front(values: FloatArray, seeds: FloatArray, sd: FloatArray, degrees: FloatArray) -> Front:
    """The front of n means on m axes, (n, m), lower is better, of `seeds` (n,) runs with standard deviations (m,).

    One beats another where it is at least as good in every mean, and better in one by more than noise at 5%. The bounds
    hold for all pairs at once (Bonferroni): surely beaten is who is worse on every axis that scatters and no better on
    the others; surely kept is who beats each other one somewhere.
    """
    n, m = values.shape
    single = np.array([float(stdtrit(d, 0.95)) for d in degrees])
    joint = np.array([float(stdtrit(d, 1 - 0.025 / max(n * (n - 1) * m, 1))) for d in degrees])
    plain = np.flatnonzero(_plain(values))
    beaten, surely = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    certain = 0
    for j in plain:
        away = values - values[j]  # how much worse each is than j
        error = sd * np.sqrt(1 / seeds + 1 / seeds[j])[:, None]
        beaten |= (away >= 0).all(axis=1) & (away > single * error).any(axis=1)
        surely |= np.where(sd > 0, away > joint * error, away >= 0).all(axis=1) & (away > joint * error).any(axis=1)
        others = np.arange(n) != j
        certain += bool((away > joint * error)[others].any(axis=1).all())
    return Front(~beaten, max(certain, 1), int((~surely).sum()))


def _plain(values: FloatArray) -> BoolArray:
    """Which alternatives no other is at least as good as in all means, and better in one, (n,)."""
    kept = np.ones(len(values), dtype=bool)
    for i in np.lexsort(values.T[::-1]):
        if kept[i]:
            worse = (values >= values[i]).all(axis=1) & (values > values[i]).any(axis=1)
            kept &= ~worse
    return kept


def single_best(values: FloatArray, seeds: FloatArray, sd: FloatArray, degrees: FloatArray) -> float:
    """The p-value of one alternative being best on every axis; arguments as of `front`.

    Of each alternative it is asked whether another is better on some axis, at a level for all of these comparisons
    (Bonferroni), and the largest p-value counts: if one were best everywhere, its own would be valid.
    """
    n, m = values.shape
    smallest = np.ones(n)
    for a in range(m):
        for j in np.argsort(values[:, a], kind="stable")[:CHALLENGERS]:
            away = values[:, a] - values[j, a]
            error = sd[a] * np.sqrt(1 / seeds + 1 / seeds[j])
            with np.errstate(divide="ignore", invalid="ignore"):
                t = np.where(error > 0, away / np.where(error > 0, error, 1.0), np.where(away > 0, np.inf, 0.0))
            smallest = np.minimum(smallest, np.maximum(stdtr(degrees[a], -t), SMALLEST_P))
    return float(min(1.0, smallest.max() * max(n - 1, 1) * m))
