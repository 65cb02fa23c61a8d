"""The list of configurations that the runs of several tasks speak for, on a task that is none of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Configuration
from hpkb.recommend.population import Population, Space, evidence
from hpkb.recommend.task_model import TaskModel
from hpkb.sweep import FloatArray

FEWEST_RELATED = 4  # tasks, so that the one that differs is told from the others
LEVEL = 0.01  # of the test that a task agrees with the others at all
FEWEST_CONFIGURATIONS = 30  # fewer cannot show that it does


def choose(models: Sequence[TaskModel], pool: Sequence[Configuration], k: int, seed: int) -> list[int]:
    """Returns the numbers of the first k picks from the pool.

    Greedy: each next configuration lowers the mean, over draws of an unseen task, of the least regret in the list the
    most. The mean of the least is submodular in the list, so that the gain is at least 1 - 1/e of that of the best
    list of this length (Nemhauser, Wolsey & Fisher 1978).
    """
    space = Space.of([m.sweep for m in models], sorted({name for c in pool for name in c}))
    read = [[candidates.read(m.sweep, row, space.names) for row in candidates.first_rows(m.sweep)] for m in models]
    process = Population.fit(evidence([m.sweep for m in models], space, read, seed), seed)
    best, draws = process.unseen(space.encode(pool), seed)
    return [int(best[pick]) for pick in portfolio(draws, k)]


def portfolio(regrets: FloatArray, k: int) -> list[int]:
    """Returns the greedy list from regrets (tasks or draws, candidates): no two the same, at most all candidates."""
    best = np.full(regrets.shape[0], np.inf)
    picks: list[int] = []
    for _ in range(min(k, regrets.shape[1])):
        gain = np.minimum(best[:, None], regrets).mean(axis=0)
        gain[picks] = np.inf
        picks.append(int(gain.argmin()))
        best = np.minimum(best, regrets[:, picks[-1]])
    return picks


def unrelated(models: Sequence[TaskModel]) -> list[int]:
    """Returns the numbers of the tasks whose outcomes the others do not predict, or predict the wrong way round.

    The mean of the others' forests against what the task measured, Spearman, one-sided. Where that would set more
    than a third of the tasks aside, the tasks differ and none of them misleads: none is returned.
    """
    if len(models) < FEWEST_RELATED:
        return []
    found = [i for i in range(len(models)) if _is_unrelated(models, i)]
    return found if 3 * len(found) <= len(models) else []


def _is_unrelated(models: Sequence[TaskModel], number: int) -> bool:
    model = models[number]
    names = [h.name for h in model.sweep.hyperparameters]
    asked = [candidates.read(model.sweep, row, names) for row in candidates.first_rows(model.sweep)]
    predicted = np.mean([m.predict(asked) for i, m in enumerate(models) if i != number], axis=0)
    if len(asked) < FEWEST_CONFIGURATIONS or np.ptp(predicted) == 0 or np.ptp(model.regrets) == 0:
        return False
    return bool(spearmanr(predicted, model.regrets, alternative="greater").pvalue > LEVEL)
