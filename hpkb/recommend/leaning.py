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
from scipy.stats import t as student

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Configuration, Value
from hpkb.recommend.choice import portfolio
from hpkb.recommend.defaults import FEWEST_CONFIGURATIONS, FEWEST_TASKS
from hpkb.recommend.likeness import FEWEST_SHARED, Likeness, alike
from hpkb.recommend.regret import CAP, worth_random_trials
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
) -> dict[str, Any]:
    """Returns the recommendation for a task like `target` (`is_like`), or for the target by its own first runs.

    The document is the contract's, with `leaned_on`: for each task its weight and why. Its verdict is `insufficient`
    where fewer than three tasks can be leaned on, or where the weights did worse than none when they were tested.
    """
    parts = [p for p in alike(base, target, sweeps) if _is_usable(p.sweep)]
    if is_like and _is_usable(target):
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
    return {**document, **_leant(parts, given, k)}


def _is_usable(sweep: Sweep) -> bool:
    return sweep.n_configurations >= FEWEST_CONFIGURATIONS and bool(np.isfinite(sweep.y).any())


def _leant(parts: Sequence[Likeness], given: Mapping[str, Value], k: int) -> dict[str, Any]:
    parts = sorted(parts, key=lambda p: (-p.weight, p.sweep.task))
    names = _shared_names(parts)
    pool = candidates.with_given(candidates.observed([p.sweep for p in parts], names), given)
    voters = [_voter(part, names, pool) for part in parts]
    weights = np.array([voter.weight for voter in voters])
    plain = np.ones(len(voters))
    k = min(k, len(pool))
    tested, untested = (_leave_one_out(voters, pool, w, k) for w in (weights, plain))
    ours, plain_mean = (float(np.average(r[:, 0], weights=weights)) for r in (tested, untested))
    leaned: list[dict[str, Any]] = [
        {"task": v.model.sweep.task, "weight": round(v.weight, 3), "because": v.because} for v in voters
    ]
    if ours > plain_mean:
        reason = (
            f"Leaning on alike tasks did worse than the mean over all of them where it was tested (regret {ours:.2f} "
            f"against {plain_mean:.2f})."
        )
        return {"verdict": "insufficient", "reason": reason, "leaned_on": leaned}
    picks = portfolio(np.stack([v.predicted for v in voters]), k, weights)
    configurations: list[dict[str, Any]] = [
        {
            "rank": rank + 1,
            "values": pool[pick],
            "plateau": safe_ranges([v.model.without([pool[pick]]) for v in voters], pool[pick], given, weights),
            "held_out_regret": _summary(tested[:, rank], weights, voters),
            "worth_random_trials": worth_random_trials(
                float(np.average(tested[:, rank], weights=weights)), [v.model.regrets for v in voters]
            ),
        }
        for rank, pick in enumerate(picks)
    ]
    is_good = configurations[0]["held_out_regret"]["high"] < 1.0
    top = ", ".join(f"{v['task']} ({v['weight']:.2f})" for v in leaned[:3])
    said = "Better" if is_good else "Not shown to be better"
    reason = f"{said} than the median configuration on alike tasks that it was not derived from; leans most on {top}."
    verdict = "recommended" if is_good else "insufficient"
    return {"configurations": configurations, "verdict": verdict, "reason": reason, "leaned_on": leaned}


def _voter(part: Likeness, names: Sequence[str], pool: Sequence[Configuration]) -> Voter:
    model = TaskModel.fit(part.sweep, names, 0)
    return Voter(model, max(part.weight, LEAST), part.words, model.predict(pool))


def _shared_names(parts: Sequence[Likeness]) -> list[str]:
    """Hyperparameters that half of the weight has varied, and two tasks at least."""
    weight: dict[str, float] = {}
    count: dict[str, int] = {}
    for part in parts:
        for h in part.sweep.hyperparameters:
            weight[h.name] = weight.get(h.name, 0.0) + max(part.weight, LEAST)
            count[h.name] = count.get(h.name, 0) + 1
    total = sum(max(part.weight, LEAST) for part in parts)
    return sorted(name for name in weight if count[name] >= 2 and weight[name] >= total / 2)


def _leave_one_out(
    voters: Sequence[Voter], pool: Sequence[Configuration], weights: FloatArray, k: int
) -> FloatArray:
    """The regret on each task of what the others choose with these weights, (tasks, k)."""
    predicted = np.stack([v.predicted for v in voters])
    rows = []
    for i, voter in enumerate(voters):
        picks = portfolio(np.delete(predicted, i, axis=0), k, np.delete(weights, i))
        rows.append([voter.model.outcome(pool[pick]) for pick in picks])
    return np.array(rows)


def _summary(regrets: FloatArray, weights: FloatArray, voters: Sequence[Voter]) -> dict[str, Any]:
    """The weighted mean with Student's interval at the effective number of tasks (Kish 1965), and the worst task."""
    tasks = [v.model.sweep.task for v in voters]
    mean = float(np.average(regrets, weights=weights))
    n = float(weights.sum() ** 2 / (weights**2).sum())
    spread = float(np.average((regrets - mean) ** 2, weights=weights)) * n / max(n - 1, 1e-9)
    half = float(student.ppf(0.975, max(n - 1, 0.5))) * float(np.sqrt(spread / n))
    worst = int(regrets.argmax())
    return {
        "mean": mean, "low": max(0.0, mean - half), "high": min(CAP, mean + half), "worst": float(regrets[worst]),
        "worst_task": tasks[worst], "tasks": len(tasks),
        "by_task": {task: float(r) for task, r in zip(tasks, regrets, strict=True)},
    }  # fmt: skip
