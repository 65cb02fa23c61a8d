"""What a sweep tried and what it did not: coverage, holes, the order of the runs, what lies near the best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, gammaln, stdtr
from scipy.stats import rankdata

from hpkb.stats.surrogate import winsorised
from hpkb.sweep import BoolArray, FloatArray, Hyperparameter, IntArray, Sweep

CELLS = 16  # at most, into which a range is cut
PER_CELL = 3  # configurations for each cell
FEW_VALUES = 16  # a number of at most so many, each tried twice on average, was chosen from a list
WIDE_HOLE = 0.2  # of the range
UNEVEN = 2.5  # times the usual gap between the values of a list
THIRDS = 3
CHANCE = 0.01  # that a random design leaves a cell of a pair as empty
GOOD_ONES = 64  # at most, from which distances are taken
EXPECTED = 3.0  # configurations of a random design in that cell


@dataclass(frozen=True)
class Cover:
    """How one hyperparameter was covered by n configurations.

    `share` of equal cells of its range (or of its levels) has a configuration, `expected` with a uniform random design
    of the same size. `discrepancy` is the largest difference between the share of configurations below a value and that
    of the range (Niederreiter 1992), `hole` the widest stretch without any, on the own scale, and `hole_share` how much
    of the range that is. `is_hole` says whether it is wider than chance or the list of values explains.
    """

    share: float
    expected: float
    discrepancy: float
    hole: tuple[float, float]
    hole_share: float
    is_hole: bool
    is_list: bool
    n: int


@dataclass(frozen=True)
class Corner:
    """A cell of two hyperparameters in which nothing was tried: the ends of both, and how many a random design has."""

    one: tuple[float, float]
    other: tuple[float, float]
    expected: float
    share: float  # of the nine cells that have any


@dataclass(frozen=True)
class Order:
    """How results and places changed with the order of the runs.

    `trend` is Spearman's correlation of a configuration's place in the order with its result (lower is better) and its
    95% interval; `closing` that with its distance from the nearest of the best.
    """

    trend: float
    low: float
    high: float
    closing: float
    p_value: float
    p_trend: float
    n: int


def configurations(sweep: Sweep) -> Sweep:
    """The sweep with one run of each configuration, infeasible ones counted in."""
    _, first = np.unique(sweep.configuration, return_index=True)
    return sweep.subset(first.astype(np.int64))


def results(sweep: Sweep) -> FloatArray:
    """The mean objective of each configuration, (n,), lower is better; infinite where a run of it was infeasible."""
    y = np.where(sweep.infeasible, np.inf, winsorised(sweep))
    known = np.isfinite(y) | sweep.infeasible
    _, member = np.unique(sweep.configuration, return_inverse=True)
    n = np.bincount(member, weights=known)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.bincount(member, weights=np.where(known, y, 0.0)) / n)


def cover(h: Hyperparameter) -> Cover | None:
    """How a number was covered by its values, one a configuration; None where it took one value or is a category."""
    x = h.transformed[~np.isnan(h.transformed)]
    distinct = np.unique(x)
    if h.scale == "category" or distinct.size < 2:
        return None
    start = 1 if h.scale == "log" and (h.values == 0).any() and distinct.size > 2 else 0  # an exact 0 stands apart
    x, distinct = x[x >= distinct[start]], distinct[start:]
    low, reach = float(distinct[0]), float(distinct[-1] - distinct[0])
    gaps = np.diff(distinct)
    widest = int(gaps.argmax())
    share_of_range = float(gaps[widest]) / reach
    cells = int(np.clip(x.size // PER_CELL, 2, CELLS))
    taken = np.unique(np.minimum(((x - low) / reach * cells).astype(int), cells - 1)).size
    is_list = distinct.size <= FEW_VALUES and 2 * distinct.size <= x.size
    if is_list:
        is_hole = share_of_range >= WIDE_HOLE and bool(gaps[widest] > UNEVEN * np.median(gaps) or distinct.size == 2)
    else:
        is_hole = share_of_range >= WIDE_HOLE and _chance_of_gap(share_of_range, x.size) <= 0.05
    ends = (float(distinct[widest]), float(distinct[widest + 1]))
    below = (np.arange(1, x.size + 1) - 0.5) / x.size
    discrepancy = float(np.abs(below - (np.sort(x) - low) / reach).max()) + 0.5 / x.size
    expected = 1 - (1 - 1 / cells) ** x.size
    return Cover(taken / cells, expected, discrepancy, ends, share_of_range, is_hole, is_list, int(x.size))


def _chance_of_gap(share: float, n: int) -> float:
    """At most so likely is a gap of that share of the range between n uniform values, two of them its ends."""
    return min(1.0, (n - 1) * (1 - share) ** max(n - 2, 1))


def thirds(h: Hyperparameter) -> tuple[IntArray, list[tuple[float, float]]]:
    """The third of its range that each value lies in, (n,), -1 where absent, and the ends of the thirds.

    On the own scale; levels for a category, the level's number as both ends.
    """
    x = h.transformed
    codes = np.full(x.size, -1, dtype=np.int64)
    present = ~np.isnan(x)
    if h.scale == "category":
        codes[present] = x[present].astype(np.int64)
        return codes, [(float(i), float(i)) for i in range(len(h.levels))]
    low, high = float(x[present].min()), float(x[present].max())
    edges = np.linspace(low, high, THIRDS + 1)
    codes[present] = np.clip(np.searchsorted(edges, x[present], side="right") - 1, 0, THIRDS - 1)
    return codes, list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def empty_corner(
    one: tuple[IntArray, list[tuple[float, float]]], other: tuple[IntArray, list[tuple[float, float]]]
) -> Corner | None:
    """The emptiest cell of two hyperparameters, where a random design with the same values of each has some there.

    By the hypergeometric chance that none of one's values meets one of the other's.
    """
    there = (one[0] >= 0) & (other[0] >= 0)
    n, rows, columns = int(there.sum()), len(one[1]), len(other[1])
    table = np.bincount(one[0][there] * columns + other[0][there], minlength=rows * columns).reshape(rows, columns)
    a, b = table.sum(axis=1, keepdims=True), table.sum(axis=0, keepdims=True)
    if n == 0 or not ((table == 0) & (a * b > 0)).any():
        return None
    expected = a * b / n
    i, j = np.unravel_index(int(np.where(table == 0, expected, -1.0).argmax()), table.shape)
    na, nb = float(a[i, 0]), float(b[0, j])
    chance = -np.inf
    if na + nb <= n:
        chance = float(gammaln(n - na + 1) + gammaln(n - nb + 1) - gammaln(n + 1) - gammaln(n - na - nb + 1))
    if expected[i, j] < EXPECTED or chance > np.log(CHANCE / table.size):
        return None
    possible = (a * b > 0).sum()
    return Corner(one[1][i], other[1][j], float(expected[i, j]), float((table > 0).sum() / possible))


def order_of(sweep: Sweep, fewest: int) -> Order | None:
    """How results and places changed with the order in which configurations were started; None where it is unknown.

    Where runs start in an order that owes nothing to their results, place and result are exchangeable: Spearman's
    correlation has Student's distribution about 0, and so has that with any distance that is made of both. Both are
    tested, the trend for either sign, and the smaller p-value doubled. Interval by Bonett & Wright (2000).
    """
    started = sweep.records.numbers("started_at")
    n = sweep.n_configurations
    if n < fewest:
        return None
    _, member = np.unique(sweep.configuration, return_inverse=True)
    first = np.full(n, np.inf)
    np.minimum.at(first, member, np.where(np.isnan(started), np.inf, started))
    y = results(sweep)
    known = np.isfinite(first) & ~np.isnan(y)
    if known.sum() < fewest or np.unique(first[known]).size < known.sum() / 2 or np.ptp(rankdata(y[known])) == 0:
        return None
    away = _distance_from_best(configurations(sweep), y)[known]
    place = rankdata(first[known])
    trend, closing = (_spearman(place, rankdata(v)) for v in (y[known], away))
    m = int(known.sum())
    p_trend, p_closing = 2 * _below(-abs(trend), m), _below(closing, m)
    half = 1.959964 * np.sqrt((1 + trend**2 / 2) / (m - 3))
    low, high = (float(np.tanh(np.arctanh(np.clip(trend, -0.9999, 0.9999)) + side * half)) for side in (-1, 1))
    return Order(trend, low, high, closing, min(1.0, 2 * min(p_trend, p_closing)), p_trend, m)


def _distance_from_best(at: Sweep, y: FloatArray) -> FloatArray:
    """How far each configuration lies from the nearest other one of the best quarter, (n,), all scales from 0 to 1.

    Samplers draw beside any of the good ones that they know, not about the middle of them.
    """
    best = np.argsort(y, kind="stable")[: int(np.clip(y.size // 4, 5, GOOD_ONES))]
    total = np.zeros((y.size, best.size))
    for h in at.hyperparameters:
        x = h.transformed
        if h.scale == "category":
            total += (x[:, None] != x[best]) & ~(np.isnan(x)[:, None] & np.isnan(x[best]))
        elif not np.isnan(x).all():
            reach = max(float(np.nanmax(x) - np.nanmin(x)), 1e-300)
            total += np.nan_to_num((x[:, None] - x[best]) / reach, nan=0.5) ** 2
    total[best, np.arange(best.size)] = np.inf
    return np.asarray(np.sqrt(total.min(axis=1)))


def _spearman(a: FloatArray, b: FloatArray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else 0.0


def _below(r: float, n: int) -> float:
    """The chance of a correlation as low as r where there is none."""
    r = float(np.clip(r, -0.999999, 0.999999))
    return float(stdtr(n - 2, r * np.sqrt((n - 2) / (1 - r * r))))


@dataclass(frozen=True)
class Hopeless:
    """An end of a hyperparameter's range with no configuration of the better half: from `edge` to its end."""

    edge: float
    is_above: bool
    rows: BoolArray  # of the sweep: the runs spent there
    p_value: float


