"""Configurations rounded to what a person would type, where that costs nothing that could be seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Configuration, Value
from hpkb.recommend.task_model import TaskModel
from hpkb.recommend.typed import ladder
from hpkb.sweep import FloatArray, Sweep

Predict = Callable[[Sequence[Configuration]], FloatArray]

UNTOLD = 0.02  # regret that rounding may cost where no task's noise floor is known
MOST = 0.05  # and where it is


def allowance(models: Sequence[TaskModel], weights: FloatArray | None = None) -> float:
    """Returns the regret that rounding may cost on average over the tasks: the noise floor of that average.

    A mean over the tasks that know their floor; their seeds scatter independently of each other.
    """
    floors = np.array([np.nan if m.floor is None else m.floor for m in models])
    w = (np.ones(len(models)) if weights is None else weights)[np.isfinite(floors)]
    if not w.any():
        return UNTOLD
    return min(float(np.sqrt(((w * floors[np.isfinite(floors)]) ** 2).sum()) / w.sum()), MOST)


def rounded(
    configurations: Sequence[Configuration], sweeps: Sequence[Sweep], predict: Predict, given: Mapping[str, Value],
    allowed: float,
) -> list[dict[str, Value]]:  # fmt: skip
    """Returns the configurations as a person would type them, no two the same; what is `given` stays as it is.

    `predict` gives the mean regret over the tasks of each of several configurations, (n,). Where rounding raises it by
    more than `allowed`, the value whose next digit lowers it the most gets that digit, until it does not.
    """
    ladders = [_ladders(c, sweeps, given) for c in configurations]
    coarse = [_at(c, rungs, dict.fromkeys(rungs, 0)) for c, rungs in zip(configurations, ladders, strict=True)]
    regrets = predict([*configurations, *coarse])
    found: list[dict[str, Value]] = []
    for i, (configuration, rungs) in enumerate(zip(configurations, ladders, strict=True)):
        limit, chosen = float(regrets[i]) + allowed, coarse[i]
        if regrets[len(configurations) + i] > limit:
            chosen = _finer(configuration, rungs, predict, limit)
        is_new = candidates.key(chosen) not in map(candidates.key, found)
        found.append(chosen if is_new else dict(configuration))
    return found


def _ladders(
    configuration: Configuration, sweeps: Sequence[Sweep], given: Mapping[str, Value]
) -> dict[str, list[float]]:
    numbers = {n: float(v) for n, v in configuration.items() if n not in given and not isinstance(v, str)}
    return {name: ladder(value, name, sweeps) for name, value in numbers.items()}


def _at(
    configuration: Configuration, ladders: Mapping[str, Sequence[float]], rung: Mapping[str, int]
) -> dict[str, Value]:
    return {**configuration, **{name: ladders[name][at] for name, at in rung.items()}}


def _finer(
    configuration: Configuration, ladders: Mapping[str, Sequence[float]], predict: Predict, limit: float
) -> dict[str, Value]:
    """The configuration with as few more digits as it takes; as it was where it takes all of them."""
    rung = dict.fromkeys(ladders, 0)
    while True:
        moves = [{**rung, n: at + 1} for n, at in rung.items() if at + 1 < len(ladders[n])]
        if not moves:
            return dict(configuration)
        regrets = predict([_at(configuration, ladders, move) for move in moves])
        rung = moves[int(regrets.argmin())]
        if regrets.min() <= limit:
            return _at(configuration, ladders, rung)
