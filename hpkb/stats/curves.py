"""Curves of many runs side by side as arrays, and their noise and level, told apart by what neighbours say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpkb.records import Curve
from hpkb.sweep import BoolArray, FloatArray, IntArray

MOST_WINDOWS = 16
POINTS_OF_A_WINDOW = 3  # at least: the median of three bears one that is far out
FEWEST_TO_SHARE = 10  # runs, for one to borrow from the others' noise
NORMAL_MAD = 0.6745  # the median absolute value of a standard normal variable
MEDIAN_ERROR = 1.2533  # the standard error of a median in those of a mean, for normal noise


@dataclass(frozen=True)
class Panel:
    """One metric's curves, lower is better, (n_runs, m): points from the left, NaN behind the last.

    `share` is the step as a share of the run's last one; `count` (n_runs,) says how many points there are.
    """

    share: FloatArray
    value: FloatArray
    count: IntArray

    @property
    def there(self) -> BoolArray:
        """Which entries are points, (n_runs, m)."""
        return np.arange(self.value.shape[1]) < self.count[:, None]

    def take(self, rows: IntArray) -> Panel:
        """The curves of some of the runs."""
        return Panel(self.share[rows], self.value[rows], self.count[rows])


@dataclass(frozen=True)
class Windows:
    """Curves cut into windows of as many points each, (n_runs, w): `level` the medians, `share` where they lie.

    `count` (n_runs,) is how many windows there are, `point` (n_runs,) the standard deviation of a single point,
    `error` (n_runs,) the standard error of a level, `degrees` (n_runs,) what degrees of freedom that error is worth.
    """

    share: FloatArray
    level: FloatArray
    count: IntArray
    point: FloatArray
    error: FloatArray
    degrees: FloatArray


def panel(curves: Sequence[Curve | None], sign: float, keep_failures: bool = False) -> Panel:
    """The curves as one panel; `sign` -1 where higher is better.

    Values that are not finite are left out, or with `keep_failures` count as infinitely bad.
    """
    lengths = np.array([0 if c is None else c.step.size for c in curves], dtype=np.int64)
    if not lengths.sum():
        return Panel(np.full((len(curves), 1), np.nan), np.full((len(curves), 1), np.nan), np.zeros_like(lengths))
    there = [c for c in curves if c is not None]
    step, value = (np.concatenate(parts) for parts in ([c.step for c in there], [c.value for c in there]))
    run = np.repeat(np.arange(lengths.size), lengths)
    last, first = np.full(lengths.size, np.nan), np.full(lengths.size, np.nan)
    ends = np.cumsum(lengths)[lengths > 0]
    last[lengths > 0], first[lengths > 0] = step[ends - 1], step[ends - lengths[lengths > 0]]
    origin = np.minimum(first, 0.0)
    width = np.where(last > origin, last - origin, 1.0)
    share = np.where(last > origin, 0.0, 1.0)[run] + (step - origin[run]) / width[run] * (last > origin)[run]
    value = np.where(np.isfinite(value), sign * value, np.inf)
    kept = np.ones(run.size, dtype=bool) if keep_failures else np.isfinite(value)
    return _filled(run[kept], share[kept], value[kept], lengths.size)


def _filled(run: IntArray, share: FloatArray, value: FloatArray, n: int) -> Panel:
    count = np.bincount(run, minlength=n)
    place = np.arange(run.size) - np.repeat(np.cumsum(count) - count, count)
    filled = np.full((2, n, max(int(count.max(initial=0)), 1)), np.nan)
    filled[0, run, place], filled[1, run, place] = share, value
    return Panel(filled[0], filled[1], count.astype(np.int64))


def row_medians(values: FloatArray) -> FloatArray:
    """The median of each row's numbers, (n,) of (n, m); NaN counts as missing, a row of nothing gives NaN."""
    n = (~np.isnan(values)).sum(axis=1)
    if not values.shape[1]:
        return np.full(values.shape[0], np.nan)
    ordered, rows = np.sort(values, axis=1), np.arange(values.shape[0])
    low, high = ordered[rows, np.maximum((n - 1) // 2, 0)], ordered[rows, np.minimum(n // 2, values.shape[1] - 1)]
    return np.asarray(np.where(n > 0, (low + high) / 2, np.nan))


def noise(curves: Panel, begin: float = 0.5, lag: int = 1) -> tuple[FloatArray, FloatArray]:
    """The standard deviation of a point within a part of each curve, and how many changes it rests on, (n_runs,) each.

    From the median of the absolute second differences over √6: a trend as steep as may be has none, and neither
    outliers nor a kink count (Gasser, Sroka & Jennen-Steinmetz 1986, with a median for the mean). The part begins at a
    share of the points, and holds eight where the curve has them. `lag` is how far the points differ.
    """
    if curves.value.shape[1] < 2 * lag + 1:
        return np.full(curves.count.size, np.nan), np.zeros(curves.count.size)
    place, last = np.arange(curves.value.shape[1] - 2 * lag), curves.count[:, None]
    second = np.abs(curves.value[:, 2 * lag :] - 2 * curves.value[:, lag:-lag] + curves.value[:, : -2 * lag])
    inside = (place >= np.minimum(begin * last, np.maximum(last - 8, 0)) - 1e-9) & (place + 2 * lag < last)
    used = np.where(inside & np.isfinite(second), second, np.nan)
    return row_medians(used) / (NORMAL_MAD * np.sqrt(6)), (~np.isnan(used)).sum(axis=1).astype(float)


def wandering(curves: Panel) -> float:
    """By what factor points three apart differ more than neighbours: above 1 for noise that wanders, 1.8 at most.

    Much more would be the bend of the curves, not their noise.
    """
    near, far = noise(curves)[0], noise(curves, lag=3)[0]
    usable = (near > 0) & np.isfinite(far)
    return float(np.clip(np.median(far[usable] / near[usable]), 1, 1.8)) if usable.sum() >= FEWEST_TO_SHARE else 1.0


def windows(curves: Panel) -> Windows:
    """The curves cut into windows: three points at least and sixteen windows at most, as many of each as there are.

    The error of a level is the larger of what the noise of single points makes it and what the levels themselves
    scatter by around a parabola in the later half. Noise that wanders has neighbours alike, and differences hide it:
    a window then counts as fewer points, by the fourth power of `wandering` (about right for an autoregression).
    """
    number = np.clip(curves.count // POINTS_OF_A_WINDOW, 1, MOST_WINDOWS)
    run, place = np.nonzero(curves.there)
    window = place * number[run] // np.maximum(curves.count[run], 1)
    level, size = _medians(run, window, curves.value[run, place], curves.count.size)
    share, _ = _medians(run, window, curves.share[run, place], curves.count.size)
    (point, changes), (late, _) = noise(curves), noise(curves, 0.75)
    point, degrees = _shared(np.fmax(point, late), np.clip(changes / 2.5, 3.0, 60.0))
    scale = np.nanmax(np.abs(np.where(np.isfinite(level), level, np.nan)), axis=1, initial=0.0, where=size > 0)
    wander = wandering(curves)
    point = wander * point
    single = point * MEDIAN_ERROR / np.sqrt(np.maximum(size[:, 0] / wander**4, 1))
    error = np.fmax(single, _wander(level, number))
    return Windows(
        share, level, np.where(curves.count > 0, number, 0), point, np.fmax(error, 1e-9 * scale), degrees
    )


def _shared(point: FloatArray, degrees: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The noise of each run, never below its own, with what the other runs say of it added to its degrees of freedom.

    Runs that scatter alike tell of each other (Smyth 2004, *Linear models and empirical Bayes methods*): what their
    logarithms differ by beyond their own error says for how many degrees of freedom. A run that scatters twice as
    much as usual stands for itself.
    """
    usable = np.isfinite(point) & (point > 0)
    if usable.sum() < FEWEST_TO_SHARE:
        return point, degrees
    logs = np.log(point[usable])
    usual, own = float(np.median(logs)), float(np.median(degrees[usable]))
    beyond = (float(np.median(np.abs(logs - usual))) / NORMAL_MAD) ** 2 - 0.65 / own
    prior = float(np.clip(1 / (2 * max(beyond, 1e-3)), 0, 60))
    with np.errstate(invalid="ignore"):
        alike = usable & (point <= 2 * np.exp(usual))
        together = np.sqrt((degrees * point**2 + prior * np.exp(2 * usual)) / (degrees + prior))
    return np.where(alike, np.fmax(point, together), point), np.where(alike, degrees + prior, degrees)


def _wander(level: FloatArray, number: IntArray) -> FloatArray:
    """How widely the levels of the later half scatter around a parabola, (n_runs,); 0 with fewer than eight windows."""
    found = np.zeros(number.size)
    for w in np.unique(number[number >= 8]):
        rows = np.flatnonzero(number == w)
        later = level[rows][:, w - max(w // 2, 6) : w]
        u = np.linspace(-1, 1, later.shape[1])
        basis, _ = np.linalg.qr(np.stack([u**0, u, u**2], axis=1))
        middle = later - later[:, -1:]
        residual = middle - middle @ basis @ basis.T
        found[rows] = np.sqrt((residual**2).sum(axis=1) / (later.shape[1] - 3))
    return np.where(np.isfinite(found), found, 0.0)


def _medians(run: IntArray, window: IntArray, value: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """The median of the values of each run and window, and how many there are, (n, MOST_WINDOWS) each.

    The values stand in the order of runs and windows.
    """
    key = run * MOST_WINDOWS + window
    size = np.bincount(key, minlength=n * MOST_WINDOWS)
    apart = np.full((size.size, max(int(size.max(initial=0)), 1)), np.nan)
    apart[key, np.arange(key.size) - (np.cumsum(size) - size)[key]] = value
    shape = (n, MOST_WINDOWS)
    return row_medians(apart).reshape(shape), size.reshape(shape).astype(float)


def by_configuration(values: FloatArray, configuration: IntArray) -> FloatArray:
    """The mean of the runs of each configuration, (k,) or (k, g) of (n,) or (n, g), in the order of their numbers."""
    _, member, counts = np.unique(configuration, return_inverse=True, return_counts=True)
    total = np.zeros((counts.size, *values.shape[1:]))
    np.add.at(total, member, values)
    return np.asarray(total / counts.reshape(-1, *[1] * (values.ndim - 1)))
