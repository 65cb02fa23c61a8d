"""The response along one hyperparameter at good values of the others: curve, plateau, optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from hpkb.stats.encoding import CELLS
from hpkb.stats.gaussian import Process, profiles
from hpkb.stats.noise_trend import without_repeats
from hpkb.stats.surrogate import configurations_of
from hpkb.sweep import BoolArray, FloatArray, Hyperparameter, Sweep

GRID = 33  # points along a number that took more values than that
EDGE = 0.1  # share of the range, on its own scale, that counts as its edge
ATTAINED = 0.1  # the best such share of the reference settings says what can be attained at a value


@dataclass(frozen=True)
class Response:
    """A curve over `values` (m,) on the hyperparameter's own scale.

    `y` and `half_width` (m,): the predicted objective, lower is better, and half its 95% band. `best` is the index of
    the lowest point; `alike` (m,) says which points cannot be told from it. `attained` is what can be attained at best,
    `lost` how much of that the worst value costs, with half its interval. `plateau`, `optimum`, `low` and `high` are on
    the own scale (of no meaning for a category). `edge_low` and `edge_high` are the shares of refits with their lowest
    point in the first and in the last tenth of the range.
    """

    values: FloatArray
    y: FloatArray
    half_width: FloatArray
    best: int
    alike: BoolArray
    attained: float
    lost: float
    lost_half_width: float
    plateau: tuple[float, float]
    optimum: float
    low: float
    high: float
    edge_low: float
    edge_high: float
    floor_known: bool


def response_of(
    sweep: Sweep, process: Process | None, column: int, floor: float | None, among: BoolArray | None = None
) -> Response | None:
    """The response along the hyperparameter of that column, with a plateau of everything within `floor`.

    Range and reference configurations are taken from the runs `among` (n_runs,), or from all. The curve is the mean
    over the reference settings, as in an isolation plot. The plateau is that of what can be attained: the mean of the
    best tenth of them at each value, since a setting that a value does not suit can be exchanged. It holds all values
    that are not shown to lose more than `floor`, or more than near-duplicates scatter where that is not known. The
    interval of the optimum is that of the refits' lowest points, and holds all values that they do not tell from those
    within the floor of the lowest. None where there is no process, or where the hyperparameter has fewer than two
    values among the runs that are feasible.
    """
    table = configurations_of(sweep)
    present = ~np.isnan(table.rows[:, column]) if table.y.size else np.zeros(0, dtype=bool)
    if among is not None:
        present &= among[table.first]
    values = _grid(sweep.hyperparameters[column], table.rows[present, column])
    if process is None or values.size < 2:
        return None
    cube = profiles(sweep, process, column, values, among)
    assert cube is not None
    curves, attained = cube.mean(axis=1), _attained(cube)
    best = _lowest(curves[0])
    loss = attained - attained.min(axis=1, keepdims=True)
    tolerance = without_repeats(process).sd if floor is None else floor
    outside = loss[0] - _half_width(loss) > tolerance
    lowest = np.array([_place(values, curve) for curve in curves])
    optimum, half = float(lowest[0]), float(stdtrit(len(lowest) - 2, 0.975) * lowest[1:].std(ddof=1))
    plateau = _around(values, ~outside, int(np.argmin(attained[0])))
    worst = int(np.argmax(loss[0]))
    away = curves - curves[:, [best]]
    alike = away[0] <= _half_width(away)
    # A smooth curve rounds a cliff off: its lowest point lies off the true one by what noise hides.
    low, high = _hull(values, away[0] <= _half_width(away) + tolerance)
    return Response(
        values, curves[0], _half_width(curves), best, alike, float(attained[0].min()),
        float(loss[0, worst]), float(_half_width(loss)[worst]), (min(plateau[0], optimum), max(plateau[1], optimum)),
        optimum, max(min(optimum - half, low), float(values[0])), min(max(optimum + half, high), float(values[-1])),
        *_edges(values, lowest[1:]), floor is not None,
    )  # fmt: skip


def _attained(cube: FloatArray) -> FloatArray:
    """The mean of the best settings at each value, (fits, settings, m) to (fits, m)."""
    count = max(1, round(ATTAINED * cube.shape[1]))
    return np.asarray(np.partition(cube, count - 1, axis=1)[:, :count].mean(axis=1))


def _half_width(curves: FloatArray) -> FloatArray:
    """Half of Student's 95% interval of the first curve, from the others, which are refits, (1 + refits, m)."""
    return np.asarray(stdtrit(len(curves) - 2, 0.975) * curves[1:].std(axis=0, ddof=1))


def _grid(h: Hyperparameter, tried: FloatArray) -> FloatArray:
    """The values at which the curve is drawn: all that were tried where they are few, else evenly over the range."""
    distinct = np.unique(tried)
    if h.scale == "category" or distinct.size <= CELLS:
        return distinct
    start = 1 if h.scale == "log" and (h.values == 0).any() else 0  # no values between an exact 0 and the next
    return np.concatenate([distinct[:start], np.linspace(distinct[start], distinct[-1], GRID)])


def _lowest(y: FloatArray) -> int:
    """The middle index of the lowest points, where several are alike."""
    lowest = np.flatnonzero(y <= y.min() + 1e-12 * max(np.ptp(y), 1e-300))
    return int(lowest[lowest.size // 2])


def _place(values: FloatArray, y: FloatArray) -> float:
    """The lowest place of a curve, between its points by the parabola through the lowest and its neighbours."""
    i = _lowest(y)
    if values.size <= CELLS or i in (0, values.size - 1):
        return float(values[i])
    left, right = y[i - 1] - y[i], y[i + 1] - y[i]
    off = 0.5 * (left - right) / (left + right) if left + right > 0 else 0.0
    step = values[i + 1] - values[i] if off > 0 else values[i] - values[i - 1]
    return float(values[i] + off * step)


def _around(values: FloatArray, inside: BoolArray, best: int) -> tuple[float, float]:
    """The range about the best value in which no value is outside, out to halfway to the next ones that are."""
    ends = []
    for step, last in ((-1, 0), (1, values.size - 1)):
        i = best
        while i != last and inside[i + step]:
            i += step
        ends.append(float(values[i] if i == last or values.size <= CELLS else (values[i] + values[i + step]) / 2))
    return ends[0], ends[1]


def _hull(values: FloatArray, alike: BoolArray) -> tuple[float, float]:
    """The range of all values that are not told from the best, out to halfway to the next ones where it is a range."""
    inside = np.flatnonzero(alike)
    if values.size <= CELLS:
        return float(values[inside[0]]), float(values[inside[-1]])
    edges = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])
    return float(edges[inside[0]]), float(edges[inside[-1] + 1])


def _edges(values: FloatArray, lowest: FloatArray) -> tuple[float, float]:
    """The shares of refits whose lowest point lies in the first and in the last tenth of the range."""
    margin = EDGE * (values[-1] - values[0])
    return float((lowest <= values[0] + margin).mean()), float((lowest >= values[-1] - margin).mean())