def hopeless(sweep: Sweep, h: Hyperparameter, at: Sweep, y: FloatArray) -> Hopeless | None:
    """The longer of the two ends where every configuration is among the worse half, infeasible ones counted in.

    Were results alike everywhere, so many in a row would all be of the worse half with probability share^k.
    """
    own = next(other for other in at.hyperparameters if other.name == h.name)
    x = own.transformed
    there = ~np.isnan(x) & ~np.isnan(y)
    if there.sum() < 8 or h.scale == "category":
        return None
    good = there & (y <= np.median(y[there])) & np.isfinite(y)
    if not good.any() or good.all():
        return None
    ends = float(x[good].min()), float(x[good].max())
    beyond = [there & (x < ends[0]), there & (x > ends[1])]
    side = int(beyond[1].sum() > beyond[0].sum())
    k = int(beyond[side].sum())
    if not k:
        return None
    chance = _chance_of_run(int(there.sum()), int(good.sum()), k)
    rows = h.transformed > ends[1] if side else h.transformed < ends[0]
    return Hopeless(ends[side], bool(side), rows, min(1.0, 2 * chance))


def _chance_of_run(n: int, good: int, k: int) -> float:
    """The chance that the outermost k of n, of which so many are good, hold none of these."""
    if k + good > n:
        return 0.0
    return float(np.exp(gammaln(n - good + 1) - gammaln(n - good - k + 1) + gammaln(n - k + 1) - gammaln(n + 1)))


def near(h: Hyperparameter, place: float, reach: float) -> tuple[int, float, float]:
    """How many of n values lie within `reach` of the range of a place, what share of the range that is, and the chance.

    The chance of as few with values that are uniform over the range.
    """
    x = h.transformed[~np.isnan(h.transformed)]
    low, high = float(x.min()), float(x.max())
    ends = max(low, place - reach * (high - low)), min(high, place + reach * (high - low))
    share = (ends[1] - ends[0]) / (high - low)
    k = int(((x >= ends[0]) & (x <= ends[1])).sum())
    return k, share, float(betainc(x.size - k, k + 1, 1 - share)) if k < x.size else 1.0
