"""The range around each value of a default in which the result stays as good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Configuration, Value
from hpkb.recommend.task_model import TaskModel
from hpkb.sweep import BoolArray, FloatArray

TOLERANCE = 0.1  # regret that a safe range may give away


def safe_ranges(
    without: Sequence[TaskModel], default: Configuration, given: Mapping[str, Value], weights: FloatArray | None = None
) -> dict[str, list[float]]:
    """For each numeric value of the default the range around it in which the mean predicted regret stays as good.

    The models `without` it have not seen the default: forests fit its own runs so well that every range would be a
    point. The mean over them is by `weights`, (models,), where they are given.
    """
    grids: dict[str, FloatArray] = {}
    for name, value in default.items():
        if name not in given and not isinstance(value, str):
            grids[name] = candidates.numeric_grid([m.sweep for m in without], name)
    varied = [{**default, name: float(v)} for name, grid in grids.items() for v in grid]
    predicted = [model.predict([*varied, default]) for model in without]  # at once: forests are slow to ask
    regret = np.average(predicted, axis=0, weights=weights)
    ranges: dict[str, list[float]] = {}
    start = 0
    for name, grid in grids.items():
        if grid.size:
            good = regret[start : start + grid.size] <= regret[-1] + TOLERANCE
            start += grid.size
            value = float(default[name])
            low, high = _around(good, int(np.abs(grid - value).argmin()))
            ranges[name] = [min(float(grid[low]), value), max(float(grid[high]), value)]
    return ranges


def _around(good: BoolArray, start: int) -> tuple[int, int]:
    """The ends of the run of True that holds `start`; `start` itself where it is False."""
    low = high = start
    while low > 0 and good[low - 1]:
        low -= 1
    while high < good.size - 1 and good[high + 1]:
        high += 1
    return low, high
