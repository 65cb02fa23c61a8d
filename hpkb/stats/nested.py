"""How much groups scatter beyond what their members do: a ratio of variances with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc, fdtri, ndtri, stdtrit
from scipy.stats import rankdata

from hpkb.sweep import FloatArray, IntArray

FEWEST_UNITS = 4  # groups to leave out one at a time, below which no interval is given
FEWEST_DEGREES = 4


@dataclass(frozen=True)
class Ratio:
    """The variance between levels over that within them, `ratio`, with its 95% interval; both at least 0.

    `p_value` is that of no difference between levels, on the values and on the normal scores of their ranks, whichever
    is larger. `between` and `within` are the two variances; `n_levels` counts the levels that were compared.
    """

    ratio: float
    low: float
    high: float
    p_value: float
    between: float
    within: float
    n_levels: int
    n_units: int

    @property
    def share(self) -> tuple[float, float, float]:
        """The share of the scatter that is between levels, and its interval."""
        estimate, low, high = (r / (1 + r) for r in (self.ratio, self.low, self.high))
        return estimate, low, high


@dataclass(frozen=True)
class _Parts:
    """Sums of squares and degrees of freedom, one entry a unit to leave out; `whole` are their totals."""

    between: FloatArray
    within: FloatArray
    degrees_between: FloatArray
    degrees_within: FloatArray
    size: float  # runs of a level, as the expectation of the mean square has it

    @property
    def f(self) -> float:
        between, within = self.between.sum() / self.degrees_between.sum(), self.within.sum() / self.degrees_within.sum()
        return float(between / within) if within > 0 else float("inf")


def variance_ratio(y: FloatArray, group: IntArray, level: IntArray) -> Ratio | None:
    """The scatter of levels within their groups over that of the runs within a level; all (n,).

    A nested analysis of variance. The interval is that of an F ratio whose degrees of freedom are cut so that the error
    of its logarithm is the one found by leaving out a group at a time (Miller 1968): right for noise of any shape, and
    where groups differ in how much they scatter. With a single group its levels are left out instead. Levels with one
    run help to find the scatter between levels, groups with one level that within. None where there is too little.
    """
    cell = np.unique(np.stack([group, level]), axis=1, return_inverse=True)[1].reshape(-1)
    parts = _parts(y, group, cell)
    if parts is None or parts.within.sum() <= 0 or np.ptp(y) == 0:
        return None
    scored = _parts(np.asarray(ndtri((rankdata(_within_groups(y, group)) - 0.375) / (y.size + 0.25))), group, cell)
    d1, d2 = float(parts.degrees_between.sum()), float(parts.degrees_within.sum())
    p = max(float(fdtrc(d1, d2, part.f)) for part in (parts, scored) if part is not None)
    cut = _cut(parts, d1, d2)
    f, n = parts.f, parts.size
    bounds = [f / float(fdtri(cut * d1, cut * d2, tail)) for tail in (0.975, 0.025)]
    ratio, low, high = (max((x - 1) / n, 0.0) for x in (f, *bounds))
    within = float(parts.within.sum()) / d2
    return Ratio(ratio, low, high, p, ratio * within, within, int(np.unique(cell).size), int(parts.between.size))


def _within_groups(y: FloatArray, group: IntArray) -> FloatArray:
    """The values less the median of their group, so that ranks compare what is compared."""
    order = np.lexsort((y, group))
    sizes = np.bincount(group)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    there = sizes > 0
    lower, upper = starts + np.maximum(sizes - 1, 0) // 2, starts + sizes // 2
    median = np.zeros(sizes.size)
    median[there] = (y[order][lower[there]] + y[order][upper[there]]) / 2
    return np.asarray(y - median[group])


def _parts(y: FloatArray, group: IntArray, cell: IntArray) -> _Parts | None:
    sizes = np.bincount(cell).astype(float)
    means = np.bincount(cell, weights=y) / sizes
    of_cell = np.zeros(sizes.size, dtype=np.int64)
    of_cell[cell] = group
    _, unit = np.unique(of_cell, return_inverse=True)
    n_units = int(unit.max()) + 1
    runs = np.bincount(unit, weights=sizes)
    centre = np.bincount(unit, weights=sizes * means) / runs
    squares = np.bincount(cell, weights=(y - means[cell]) ** 2)
    away = sizes * (means - centre[unit]) ** 2
    degrees_between = float(sizes.size - n_units)
    if degrees_between < 1 or y.size - sizes.size < FEWEST_DEGREES:
        return None
    size = float((runs - np.bincount(unit, weights=sizes**2) / runs).sum() / degrees_between)
    if n_units == 1:
        # what each level takes with it, its pull on the common mean included
        taken = away * runs[0] / np.maximum(runs[0] - sizes, 1e-300)
        scale = away.sum() / max(taken.sum(), 1e-300)
        degrees = np.full(sizes.size, degrees_between / sizes.size)
        return _Parts(taken * scale, np.asarray(squares, dtype=np.float64), degrees, sizes - 1.0, size)
    columns = (away, squares, sizes - 1.0)
    of_unit = [np.asarray(np.bincount(unit, weights=column), dtype=np.float64) for column in columns]
    levels = np.asarray(np.bincount(unit), dtype=np.float64)
    return _Parts(of_unit[0], of_unit[1], np.asarray(levels - 1, dtype=np.float64), of_unit[2], size)


def _cut(parts: _Parts, d1: float, d2: float) -> float:
    """By how much the degrees of freedom are too many, at most 1."""
    k = parts.between.size
    expected = 2 / d1 + 2 / d2
    if k < FEWEST_UNITS:
        return 1.0
    logs = []
    for values, degrees in ((parts.between, parts.degrees_between), (parts.within, parts.degrees_within)):
        left = np.maximum(values.sum() - values, 1e-12 * values.sum())
        rest = np.maximum(degrees.sum() - degrees, 1e-9)
        logs.append(np.log(left / rest) if values.sum() > 0 else np.zeros(k))
    pseudo = -(k - 1) * (logs[0] - logs[1])
    found = float(pseudo.var(ddof=1)) / k * float(stdtrit(k - 1, 0.975) / 1.96) ** 2
    return float(np.clip(expected / max(found, 1e-12), 0.02, 1.0))
