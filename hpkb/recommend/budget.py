"""How many random trials are worth their cost, when all is tuned or only the learning rate.

A search is worth going on with as long as twice as many trials are expected to lower the regret by more than seeds
scatter it. The expected best of k is that of k configurations drawn from those that a task tried, its forest saying
what they cost where only a part of their values is taken and the rest is as recommended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Value
from hpkb.recommend.enough import FEWEST_TASKS
from hpkb.recommend.regret import best_of_each, best_of_random
from hpkb.recommend.task_model import TaskModel
from hpkb.stats.sampling import drawn
from hpkb.sweep import FloatArray

SETS = (("learning_rate",), ("learning_rate", "weight_decay"))
MOST = 256  # trials
POOL = 500  # configurations of a task
RESAMPLED = 100  # times, where one task alone speaks


def budget(
    models: Sequence[TaskModel], defaults: Sequence[Mapping[str, Value]], names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Returns for each set of hyperparameters after how many trials a doubling gains less than the noise floor.

    `defaults` are what each task starts from, one a task. The number is the geometric mean over the tasks with
    Student's interval; of one task that of its resampled configurations. An end beyond half of what was tried is None.
    """
    known = [(m, d, m.floor) for m, d in zip(models, defaults, strict=True) if m.floor is not None]
    if not known or (len(models) > 1 and len(known) < FEWEST_TASKS):
        said = "is not known" if len(models) == 1 else f"is known of {len(known)} of {len(models)} tasks"
        reason = f"How far seeds scatter {said}: repeat three good configurations of a task with another seed."
        return {"verdict": "insufficient", "noise_floor": None, "sets": [], "reason": reason}
    sets = [s for s in SETS if set(s) < set(names)] + [tuple(names)]
    floors = [floor for *_, floor in known]
    return {
        "verdict": "supported", "noise_floor": float(np.mean(floors)), "reason": "",
        "sets": [_of_set([(_pool(m, d, s, seed), f) for m, d, f in known], s, seed) for s in sets],
    }  # fmt: skip


def _pool(model: TaskModel, default: Mapping[str, Value], names: Sequence[str], seed: int) -> FloatArray:
    """The predicted regrets of the default with the named values of what the task tried, (configurations,)."""
    rows = np.array(candidates.first_rows(model.sweep))
    rows = rows[drawn(rows.size, POOL, [seed, 8])]
    return model.predict([{**default, **own} for own in candidates.read_all(model.sweep, names, rows.tolist())])


def _of_set(pools: Sequence[tuple[FloatArray, float]], names: Sequence[str], seed: int) -> dict[str, Any]:
    each = np.array([worth_trying(pool, floor) for pool, floor in pools], dtype=np.float64)
    if len(pools) > 1:
        logs = np.log(each)
        half = float(student.ppf(0.975, logs.size - 1)) * float(logs.std(ddof=1)) / logs.size**0.5
        trials, low, high = (float(np.exp(logs.mean() + d)) for d in (0.0, -half, half))
    else:
        (pool, floor), rng = pools[0], np.random.default_rng([seed, 9])
        again = [worth_trying(rng.choice(pool, pool.size), floor) for _ in range(RESAMPLED)]
        trials, (low, high) = float(each[0]), np.quantile(again, [0.025, 0.975])
    number = max(1, round(trials))
    is_open = any(k >= _most(pool) for k, (pool, _) in zip(each, pools, strict=True))
    return {
        "hyperparameters": list(names), "trials": number, "low": max(1, int(np.floor(low))),
        "high": None if is_open else int(np.ceil(high)),
        "expected_regret": float(np.mean([best_of_random(pool, number) for pool, _ in pools])),
        "tasks": len(pools),
    }  # fmt: skip


def worth_trying(pool: FloatArray, floor: float) -> int:
    """Returns the number of random trials from which on twice as many gain less than `floor`, at most half the pool."""
    numbers = np.arange(1, _most(pool) + 1)
    expected = best_of_each(pool, np.arange(1, 2 * numbers[-1] + 1))
    gains = expected[numbers - 1] - expected[2 * numbers - 1]
    worth = np.flatnonzero(gains >= floor)
    return min(int(worth[-1]) + 2, int(numbers[-1])) if worth.size else 1


def _most(pool: FloatArray) -> int:
    return max(1, min(MOST, pool.size // 2))

