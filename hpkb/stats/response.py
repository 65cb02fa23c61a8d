"""The response along one hyperparameter at good values of the others: curve, plateau, optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpkb.stats.encoding import CELLS
from hpkb.stats.surrogate import Surrogate, configurations_of, spread
from hpkb.sweep import BoolArray, FloatArray, Hyperparameter, Sweep

GRID = 33  # points along a number that took more values than that
EDGE = 0.1  # share of the range, on its own scale, that counts as its edge
REFERENCES = (8, 64)  # at least and at most so many reference configurations


@dataclass(frozen=True)
class Response:
    """A curve over `values` (m,) on the hyperparameter's own scale.

    `y` and `half_width` (m,): the predicted objective, lower is better, and half its 95% band. `best` is the index of
    the lowest point; `alike` (m,) says which points cannot be told from it. `plateau`, `optimum`, `low` and `high`
    are on the own scale (of no meaning for a category). `edge_low` and `edge_high` are the shares of bags with their
    lowest point in the first and in the last tenth of the range.
    """

    values: FloatArray
    y: FloatArray
    half_width: FloatArray
    best: int
    alike: BoolArray
    plateau: tuple[float, float]
    optimum: float
    low: float
    high: float
    edge_low: float
    edge_high: float
    floor_known: bool


def response_of(
    sweep: Sweep, surrogate: Surrogate, column: int, floor: float | None, among: BoolArray | None = None
) -> Response | None:
    """The response along the hyperparameter of that column, with a plateau of everything within `floor`.

    Range and reference configurations are taken from the runs `among` (n_runs,), or from all. None where the surrogate
    is not fitted or the hyperparameter has fewer than two values among those that are feasible.
    """
    table = configurations_of(sweep)
    present = ~np.isnan(table.rows[:, column]) if table.y.size else np.zeros(0, dtype=bool)
    if among is not None:
        present &= among[table.first]
    values = _grid(sweep.hyperparameters[column], table.rows[present, column])
    if not surrogate.fitted or values.size < 2:
        return None
    order = np.argsort(table.y[present], kind="stable")
    count = int(np.clip(present.sum() // 4, *REFERENCES))
    chains, bags = surrogate.profile(column, values, table.rows[present][order[:count]])
    y = chains.mean(axis=0)
    best = _lowest(y)
    difference = y - y[best]
    alike = difference <= spread(bags - bags[:, [best]], chains - chains[:, [best]])
    half_width = spread(bags, chains)
    tolerance = floor if floor is not None else float(half_width[best]) / 2
    plateau = _around(values, difference, best, tolerance)
    optimum = float(np.mean(plateau))
    low, high = _hull(values, alike)
    at_low, at_high = _edges(values, bags)
    return Response(
        values, y, half_width, best, alike, plateau, optimum, min(low, optimum), max(high, optimum),
        at_low, at_high, floor is not None,
    )  # fmt: skip


def _grid(h: Hyperparameter, tried: FloatArray) -> FloatArray:
    """The values at which the curve is drawn: all that were tried where they are few, else evenly over the range."""
    distinct = np.unique(tried)
    if h.scale == "category" or distinct.size <= CELLS:
        return distinct
    start = 1 if h.scale == "log" and (h.values == 0).any() else 0  # no values between an exact 0 and the next
    return np.concatenate([distinct[:start], np.linspace(distinct[start], distinct[-1], GRID)])


def _lowest(y: FloatArray) -> int:
    """The middle index of the first run of lowest points: trees make steps, and their middle is the better guess."""
    lowest = np.flatnonzero(y <= y.min() + 1e-12 * max(np.ptp(y), 1e-300))
    gaps = np.flatnonzero(np.diff(lowest) > 1)
    return int(lowest[: gaps[0] + 1 if gaps.size else lowest.size].mean())


def _around(values: FloatArray, difference: FloatArray, best: int, tolerance: float) -> tuple[float, float]:
    """The unbroken range about the best value where the curve stays within `tolerance`, ends interpolated."""
    ends = []
    for step, last in ((-1, 0), (1, values.size - 1)):
        i = best
        while i != last and difference[i + step] <= tolerance:
            i += step
        end = float(values[i])
        if i != last:
            rise = difference[i + step] - difference[i]
            end += float((values[i + step] - values[i]) * (tolerance - difference[i]) / rise)
        ends.append(end)
    return ends[0], ends[1]


def _hull(values: FloatArray, alike: BoolArray) -> tuple[float, float]:
    """The range that holds all values not told from the best, out to halfway to the next ones."""
    inside = np.flatnonzero(alike)
    middles = (values[1:] + values[:-1]) / 2
    edges = np.concatenate([values[:1], middles, values[-1:]])
    return float(edges[inside[0]]), float(edges[inside[-1] + 1])


def _edges(values: FloatArray, bags: FloatArray) -> tuple[float, float]:
    """The shares of bags whose lowest point lies in the first and in the last tenth of the range.

    A tenth and not the last value alone: a forest's steps are that wide, and noise moves the lowest one.
    """
    lowest = values[[_lowest(bag) for bag in bags]]
    margin = EDGE * (values[-1] - values[0])
    return float((lowest <= values[0] + margin).mean()), float((lowest >= values[-1] - margin).mean())
