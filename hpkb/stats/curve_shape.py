"""What a learning curve looks like: where it is best, whether it turns for the worse, still improves or is noisy.

Every sign is a departure that is large (a share of how far the curve came) and beyond the noise of the curve itself.
The p-values allow for the search over windows (Bonferroni) and are Student's, with as many degrees of freedom as the
noise was estimated from. On curves that fall and stay, with normal, heavy-tailed (Student's t with 2 degrees of
freedom) or wandering noise, each sign shows in fewer than `FALSE_ALARMS` of the runs; the tests measure it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc, ndtr, stdtr

from hpkb.stats.curves import MOST_WINDOWS, Panel, Windows, noise, row_medians, windows
from hpkb.sweep import BoolArray, FloatArray, IntArray

FALSE_ALARMS = 0.02  # of the runs of a clean sweep, at most, for each sign
SURE = 0.005  # the p-value below which a run shows a sign
SIGNS_DIFFER = 0.001  # the p-value at which more curves fall than rise
NOISY = 0.05  # the same of late noise, which few points tell badly: its false alarms are as many
FEWEST_POINTS = 10
RISE = 0.03  # of the curve's height, that counts as turning for the worse
GAIN, SMALL_GAIN = 0.04, 0.02  # of the height, an eighth of the run before its end: still improving, and hardly
NOISE, SMALL_NOISE = 0.03, 0.015  # of the height, from one point to the next: noisy, and clean
EARLY = 0.1  # of the run
SPIKE, SPIKES = 7.0, 3  # usual changes that make one; how many make a run unstable
UNDERFIT = 0.5  # of the way that others went
STUCK = 0.1  # of a curve's height, above what others reach


@dataclass(frozen=True)
class Shapes:
    """The shapes of curves, (n_runs,) each; p-values of there being no such departure, 1 where it cannot be told.

    `height` is how far the curve went, `end` its last level; `best_share` where on the run it is best; `rise` from
    there to the end and `gain` over an eighth of the run before its end, `scatter` of late points, in heights;
    `error` the standard error of a level in heights; `known` where there are points enough; `learned` where the curve
    got better at all; `spikes` counts.
    """

    known: BoolArray
    learned: BoolArray
    height: FloatArray
    start: FloatArray
    end: FloatArray
    best_share: FloatArray
    rise: FloatArray
    rise_p: FloatArray
    gain: FloatArray
    gain_p: FloatArray
    scatter: FloatArray
    scatter_p: FloatArray
    scatter_error: FloatArray
    late_change: FloatArray
    error: FloatArray
    degrees: FloatArray
    spikes: FloatArray
    of_windows: Windows

    @property
    def turns(self) -> BoolArray:
        """Whether the curve ends worse than it was."""
        return self.known & (self.rise >= RISE) & (self.rise_p <= SURE)

    @property
    def still_improving(self) -> BoolArray:
        """Whether it would go on to improve."""
        return self.learned & (self.gain >= GAIN) & (self.gain_p <= SURE)

    @property
    def noisy(self) -> BoolArray:
        """Whether late points scatter widely."""
        return self.known & (self.scatter >= NOISE) & (self.scatter_p <= NOISY)

    @property
    def early(self) -> BoolArray:
        """Whether it was best within the first tenth and ends worse."""
        return self.turns & (self.best_share <= EARLY)

    @property
    def flat(self) -> BoolArray:
        """Whether its last half changes by less than `RISE` heights, for sure."""
        bound = np.abs(self.late_change) + 2 * np.sqrt(1.5) * self.error
        return np.asarray(self.learned & (bound < RISE) & ~self.turns)

    @property
    def unstable(self) -> BoolArray:
        """Whether it has spikes."""
        return self.known & (self.spikes >= SPIKES)


def shapes(curves: Panel) -> Shapes:
    """The shapes of curves where lower is better."""
    cut = windows(curves)
    rows, w = np.arange(curves.count.size), np.maximum(cut.count, 1)
    level = np.where(np.isfinite(cut.level), cut.level, np.inf)
    known = curves.count >= FEWEST_POINTS
    best = np.argmin(level, axis=1)
    end, before = _mean_of(cut, w - _two(w), w), _mean_of(cut, w - 2 * _two(w), w - _two(w))
    lowest = level[rows, best]
    start, height = _height(curves, cut, lowest)
    height = np.maximum(height, _least(height[known]))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = cut.error / height
        rise = np.where(best < w - _two(w), (end - lowest) / height, 0.0)
        fall, gain = (start - lowest) / np.hypot(cut.point, cut.error), (before - end) / height
        span = _mean_of_shares(cut, w - _two(w), w) - _mean_of_shares(cut, w - 2 * _two(w), w - _two(w))
        gain = gain * 0.125 / np.where(span > 0, span, np.inf)
        gain_error = error * np.sqrt(2 / _two(w)) * 0.125 / np.where(span > 0, span, np.inf)
        going_on = level[rows, np.maximum(w - 2, 0)] - level[rows, w - 1] + 3 * cut.error > 0.1 * (before - end)
        sides = np.sqrt(1 + 1 / _two(w))
        rise_p = np.minimum(1, w * _upper(rise / (error * sides), cut.degrees))
        learned = known & (w * _upper(fall, cut.degrees) <= SURE)
        fallen = known & (_upper((start - end) / np.hypot(cut.point, cut.error), cut.degrees) <= SURE)
        fallen |= known & _most_fall((start - end)[known])
        gain_p = np.where(going_on, _upper((gain - SMALL_GAIN) / gain_error, cut.degrees), 1.0)
        late, changes = noise(curves, 0.75)
        scatter, scatter_error = late / height, 1.65 / np.sqrt(np.maximum(changes, 1))
        scatter_p = 1 - ndtr(np.log(np.maximum(scatter, 1e-300) / SMALL_NOISE) / scatter_error)
        late_change = (_mean_of(cut, (w - 1) // 2, (w - 1) // 2 + _two(w)) - end) / height
    return Shapes(
        known, learned, height, start, end, np.where(known, _best_share(curves, cut, height, best), np.nan), rise,
        _p(rise_p, known), gain, _p(gain_p, known), scatter, _p(scatter_p, fallen), scatter_error, late_change, error,
        cut.degrees, _spikes(curves, height), cut,
    )  # fmt: skip


def rises_between(of: Windows, height: FloatArray, share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """By how many heights a curve's end is above its level at a share of the run, and the p-value of no rise."""
    rows, w = np.arange(of.count.size), np.maximum(of.count, 1)
    distance = np.abs(np.where(np.isnan(of.share), np.inf, of.share) - share[:, None])
    at = np.argmin(distance, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rise = _mean_of(of, w - _two(w), w) - of.level[rows, at]
        p = _upper(rise / (of.error * np.sqrt(1 + 1 / _two(w))), of.degrees)
        return rise / height, np.where(np.isfinite(p), p, 1.0)


def underfits(training: Shapes) -> tuple[BoolArray, FloatArray]:
    """Which runs end with their training far from what others on the task reach, and the share of the way they went.

    The way leads from the median start to the level that the best tenth of the runs end at.
    """
    known, way = training.known, np.full(training.known.size, np.nan)
    if known.sum() < FEWEST_POINTS:
        return np.zeros_like(known), way
    start, goal = float(np.median(training.start[known])), float(np.quantile(training.end[known], 0.1))
    if not start - goal > 4 * float(np.median(training.error[known] * training.height[known])):
        return np.zeros_like(known), way
    way = np.where(known, (start - training.end) / (start - goal), np.nan)
    error = training.error * training.height / (start - goal)
    return known & (way + 3 * error < UNDERFIT), way


def stuck(curve: Shapes) -> BoolArray:
    """Which runs stand still over their second half well above the level that the best tenth of the runs end at."""
    known = curve.known
    if known.sum() < FEWEST_POINTS:
        return np.zeros_like(known)
    goal = float(np.quantile(curve.end[known], 0.1))
    return np.asarray(curve.flat & (curve.end - 3 * curve.error * curve.height > goal + STUCK * curve.height))


def _two(w: IntArray) -> IntArray:
    """How many windows make an end: two where there are eight at least."""
    return np.where(w >= 8, 2, 1)


def _mean_of(cut: Windows, first: IntArray, last: IntArray) -> FloatArray:
    """The mean level of windows first to last (not included)."""
    return _mean(cut.level, first, last)


def _mean_of_shares(cut: Windows, first: IntArray, last: IntArray) -> FloatArray:
    return _mean(cut.share, first, last)


def _mean(values: FloatArray, first: IntArray, last: IntArray) -> FloatArray:
    place = np.arange(MOST_WINDOWS)
    inside = (place >= first[:, None]) & (place < last[:, None])
    total = np.where(inside, np.nan_to_num(values), 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(inside.sum(axis=1), 1))


def _height(curves: Panel, cut: Windows, lowest: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where a curve starts, and how far it goes between its extremes.

    The start is the median of the first fiftieth of the points. One far above all windows (a loss of 1e5 that falls
    to 1 at once) counts as five times as high as they are, so that what follows does not vanish beside it.
    """
    early = np.arange(curves.value.shape[1]) < np.maximum(curves.count // 50, 1)[:, None]
    start = row_medians(np.where(early & curves.there, curves.value, np.nan))
    among = np.nanmax(np.where(np.isfinite(cut.level), cut.level, -np.inf), axis=1, initial=-np.inf) - lowest
    with np.errstate(invalid="ignore"):
        above = np.where(np.isfinite(start - lowest), np.maximum(start - lowest, 0), 0.0)
        among = np.where(np.isfinite(among), among, 0.0)
        height = np.maximum(among, np.minimum(above, 5 * among))
    return lowest + np.minimum(above, height), height


def _least(heights: FloatArray) -> float:
    """The least height to hold a departure against: half of the median one, so that a run that did nothing has none."""
    usable = heights[heights > 0]
    return float(np.median(usable)) / 2 if usable.size else 1.0


def _most_fall(falls: FloatArray) -> bool:
    """Whether curves fall as a rule, by a sign test: their heights are then no noise, whatever one run's noise is."""
    return bool(falls.size) and float(bdtrc(int((falls > 0).sum()) - 1, falls.size, 0.5)) <= SIGNS_DIFFER


def _upper(t: FloatArray, degrees: FloatArray) -> FloatArray:
    return np.asarray(stdtr(degrees, -t))


def _p(p: FloatArray, known: BoolArray) -> FloatArray:
    return np.where(known & np.isfinite(p), np.clip(p, 0.0, 1.0), 1.0)


def _spikes(curves: Panel, height: FloatArray) -> FloatArray:
    """How many changes for the worse are seven times as large as usual and a fiftieth of the height."""
    late, _ = noise(curves, 0.5)
    change = np.diff(curves.value, axis=1)
    limit = np.maximum(SPIKE * np.sqrt(2) * np.nan_to_num(late), RISE * height)
    return np.asarray((change > limit[:, None]).sum(axis=1), dtype=np.float64)


def _best_share(curves: Panel, cut: Windows, height: FloatArray, best: IntArray) -> FloatArray:
    """Where each curve is lowest: in the best window or those beside it, by a running mean.

    It is as wide as it takes to bring the noise down to a four-hundredth of the height, and two windows at most.
    """
    n, m = curves.count, curves.value.shape[1]
    size, place = n / np.maximum(cut.count, 1), np.arange(m)
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = np.nan_to_num((cut.point / (height / 400)) ** 2, nan=1.0, posinf=1e9)
    half = (np.clip(wanted, 1, np.maximum(2 * size, 1)) // 2).astype(np.int64)[:, None]
    low, high = np.maximum(place - half, 0), np.minimum(place + half + 1, n[:, None])
    total = np.cumsum(np.where(curves.there, curves.value - cut.level[:, :1], 0.0), axis=1)
    total = np.concatenate([np.zeros((n.size, 1)), total], axis=1)
    inside = curves.there & (place >= ((best - 1) * size)[:, None]) & (place < ((best + 2) * size)[:, None])
    high = np.maximum(high, low + 1)
    mean = (np.take_along_axis(total, np.minimum(high, m), 1) - np.take_along_axis(total, low, 1)) / (high - low)
    lowest = np.argmin(np.where(inside, mean, np.inf), axis=1)
    return np.asarray(curves.share[np.arange(n.size), lowest])
