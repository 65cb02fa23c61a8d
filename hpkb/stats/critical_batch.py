"""Steps to a target against the batch size: the smallest number of steps, and where more examples stop to help."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from hpkb.records import Curve
from hpkb.stats.own_best import OwnBest, Tested, tested
from hpkb.sweep import BoolArray, FloatArray

WINDOWS = 25  # of a curve, over each of which it is averaged before it is held against a target
REACH = 64.0  # how far beyond the batch sizes that were tried a critical one is looked for, as a factor
PLACES = 121
DEGREES_OF_THE_LAW = 0.01  # p-value below which the steps do not follow the law


@dataclass(frozen=True)
class CriticalBatch:
    """B of S = S_min (1 + B/batch), with its 95% interval; None where it lies beyond all that could be told.

    `p_value` is that of no trade-off: the larger of the p-values that the steps do not fall with the batch size at all
    (B = 0), and that they fall in proportion to it all the way (B infinite), of which `p_proportional` is the second.
    `fits` is False where the steps do not follow the law.
    """

    estimate: float | None
    low: float | None
    high: float | None
    p_value: float
    p_proportional: float
    fits: bool
    n_configurations: int


def steps_to(curves: Sequence[Curve | None], sign: float) -> list[tuple[FloatArray, FloatArray] | None]:
    """Each curve's steps and its best smoothed value up to there, lower is better after `sign`; None without points."""
    return [_running_best(curve, sign) for curve in curves]


def _running_best(curve: Curve | None, sign: float) -> tuple[FloatArray, FloatArray] | None:
    if curve is None:
        return None
    finite = np.isfinite(curve.value)
    if finite.sum() < 3:
        return None
    step, value = curve.step[finite], sign * curve.value[finite]
    width = max(value.size // WINDOWS, 1)
    if width > 1:
        kernel = np.ones(width) / width
        value, step = np.convolve(value, kernel, "valid"), np.convolve(step, kernel, "valid")
    return step, np.minimum.accumulate(value)


def reached(best: tuple[FloatArray, FloatArray] | None, target: float) -> float:
    """The step at which the target is reached, between two points by interpolation; NaN where it never is."""
    if best is None or not best[1][-1] <= target:
        return math.nan
    step, value = best
    i = int((value <= target).argmax())
    if i == 0:
        return float(step[0])
    share = (value[i - 1] - target) / (value[i - 1] - value[i])
    return float(step[i - 1] + share * (step[i] - step[i - 1]))


def critical_batch(at: OwnBest) -> CriticalBatch:
    """The critical batch size from ln(steps to the target) at each batch size's own best learning rate.

    ln S = ln S_min + ln(1 + B/batch) (McCandlish et al. 2018) by least squares over B; the interval holds all B that
    a score test does not refuse: whether the derivative of the law at B explains what it leaves. The tests at both
    ends, B = 0 and B infinite, are one-sided, since B is positive.
    """
    grid = np.geomspace(at.batch.min() / REACH, at.batch.max() * REACH, PLACES)
    law = np.log1p(grid / at.batch[:, None])
    along = _score(at, at.y[:, None] - law, grid / (at.batch[:, None] + grid))
    ends = _score(
        at, np.column_stack([at.y, at.y + np.log(at.batch)]),
        np.column_stack([at.batch.min() / at.batch, at.batch / at.batch.max()]),
    )  # fmt: skip
    p_none, p_proportional = (float(x) for x in stdtr(ends.degrees, -ends.t))
    rss = (at.left(at.y[:, None] - law) ** 2).sum(axis=0)
    best = int(rss.argmin())
    inside = np.abs(along.t) <= along.critical
    low = None if p_none > 0.025 else _crossing(grid, along, inside, best, -1)
    high = None if p_proportional > 0.025 else _crossing(grid, along, inside, best, 1)
    estimate = _lowest(np.log(grid), rss, best) if 0 < best < PLACES - 1 else None
    if estimate is None:
        low, high = (low if best else None), (high if not best else None)
    else:  # the least squares and the score test need not agree to the last digit
        low, high = (x if x is None else pick(x, estimate) for x, pick in ((low, min), (high, max)))
    return CriticalBatch(estimate, low, high, max(p_none, p_proportional), p_proportional, _fits(at, law[:, best]),
                         at.y.size)  # fmt: skip


def _lowest(place: FloatArray, rss: FloatArray, best: int) -> float:
    """The minimum of the parabola through the best place and its neighbours; places are evenly spaced logarithms."""
    left, here, right = (float(x) for x in rss[best - 1 : best + 2])
    bend = left - 2 * here + right
    away = 0.5 * (left - right) / bend if bend > 0 else 0.0
    return float(np.exp(place[best] + away * (place[1] - place[0])))


def _score(at: OwnBest, y: FloatArray, columns: FloatArray) -> Tested:
    return tested(at, y, columns)


def _crossing(grid: FloatArray, along: Tested, inside: BoolArray, best: int, way: int) -> float | None:
    """Where |t| passes its critical value on the way from the best; None where it never does."""
    i = best
    while 0 <= i + way < grid.size and (inside[i + way] or (i == best and not inside[i])):
        i += way
    if not 0 <= i + way < grid.size:
        return None
    here, beyond = abs(float(along.t[i])), abs(float(along.t[i + way]))
    share = float(np.clip((along.critical - here) / max(beyond - here, 1e-12), 0.0, 1.0))
    return float(np.exp(np.log(grid[i]) + share * (np.log(grid[i + way]) - np.log(grid[i]))))


def _fits(at: OwnBest, law: FloatArray) -> bool:
    """Whether nothing is left between batch sizes beside the law, by an F test with its one parameter spent."""
    from scipy.stats import f

    sizes = np.unique(at.batch)
    if sizes.size < 4:
        return True
    levels = at.left((at.batch[:, None] == sizes[:-1]).astype(float))
    rest = at.left((at.y - law)[:, None])[:, 0]
    fitted = levels @ np.linalg.lstsq(levels, rest, rcond=1e-9)[0]
    degrees, extra = at.degrees - sizes.size + 1, sizes.size - 2
    if degrees < 4:
        return True
    left = float(((rest - fitted) ** 2).sum())
    ratio = (float((rest**2).sum()) - left) / extra / max(left / degrees, 1e-300)
    return bool(f.sf(ratio, extra, degrees) > DEGREES_OF_THE_LAW)
