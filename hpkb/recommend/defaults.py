"""The default of each task and of all tasks, chosen on surrogates and tested where it was not derived.

Over all tasks: one process over all of them says what an unseen task may be like (`population`); the default has the
least regret on average over draws of it, and a list of k is filled greedily (`choice`). The test leaves one task out at
a time, chooses on the others, and looks up the regret that was *measured* on the task left out; only where that task
never ran the configuration is its own forest asked.

For one task: the test splits its configurations in two, chooses on one half and measures on the other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from hpkb.recommend import candidates
from hpkb.recommend.budget import budget
from hpkb.recommend.by_scale import fitting, moved_to_scale, unused, without_sizes
from hpkb.recommend.candidates import Value
from hpkb.recommend.choice import related
from hpkb.recommend.enough import FEWEST_TASKS, is_enough, lacks
from hpkb.recommend.families import Families, families_of
from hpkb.recommend.given import beyond, followed, inside, moved_beyond, put_in, tied, with_given
from hpkb.recommend.held_out import chosen, held_out
from hpkb.recommend.laws import Law
from hpkb.recommend.library import library_default, placed_library, with_regret
from hpkb.recommend.regret import mean_interval, regret_summary, worth_random_trials
from hpkb.recommend.rounding import allowance, rounded
from hpkb.recommend.safe_ranges import safe_ranges
from hpkb.recommend.scale_rules import scale_rules
from hpkb.recommend.search_space import search_space
from hpkb.recommend.split_half import split_half
from hpkb.recommend.task_model import TaskModel
from hpkb.stats.sampling import drawn
from hpkb.sweep import FloatArray, Sweep

FEWEST_TRIALS = 5  # random trials that a default which fails on one task is worth, for it to be one nevertheless
LEVEL = 0.01  # of the test that a task's default rests on more than noise
TRIED = 4_000  # configurations of those that were tried, drawn at random where there are more
MIXED = 2_000  # configurations beside those that were tried, where tasks tried different ones


def recommend(
    sweeps: Sequence[Sweep],
    task: str | None = None,
    given: Mapping[str, Value] | None = None,
    k: int = 1,
    seed: int = 0,
    laws: Sequence[Law] = (),
) -> dict[str, Any]:
    """Returns the recommendation for one task, or over all tasks, as the JSON document of the contract.

    `given` fixes values; `k` is the length of the list, its first entry the single default. `laws` say how the best
    learning rate goes with a value that is given.
    """
    asked = dict(given or {})
    of_task = sorted((s for s in sweeps if task is None or s.task == task), key=lambda s: s.task)
    document = _document(of_task, task, asked)
    reason = _too_little(of_task, task)
    if reason:
        return document | {"verdict": "insufficient", "reason": reason}
    rules = scale_rules(of_task) if task is None else []
    rule = fitting(rules, asked)
    settable = asked if task else without_sizes(asked)
    outside = beyond(settable, of_task)
    held = inside(settable, outside)
    if rule is not None:
        outside = [one for one in outside if one.name not in rule.exponents]
    p_value = 0.0
    if task:
        configurations, beside, p_value = _for_task(of_task[0], held, laws, k, seed)
    else:
        configurations, beside = _over_tasks(of_task, held, laws, k, seed)
    verdict, reason = _verdict(configurations[0], task, beside.get("set_aside", ()))
    if verdict == "recommended" and p_value > LEVEL:
        verdict, reason = (
            "insufficient",
            "The regret of a configuration cannot be predicted from the others: noise.",
        )
    names = [name for name in configurations[0]["values"] if name not in asked]
    document |= {"search_space": search_space(of_task, names)}
    if task is None:
        document["rules"] = [rule.document() for rule in rules]
        reason = " ".join(filter(None, [reason, "" if rule else unused(rules, asked)]))
    if task and asked:
        anchored = {one.name for one in outside}
        beside["conditional"] = [n for n in beside["conditional"] if n["hyperparameter"] not in anchored]
        said = (*(note["words"] for note in beside["conditional"]), "The test is of the default with nothing given.")
        reason = " ".join([reason, *said])
    document |= beside | {"configurations": configurations, "verdict": verdict, "reason": reason}
    if rule is not None:
        document = moved_to_scale(document, rule, asked)
    return moved_beyond(document, outside, asked, laws)


def _document(sweeps: Sequence[Sweep], task: str | None, given: Mapping[str, Value]) -> dict[str, Any]:
    objectives = sorted({s.objective for s in sweeps})
    return {
        "task": task, "objective": ", ".join(objectives), "given": given, "configurations": [], "rules": [],
        "n_tasks": len(sweeps), "n_runs": sum(s.n_runs for s in sweeps),
    }  # fmt: skip


def _too_little(sweeps: Sequence[Sweep], task: str | None) -> str:
    if task is not None:
        return lacks(sweeps[0]) if sweeps else "No run has an outcome yet."
    usable = [s for s in sweeps if is_enough(s)]
    if len(usable) < FEWEST_TASKS:
        return (
            f"{len(usable)} tasks have enough runs; a default for all tasks needs {FEWEST_TASKS}, "
            "so that it can be tested on one that it was not derived from."
        )
    return ""


def _verdict(default: Mapping[str, Any], task: str | None, apart: Collection[str]) -> tuple[str, str]:
    regret, trials = default["held_out_regret"], default["worth_random_trials"]
    where = (
        "on tasks that it was not derived from"
        if task is None
        else "on configurations that it was not chosen from"
    )
    if regret["high"] >= 1.0:
        return "insufficient", f"Not shown to be better than the median configuration {where}."
    if task is None:
        worst = max((r, name) for name, r in regret["by_task"].items() if name not in apart)
        if worst[0] >= 1.0 and trials < FEWEST_TRIALS:
            return "insufficient", (
                f"No constant transfers: chosen on the other tasks it has regret {worst[0]:.2f} on {worst[1]}, no "
                f"better than the median configuration there, and over all tasks it is worth {trials} random "
                f"trial{'s' if trials > 1 else ''}. Search ranges instead, on each task anew."
            )
    return "recommended", f"Better than the median configuration {where}."


# Over all tasks


def _over_tasks(
    sweeps: Sequence[Sweep], given: Mapping[str, Value], laws: Sequence[Law], k: int, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The configurations, and what else the document says: which tasks were set aside, the library's default, ..."""
    usable = [s for s in sweeps if is_enough(s)]
    names = candidates.shared_names(usable)
    models = [TaskModel.fit(s, names, seed) for s in usable]
    which = related(models)
    used = which(range(len(models)))
    pool = with_given(_pool(usable, names, seed), given, laws)
    picks = chosen([models[i] for i in used], pool, given, min(k, len(pool)), seed)
    tested = held_out(models, which, [[i] for i in range(len(models))], pool, given, len(picks), seed)
    lists = np.minimum.accumulate(tested.regrets, axis=1)
    without = [model.without([pick.tried for pick in picks]) for model in models]
    pools = [model.regrets for model in models]
    tasks = [model.sweep.task for model in models]
    configurations = [
        {
            "rank": rank + 1,
            "values": pick.typed,
            "plateau": safe_ranges(without, pick.typed, given),
            "held_out_regret": regret_summary(tested.regrets[:, rank], tasks)
            | {"measured_share": float(tested.measured[:, rank].mean())},
            "list_held_out_regret": regret_summary(lists[:, rank], tasks),
            "worth_random_trials": worth_random_trials(float(tested.regrets[:, rank].mean()), pools),
        }
        for rank, pick in enumerate(picks)
    ]
    families = families_of(usable)
    if families is not None:
        of_families = held_out(models, which, list(families.groups.values()), pool, given, len(picks), seed)
        for configuration, regrets in zip(configurations, of_families.regrets.T, strict=True):
            configuration["held_out_family_regret"] = _family_summary(regrets, tasks, families)
    beside = {
        "set_aside": [task for i, task in enumerate(tasks) if i not in used],
        "library_default": placed_library(usable, picks[0].typed, given, models, tested.defaults),
        "budget": budget(models, tested.defaults, [n for n in picks[0].typed if n not in given], seed),
    }
    return configurations, beside


