"""Rules that stop training early, replayed on whole curves: when each would have stopped, and what it would have kept.

All values are lower as better; an evaluation that is not finite counts as infinitely bad. `Panel` holds the curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpkb.stats.curves import Panel
from hpkb.sweep import BoolArray, FloatArray, IntArray

PATIENCES = (0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)  # shares of the run; 1 never stops
CHECKS = tuple(np.arange(0.2, 0.95, 0.1).round(2).tolist())  # shares of the run at which a curve is extrapolated
POWERS = (0.25, 0.5, 1.0, 2.0)  # of the run's share, that a curve may follow
POINTS_OF_A_FIT = 64  # about, that a power law is fitted to
MARGINS = (0.1, 0.25, 0.5, 0.99)  # of the largest bet that a mean is below a bound


@dataclass(frozen=True)
class Stops:
    """Where a rule stops each run and which evaluation it keeps, as places in the panel, (n_runs, rules) each."""

    stop: IntArray
    kept: IntArray


def last_improvements(curves: Panel, margin: float) -> IntArray:
    """The place of the last improvement by more than a margin on the best before it, (n_runs, m) for each point."""
    n, m = curves.value.shape
    best, last = np.full(n, np.inf), np.zeros(n, dtype=np.int64)
    found = np.empty((n, m), dtype=np.int64)
    for place in range(m):
        now = curves.value[:, place]
        better = now < best - margin
        best, last = np.where(better, now, best), np.where(better, place, last)
        found[:, place] = last
    return found


def by_patience(curves: Panel, margin: float, patiences: Sequence[float] = PATIENCES) -> Stops:
    """What is done by stopping once no improvement came for a share of the run, keeping the last improvement."""
    last, rows = last_improvements(curves, margin), np.arange(curves.count.size)
    since = np.where(curves.there, curves.share - np.take_along_axis(curves.share, last, 1), -np.inf)
    end = np.maximum(curves.count - 1, 0)
    stop = np.empty((rows.size, len(patiences)), dtype=np.int64)
    for i, patience in enumerate(patiences):
        waited = since >= patience - 1e-9
        stop[:, i] = np.where(waited.any(axis=1) & (patience < 1), np.argmax(waited, axis=1), end)
    return Stops(stop, last[rows[:, None], stop])


def by_extrapolation(curves: Panel, gain: float, checks: Sequence[float] = CHECKS) -> Stops:
    """What is done by stopping where a power law of what was seen promises less than `gain` by the end.

    After Domhan, Springenberg & Hutter (2015), with the one family value = a + b share^-c, c out of `POWERS`, fitted to
    the later three quarters of the points seen; the best so far is kept.
    """
    best = last_improvements(curves, 0.0)
    rows, end = np.arange(curves.count.size), np.maximum(curves.count - 1, 0)
    stop = end.copy()
    for check in reversed(checks):
        seen = curves.there & (curves.share <= check + 1e-9)
        at = np.maximum(seen.sum(axis=1) - 1, 0)
        hopeless = (seen.sum(axis=1) >= 5) & (_promise(curves, seen, at, best) < gain)
        stop = np.where(hopeless, at, stop)
    return Stops(stop[:, None], best[rows, stop][:, None])


def _promise(curves: Panel, seen: BoolArray, at: IntArray, best: IntArray) -> FloatArray:
    """By how much the run's end is expected below the best seen so far, by the power that fits best, (n_runs,)."""
    rows, some = np.arange(at.size), slice(None, None, -(-seen.shape[1] // POINTS_OF_A_FIT))
    value, share = curves.value[:, some], curves.share[:, some]
    behind = np.arange(seen.shape[1])[some] >= (at // 4)[:, None]
    used = seen[:, some] & behind & np.isfinite(value) & (share > 0)
    n = np.maximum(used.sum(axis=1), 1)
    y = np.where(used, value, 0.0)
    y_mean = y.sum(axis=1) / n
    least, predicted = np.full(at.size, np.inf), y_mean.copy()
    with np.errstate(all="ignore"):
        for power in POWERS:
            u = np.where(used, np.maximum(share, 1e-6) ** -power, 0.0)
            u_mean = u.sum(axis=1) / n
            du, dy = (np.where(used, a - b[:, None], 0.0) for a, b in ((u, u_mean), (y, y_mean)))
            slope = (du * dy).sum(axis=1) / np.maximum((du**2).sum(axis=1), 1e-300)
            left = ((dy - slope[:, None] * du) ** 2).sum(axis=1)
            predicted = np.where(left < least, y_mean + slope * (1 - u_mean), predicted)
            least = np.fmin(least, left)
        promise = curves.value[rows, best[rows, at]] - predicted
    return np.where(np.isfinite(promise), promise, 0.0)


def left_out_means(curves: Panel) -> FloatArray:
    """What each evaluation's neighbours say of it, without itself, (n_runs, m); the first and the last are as they are.

    An evaluation that was chosen for being low is low by luck as well; its neighbours are not: the mean of those up to
    two steps away on both sides. What comes last is chosen for being last; a line through those before it would miss
    the fall that a decaying learning rate brings.
    """
    v, n = np.where(curves.there, curves.value, np.nan), curves.count[:, None]
    place, top = np.arange(v.shape[1]), v.shape[1] - 1
    apart = [v[:, np.clip(place + k, 0, top)] for k in (-2, -1, 1, 2)]
    with np.errstate(invalid="ignore"):
        one, two = (apart[1] + apart[2]) / 2, (apart[0] + apart[1] + apart[2] + apart[3]) / 4
    found = np.where((place >= 2) & (place < n - 2), two, one)
    return np.where((place == 0) | (place >= n - 1), v, found)


def smallest_enough(regret: FloatArray, floor: FloatArray | float, grid: FloatArray) -> FloatArray:
    """The smallest patience from which on the regret is at most the floor, (b,) of (b, g); logarithmic between two.

    The regret of a patience counts as the largest of all longer ones, so that there is one such point.
    """
    falling = np.maximum.accumulate(regret[:, ::-1], axis=1)[:, ::-1]
    limit = np.broadcast_to(np.asarray(floor, dtype=np.float64), (regret.shape[0],))
    enough = falling <= limit[:, None]
    first = np.where(enough.any(axis=1), np.argmax(enough, axis=1), grid.size - 1)
    before, rows = np.maximum(first - 1, 0), np.arange(first.size)
    high, low = falling[rows, before], falling[rows, first]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(high > low, np.clip((high - limit) / (high - low), 0, 1), 1.0)
    logs = np.log(grid)
    return np.asarray(np.exp(logs[before] + part * (logs[first] - logs[before])))


def p_of_mean_below(values: FloatArray, bound: float, most: float) -> float:
    """The p-value of a mean of at least `bound`, for independent values up to `most` of whatever distribution.

    Bets that it is less: each factor 1 + λ (bound - value) has an expectation of at most 1 where it is not, and so
    has their product; one over it is a p-value (Waudby-Smith & Ramdas 2024, *Estimating means of bounded random
    variables by betting*). The mean over four λ.
    """
    if not values.size or not most > bound:
        return 1.0
    largest = 1 / (most - bound)
    logs = [float(np.log1p(part * largest * (bound - np.minimum(values, most))).sum()) for part in MARGINS]
    top = max(logs)
    return float(min(1.0, np.exp(-top) / np.mean(np.exp(np.array(logs) - top)))) if top > -700 else 1.0


def in_pools(at: FloatArray, final: FloatArray, rule: str) -> tuple[FloatArray, FloatArray]:
    """What a rule that compares runs saves and loses in pools of runs, (pools,) each.

    `at` (pools, runs, checks) are the values at the `CHECKS` shares of the run, `final` (pools, runs) what each run
    comes to. *median*: a run stops whose best so far is worse than the median over the others' means so far (Golovin et
    al. 2017). *halving*: at a third of the run the better third goes on (Jamieson & Talwalkar 2016).
    """
    pools, runs, _ = at.shape
    stopped = np.ones((pools, runs))
    if rule == "median":
        means = np.cumsum(at, axis=2) / np.arange(1, at.shape[2] + 1)
        best = np.minimum.accumulate(at, axis=2)
        worse = best > np.median(means, axis=1, keepdims=True)
        stopped = np.where(worse.any(axis=2), np.array(CHECKS)[np.argmax(worse, axis=2)], 1.0)
    else:
        rank = np.argsort(np.argsort(at[:, :, 1], axis=1, kind="stable"), axis=1)
        stopped = np.where(rank < max(runs // 3, 1), 1.0, CHECKS[1])
    survived = np.where(stopped >= 1, final, np.inf).min(axis=1)
    return 1 - stopped.mean(axis=1), np.where(np.isfinite(survived), survived, final.max(axis=1)) - final.min(axis=1)
