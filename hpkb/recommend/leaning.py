"""A default that leans on alike tasks: for a new task that is like a known one, or that has only a few runs yet.

Every known task votes with the regret that its forest predicts, weighted by its likeness. Whether the weights help is
tested where the answer is known: one task is left out at a time, chosen for by the others with the same weights, and
its measured regret is held against that of the plain mean over tasks. Only where the weights do not do worse are they
used; else the overall default stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpkb.recommend import candidates
from hpkb.recommend.budget import budget
from hpkb.recommend.candidates import Configuration, Value
from hpkb.recommend.choice import portfolio
from hpkb.recommend.enough import FEWEST_TASKS, is_enough
from hpkb.recommend.given import beyond, inside, moved_beyond, with_given
from hpkb.recommend.laws import Law
from hpkb.recommend.library import placed_library
from hpkb.recommend.likeness import FEWEST_SHARED, Likeness, alike
from hpkb.recommend.regret import regret_summary, worth_random_trials
from hpkb.recommend.rounding import allowance, rounded
from hpkb.recommend.safe_ranges import safe_ranges
from hpkb.recommend.task_model import TaskModel
from hpkb.sweep import FloatArray, Sweep

if TYPE_CHECKING:
    from hpkb.kb.knowledge import KnowledgeBase

LEAST = 0.05  # the weight of the least alike task: likeness is itself an estimate


@dataclass(frozen=True)
class Voter:
    """A task that is leaned on: its weight, why, and what it says of every candidate (n,)."""

    model: TaskModel
    weight: float
    because: str
    predicted: FloatArray


def lean(
    base: KnowledgeBase,
    target: Sweep,
    sweeps: Sequence[Sweep],
    given: Mapping[str, Value],
    k: int,
    is_like: bool,
    laws: Sequence[Law] = (),
) -> dict[str, Any]:
    """Returns the recommendation for a task like `target` (`is_like`), or for the target by its own first runs.

    The document is the contract's, with `leaned_on`: for each task its weight and why. Its verdict is `insufficient`
    where fewer than three tasks can be leaned on, or where the weights did worse than none when they were tested.
    """
    parts = [p for p in alike(base, target, sweeps) if is_enough(p.sweep)]
    if is_like and is_enough(target):
        parts.append(Likeness(target, 1.0, None, target.n_configurations, ("task",)))
    document: dict[str, Any] = {
        "task": None if is_like else target.task, "objective": target.objective, "given": dict(given),
        "configurations": [], "rules": [], "n_tasks": len(parts), "n_runs": sum(p.sweep.n_runs for p in parts),
    }  # fmt: skip
    if is_like:
        document["like"] = target.task
    is_blind = not is_like and all(p.correlation is None and not p.facts for p in parts)
    if len(parts) < FEWEST_TASKS or is_blind:
        reason = f"{len(parts)} tasks have enough runs to lean on; it takes {FEWEST_TASKS}."
        if len(parts) >= FEWEST_TASKS:
            shared = max(p.n_shared for p in parts)
            reason = (
                f"Its own runs do not tell yet which tasks it is like: {shared} configurations lie within what the "
                f"others tried, and it takes {FEWEST_SHARED}."
            )
        return {**document, "verdict": "insufficient", "reason": reason, "leaned_on": []}
    outside = beyond(given, [p.sweep for p in parts])
    document |= _leant(parts, inside(given, outside), k, laws)
    return moved_beyond(document, outside, given, laws)


def _leant(
    parts: Sequence[Likeness], given: Mapping[str, Value], k: int, laws: Sequence[Law]
) -> dict[str, Any]:
    parts = sorted(parts, key=lambda p: (-p.weight, p.sweep.task))
    sweeps = [p.sweep for p in parts]
    names = candidates.shared_names(sweeps, [max(p.weight, LEAST) for p in parts])
    pool = with_given(candidates.observed(sweeps, names), given, laws)
    voters = [_voter(part, names, pool) for part in parts]
    weights = np.array([voter.weight for voter in voters])
    plain = np.ones(len(voters))
    k = min(k, len(pool))
    folds, unweighted = (_leave_one_out(voters, pool, w, k) for w in (weights, plain))
    ours, plain_mean = (_cost(voters, lists, weights) for lists in (folds, unweighted))
    leaned: list[dict[str, Any]] = [
        {"task": v.model.sweep.task, "weight": round(v.weight, 3), "because": v.because} for v in voters
    ]
    if ours > plain_mean:
        reason = (
            f"Leaning on alike tasks did worse than the mean over all of them where it was tested (regret {ours:.2f} "
            f"against {plain_mean:.2f})."
        )
        return {"verdict": "insufficient", "reason": reason, "leaned_on": leaned}
    tried = _choose(voters, pool, weights, k)
    blind = [v.model.without([c for chosen in (*folds, tried) for c in chosen]) for v in voters]
    typed = _typed(tried, blind, weights, given)
    rounded_folds = [
        _typed(chosen, [b for j, b in enumerate(blind) if j != i], np.delete(weights, i), given)
        for i, chosen in enumerate(folds)
    ]
    tasks, models = [v.model.sweep.task for v in voters], [v.model for v in voters]
    tested = np.array([m.outcomes(c, t) for m, c, t in zip(models, rounded_folds, folds, strict=True)])
    configurations: list[dict[str, Any]] = [
        {
            "rank": rank + 1,
            "values": values,
            "plateau": safe_ranges([m.without([tried[rank]]) for m in models], values, given, weights),
            "held_out_regret": regret_summary(tested[:, rank], tasks, weights),
            "worth_random_trials": worth_random_trials(
                float(np.average(tested[:, rank], weights=weights)), [m.regrets for m in models]
            ),
        }
        for rank, values in enumerate(typed)
    ]
    defaults = [chosen[0] for chosen in rounded_folds]
    library = placed_library(sweeps, typed[0], given, models, defaults, weights)
    trials = budget(models, defaults, [name for name in typed[0] if name not in given], 0)
    is_good = configurations[0]["held_out_regret"]["high"] < 1.0
    top = ", ".join(f"{v['task']} ({v['weight']:.2f})" for v in leaned[:3])
    said = "Better" if is_good else "Not shown to be better"
    reason = f"{said} than the median configuration on alike tasks that it was not derived from; leans most on {top}."
    return {
        "configurations": configurations, "verdict": "recommended" if is_good else "insufficient", "reason": reason,
        "leaned_on": leaned, "library_default": library, "budget": trials,
    }  # fmt: skip


def _voter(part: Likeness, names: Sequence[str], pool: Sequence[Configuration]) -> Voter:
    model = TaskModel.fit(part.sweep, names, 0)
    return Voter(model, max(part.weight, LEAST), part.words, model.predict(pool))


def _choose(voters: Sequence[Voter], pool: Sequence[Configuration], weights: FloatArray, k: int) -> list[Configuration]:
    """The first k configurations of the pool by weighted vote."""
    return [pool[pick] for pick in portfolio(np.stack([v.predicted for v in voters]), k, weights)]


def _leave_one_out(
    voters: Sequence[Voter], pool: Sequence[Configuration], weights: FloatArray, k: int
) -> list[list[Configuration]]:
    """For each task what the others choose with these weights."""
    return [
        _choose([v for j, v in enumerate(voters) if j != i], pool, np.delete(weights, i), k) for i in range(len(voters))
    ]  # fmt: skip


def _cost(voters: Sequence[Voter], lists: Sequence[Sequence[Configuration]], weights: FloatArray) -> float:
    """The weighted mean of what the first configuration of each task's list costs there."""
    first = [v.model.outcomes(chosen[:1], chosen[:1])[0] for v, chosen in zip(voters, lists, strict=True)]
    return float(np.average(first, weights=weights))


def _typed(
    tried: Sequence[Configuration], blind: Sequence[TaskModel], weights: FloatArray, given: Mapping[str, Value]
) -> list[dict[str, Value]]:
    """The configurations as a person would type them; the models have seen none of those that were chosen."""

    def predict(asked: Sequence[Configuration]) -> FloatArray:
        return np.asarray(np.average([model.predict(asked) for model in blind], axis=0, weights=weights))

    return rounded(tried, [m.sweep for m in blind], predict, given, allowance(blind, weights))
