"""What a default costs on tasks that it was not derived from: some tasks are left out, and the others choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpkb.recommend.candidates import Configuration, Value
from hpkb.recommend.choice import choose
from hpkb.recommend.rounding import allowance, rounded
from hpkb.recommend.task_model import TaskModel
from hpkb.sweep import FloatArray

FOLDS = 12  # of a test over tasks


@dataclass(frozen=True)
class Pick:
    """A configuration of the pool, and the same as a person would type it."""

    tried: Configuration
    typed: dict[str, Value]


@dataclass(frozen=True)
class HeldOut:
    """What lists cost on the tasks that they were chosen without, as they would be typed.

    `regrets` (tasks, k) of each place in the list; `measured` (tasks, k) says where the task ran the configuration, or
    the one that it was rounded from, so that no forest alone was asked. `defaults` are the first of each task's list.
    """

    regrets: FloatArray
    measured: FloatArray
    defaults: tuple[dict[str, Value], ...]


def chosen(
    models: Sequence[TaskModel], pool: Sequence[Configuration], given: Mapping[str, Value], k: int, seed: int
) -> list[Pick]:
    """Returns the first k picks of these tasks, rounded."""
    choice = choose(models, pool, k, seed)
    tried = [pool[pick] for pick in choice.picks]
    typed = rounded(tried, [m.sweep for m in models], choice.predict, given, allowance(models))
    return [Pick(*pair) for pair in zip(tried, typed, strict=True)]


def held_out(
    models: Sequence[TaskModel], which: Callable[[Sequence[int]], list[int]], groups: Sequence[Sequence[int]],
    pool: Sequence[Configuration], given: Mapping[str, Value], k: int, seed: int,
) -> HeldOut:  # fmt: skip
    """Returns the regrets on each task of what the tasks of all other groups choose.

    `groups` are the numbers of tasks that are left out together; where there are more than `FOLDS` groups, several are
    left out at a time. `which` of the others are used is told without those.
    """
    regrets, measured = np.empty((len(models), k)), np.empty((len(models), k))
    defaults: dict[int, dict[str, Value]] = {}
    for fold in np.array_split(np.arange(len(groups)), min(FOLDS, len(groups))):
        out = [i for group in fold for i in groups[group]]
        others = which([i for i in range(len(models)) if i not in out])
        picks = chosen([models[i] for i in others], pool, given, k, seed)
        for i in out:
            defaults[i] = picks[0].typed
            regrets[i] = models[i].outcomes([p.typed for p in picks], [p.tried for p in picks])
            measured[i] = [models[i].has_run(p.typed) or models[i].has_run(p.tried) for p in picks]
    return HeldOut(regrets, measured, tuple(defaults[i] for i in range(len(models))))