def _pool(sweeps: Sequence[Sweep], names: Sequence[str], seed: int) -> list[dict[str, Value]]:
    """What was tried; where tasks seldom tried the same, so that little is measured anyway, also what mixes it."""
    tried = candidates.observed(sweeps, names)
    few = [tried[i] for i in drawn(len(tried), TRIED, [seed, 10])]
    if len(tried) > 0.7 * sum(s.n_configurations for s in sweeps):
        return [*few, *candidates.recombined(few, MIXED, seed)]
    return few


def _family_summary(regrets: FloatArray, tasks: Sequence[str], families: Families) -> dict[str, Any]:
    """The regret with a task's whole family left out: the mean over families with its interval, the worst task."""
    means = np.array([regrets[numbers].mean() for numbers in families.groups.values()])
    mean, low, high = mean_interval(means)
    return regret_summary(regrets, tasks) | {
        "mean": mean, "low": low, "high": high, "families": len(families.groups), "by": families.by,
    }  # fmt: skip


# Within one task


def _for_task(
    sweep: Sweep, given: Mapping[str, Value], laws: Sequence[Law], k: int, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any], float]:
    """The configurations, what else the document says, and the p-value of "forests predict what they have not seen"."""
    names = [h.name for h in sweep.hyperparameters]
    model = TaskModel.fit(sweep, names, seed)
    along = tied(given, laws)
    fixed = {name: value for name, value in given.items() if name not in along}
    pool = with_given(candidates.observed([sweep], names), fixed, ())
    k = min(k, sweep.n_configurations // 2)  # no more than one half of the test holds
    tried = [pool[int(i)] for i in np.argsort(model.predict(pool), kind="stable")[:k]]
    without = model.without(tried)
    moved = [put_in(configuration, along, laws) for configuration in tried]
    typed = rounded(moved, [sweep], without.predict, given, allowance([model]))
    document = library_default([sweep], typed[0], given)
    halves = split_half(sweep, seed, len(typed), document)
    configurations = [
        {
            "rank": rank + 1,
            "values": values,
            "plateau": safe_ranges([without], values, given),
            "held_out_regret": _split_summary(halves.regrets[:, rank], sweep.task),
            "worth_random_trials": worth_random_trials(float(halves.regrets[:, rank].mean()), [model.regrets]),
        }
        for rank, values in enumerate(typed)
    ]
    placed = halves.library[np.isfinite(halves.library)]
    library = with_regret(document, [sweep], _split_summary(placed, sweep.task) if placed.size else None)
    trials = budget([model], typed[:1], [name for name in typed[0] if name not in given], seed)
    beside = {"library_default": library, "budget": trials, "conditional": followed(tried[0], along, laws)}
    return configurations, beside, halves.p_value


def _split_summary(regrets: FloatArray, task: str) -> dict[str, Any]:
    """The mean over the halves, and the range that eight in ten of them lie in."""
    low, high = (float(q) for q in np.quantile(regrets, [0.1, 0.9]))
    summary = {"mean": float(regrets.mean()), "low": low, "high": high, "worst": float(regrets.max())}
    return summary | {"worst_task": task, "tasks": 1, "splits": int(regrets.size)}
