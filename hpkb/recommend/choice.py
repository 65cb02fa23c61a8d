"""The list of configurations that the runs of several tasks speak for, on a task that is none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from hpkb.names import lookup
from hpkb.recommend import candidates
from hpkb.recommend.candidates import Configuration
from hpkb.recommend.population import Population, Space, evidence
from hpkb.recommend.task_model import TaskModel
from hpkb.stats.sampling import drawn
from hpkb.sweep import FloatArray, IntArray, Sweep

FEWEST_RELATED = 4  # tasks, so that the one that differs is told from the others
# From four tasks of the demo the process chose what cost 0.52 on the fifth, the forests what cost 0.17; from seven of
# `hpobench_mlp` it was 0.15 against 0.18 (`bench/defaults.py`).
FEWEST_DRAWN_FROM = 6
LEVEL = 0.01  # of the test that a task agrees with the others at all
FEWEST_CONFIGURATIONS = 30  # fewer cannot show that it does
TOLD_BY = 500  # configurations at most


@dataclass(frozen=True)
class Choice:
    """The numbers of the picks in the pool, and what is predicted of any configurations: their mean regret, (n,)."""

    picks: tuple[int, ...]
    predict: Callable[[Sequence[Configuration]], FloatArray]


def choose(models: Sequence[TaskModel], pool: Sequence[Configuration], k: int, seed: int) -> Choice:
    """Returns the first k picks from the pool.

    Greedy: each next configuration lowers the mean, over draws of an unseen task, of the least regret in the list the
    most. The mean of the least is submodular in the list, so that the gain is at least 1 - 1/e of that of the best
    list of this length (Nemhauser, Wolsey & Fisher 1978). Where there are few tasks to draw from, each task's own
    forest stands for a draw.
    """
    if len(models) < FEWEST_DRAWN_FROM:
        few = portfolio(np.stack([model.predict(pool) for model in models]), k)
        # a forest fits its own runs so well that it favours what was run over what it is rounded to
        without = [model.without([pool[pick] for pick in few]) for model in models]
        return Choice(tuple(few), lambda asked: np.mean([model.predict(asked) for model in without], axis=0))
    space = _space([m.sweep for m in models], pool)
    read = [candidates.read_all(m.sweep, space.names) for m in models]
    process = Population.fit(evidence([m.sweep for m in models], space, read, seed), seed)
    best, draws = process.unseen(space.encode(pool), seed)
    picks = tuple(int(best[pick]) for pick in portfolio(draws, k))
    return Choice(picks, lambda asked: process.regrets(space.encode(asked)).mean(axis=0))


def _space(sweeps: Sequence[Sweep], pool: Sequence[Configuration]) -> Space:
    """The space of what the pool sets: what a task varies, and numbers that each task has held at its own value."""
    names = sorted({name for c in pool for name in c})
    space = Space.of(sweeps, names)
    for name in names:
        held = [] if name in space.names else [candidates.number(s.fixed[name]) for s in sweeps if name in s.fixed]
        numbers = [x for x in held if not isinstance(x, str)]
        if numbers:
            known = lookup(name)
            space = space.with_range(name, min(numbers), max(numbers), known is not None and known.scale == "log")
    return space


def portfolio(regrets: FloatArray, k: int, weights: FloatArray | None = None) -> list[int]:
    """Returns the greedy list from regrets (tasks or draws, candidates): no two the same, at most all candidates.

    The mean over tasks or draws is by `weights` where they are given.
    """
    best = np.full(regrets.shape[0], np.inf)
    picks: list[int] = []
    for _ in range(min(k, regrets.shape[1])):
        gain = np.average(np.minimum(best[:, None], regrets), axis=0, weights=weights)
        gain[picks] = np.inf
        picks.append(int(gain.argmin()))
        best = np.minimum(best, regrets[:, picks[-1]])
    return picks


def related(models: Sequence[TaskModel]) -> Callable[[Sequence[int]], list[int]]:
    """Returns a function that gives those of some tasks, by number, that the others among them predict.

    The mean of the others' forests against what the task measured, Spearman, one-sided. Where that would set more
    than a third of the tasks aside, the tasks differ and none of them misleads: all are given.
    """
    predicted = [_everywhere(models, model) for model in models]

    def of(numbers: Sequence[int]) -> list[int]:
        if len(numbers) < FEWEST_RELATED:
            return list(numbers)
        kept = [i for i in numbers if _agrees(models[i], predicted[i][[j for j in numbers if j != i]])]
        return kept if 3 * (len(numbers) - len(kept)) <= len(numbers) else list(numbers)

    return of


def _everywhere(models: Sequence[TaskModel], asked: TaskModel) -> FloatArray:
    """What every task's forest predicts for the configurations of one task, (tasks, configurations)."""
    names = [h.name for h in asked.sweep.hyperparameters]
    rows = np.array(candidates.first_rows(asked.sweep))[_some(asked)]
    configurations = candidates.read_all(asked.sweep, names, rows.tolist())
    return np.stack([model.predict(configurations) for model in models])


def _some(model: TaskModel) -> IntArray:
    """The numbers of the configurations that a task is told from the others by: enough of them, drawn at random."""
    return drawn(model.sweep.n_configurations, TOLD_BY)


def _agrees(model: TaskModel, predicted: FloatArray) -> bool:
    """Whether the others' predictions (tasks, configurations) do not fail to tell the task's outcomes."""
    mean, measured = predicted.mean(axis=0), model.regrets[_some(model)]
    if measured.size < FEWEST_CONFIGURATIONS or np.ptp(mean) == 0 or np.ptp(measured) == 0:
        return True
    return bool(spearmanr(mean, measured, alternative="greater").pvalue <= LEVEL)
