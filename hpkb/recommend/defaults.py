"""The default of each task and of all tasks, chosen on surrogates and tested where it was not derived.

Over all tasks: one process over all of them says what an unseen task may be like (`population`); the default has the
least regret on average over draws of it, and a list of k is filled greedily (`choice`). The test leaves one task out at
a time, chooses on the others, and looks up the regret that was *measured* on the task left out; only where that task
never ran the configuration is its own forest asked.

For one task: the test splits its configurations in two, chooses on one half and measures on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Configuration, Value
from hpkb.recommend.choice import choose, related
from hpkb.recommend.regret import configuration_means, mean_interval, run_regrets, worth_random_trials
from hpkb.recommend.safe_ranges import safe_ranges
from hpkb.recommend.scale_rules import scale_rules
from hpkb.recommend.search_space import search_space
from hpkb.recommend.task_model import REFITTED, TaskModel, forest
from hpkb.sweep import BoolArray, FloatArray, IntArray, Sweep

FEWEST_TASKS = 3
FEWEST_CONFIGURATIONS = 16
FEWEST_TRIALS = 5  # random trials that a default which fails on one task is worth, for it to be one nevertheless
DRAWS, MANY, DRAWS_OF_MANY = 5, 500, 2  # cuts of a task's configurations in two; fewer where there are many
LEVEL = 0.01  # of the test that a task's default rests on more than noise
MIXED = 2_000  # configurations beside those that were tried, where tasks tried different ones
FOLDS = 12  # of the test over tasks


def recommend(
    sweeps: Sequence[Sweep],
    task: str | None = None,
    given: Mapping[str, Value] | None = None,
    k: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns the recommendation for one task, or over all tasks, as the JSON document of the contract.

    `given` fixes values; `k` is the length of the list, its first entry the single default.
    """
    given = dict(given or {})
    chosen = sorted((s for s in sweeps if task is None or s.task == task), key=lambda s: s.task)
    document = _document(chosen, task, given)
    reason = _too_little(chosen, task)
    if reason:
        return document | {"verdict": "insufficient", "reason": reason}
    p_value = 0.0
    if task:
        configurations, p_value = _for_task(chosen[0], given, k, seed)
    else:
        configurations, document["set_aside"] = _over_tasks(chosen, given, k, seed)
    verdict, reason = _verdict(configurations[0], task, document.get("set_aside", ()))
    if verdict == "recommended" and p_value > LEVEL:
        verdict, reason = (
            "insufficient",
            "The regret of a configuration cannot be predicted from the others: noise.",
        )
    names = [name for name in configurations[0]["values"] if name not in given]
    document["search_space"] = search_space(chosen, names)
    if task is None:
        document["rules"] = [rule.document() for rule in scale_rules(chosen)]
    return document | {"configurations": configurations, "verdict": verdict, "reason": reason}


def _document(sweeps: Sequence[Sweep], task: str | None, given: Mapping[str, Value]) -> dict[str, Any]:
    objectives = sorted({s.objective for s in sweeps})
    return {
        "task": task, "objective": ", ".join(objectives), "given": given, "configurations": [], "rules": [],
        "n_tasks": len(sweeps), "n_runs": sum(s.n_runs for s in sweeps),
    }  # fmt: skip


def _too_little(sweeps: Sequence[Sweep], task: str | None) -> str:
    if task is not None:
        configurations = sweeps[0].n_configurations if sweeps else 0
        if configurations < FEWEST_CONFIGURATIONS:
            return f"{configurations} configurations were tried; a default needs at least {FEWEST_CONFIGURATIONS}."
        return "" if np.isfinite(sweeps[0].y).any() else "Every run was infeasible."
    usable = [s for s in sweeps if not _too_little([s], s.task)]
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
    sweeps: Sequence[Sweep], given: Mapping[str, Value], k: int, seed: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """The configurations, and the names of the tasks that were set aside in choosing them."""
    usable = [s for s in sweeps if not _too_little([s], s.task)]
    names = _shared_names(usable)
    models = [TaskModel.fit(s, names, seed) for s in usable]
    which = related(models)
    used = which(range(len(models)))
    pool = candidates.with_given(_pool(usable, names, seed), given)
    picks = choose([models[i] for i in used], pool, k, seed)
    regrets, measured = _leave_one_out(models, which, pool, len(picks), seed)
    lists = np.minimum.accumulate(regrets, axis=1)
    without = [model.without([pool[pick] for pick in picks]) for model in models]
    pools = [model.regrets for model in models]
    tasks = [model.sweep.task for model in models]
    configurations = [
        {
            "rank": rank + 1,
            "values": pool[pick],
            "plateau": safe_ranges(without, pool[pick], given),
            "held_out_regret": _regret_summary(regrets[:, rank], tasks) | {"measured_share": measured[rank]},
            "list_held_out_regret": _regret_summary(lists[:, rank], tasks),
            "worth_random_trials": worth_random_trials(float(regrets[:, rank].mean()), pools),
        }
        for rank, pick in enumerate(picks)
    ]
    return configurations, [task for i, task in enumerate(tasks) if i not in used]


def _pool(sweeps: Sequence[Sweep], names: Sequence[str], seed: int) -> list[dict[str, Value]]:
    """What was tried; where tasks seldom tried the same, so that little is measured anyway, also what mixes it."""
    tried = candidates.observed(sweeps, names)
    if len(tried) > 0.7 * sum(s.n_configurations for s in sweeps):
        return [*tried, *candidates.recombined(tried, MIXED, seed)]
    return tried


def _shared_names(sweeps: Sequence[Sweep]) -> list[str]:
    """Hyperparameters that at least half of the tasks vary; what only one task has cannot be tested on another."""
    counts: dict[str, int] = {}
    for sweep in sweeps:
        for parameter in sweep.hyperparameters:
            counts[parameter.name] = counts.get(parameter.name, 0) + 1
    return sorted(name for name, count in counts.items() if count >= max(2, len(sweeps) / 2))


def _leave_one_out(
    models: Sequence[TaskModel], which: Callable[[Sequence[int]], list[int]], pool: Sequence[Configuration], k: int,
    seed: int,
) -> tuple[FloatArray, list[float]]:
    """The regret on each task of the first k picks made from the other tasks, (tasks, k), and for each place in the
    list the share of tasks on which it was measured. Beyond `FOLDS` tasks several are left out at a time; `which` of
    the others are used is told without them.
    """
    regrets, measured = np.empty((len(models), k)), np.empty((len(models), k))
    for fold in np.array_split(np.arange(len(models)), min(FOLDS, len(models))):
        others = which([i for i in range(len(models)) if i not in fold])
        picks = choose([models[i] for i in others], pool, k, seed)
        for left_out in fold:
            for rank, pick in enumerate(picks):
                regrets[left_out, rank] = models[left_out].outcome(pool[pick])
                measured[left_out, rank] = candidates.key(pool[pick]) in models[left_out].measured
    return regrets, [float(share) for share in measured.mean(axis=0)]


def _regret_summary(regrets: FloatArray, tasks: Sequence[str]) -> dict[str, Any]:
    mean, low, high = mean_interval(regrets)
    worst = int(regrets.argmax())
    return {
        "mean": mean, "low": low, "high": high, "worst": float(regrets[worst]), "worst_task": tasks[worst],
        "tasks": len(tasks), "by_task": {task: float(r) for task, r in zip(tasks, regrets, strict=True)},
    }  # fmt: skip


# Within one task


def _for_task(
    sweep: Sweep, given: Mapping[str, Value], k: int, seed: int
) -> tuple[list[dict[str, Any]], float]:
    """The configurations, and the p-value of "forests predict configurations that they have not seen"."""
    names = [h.name for h in sweep.hyperparameters]
    model = TaskModel.fit(sweep, names, seed)
    pool = candidates.with_given(candidates.observed([sweep], names), given)
    k = min(k, sweep.n_configurations // 2)  # no more than one half of the test holds
    picks = [int(i) for i in np.argsort(model.predict(pool), kind="stable")[:k]]
    outcomes, p_value = _split_half(sweep, seed, len(picks))
    without = [model.without([pool[pick] for pick in picks])]
    configurations = [
        {
            "rank": rank + 1,
            "values": pool[pick],
            "plateau": safe_ranges(without, pool[pick], given),
            "held_out_regret": _split_summary(outcomes[:, rank], sweep.task),
            "worth_random_trials": worth_random_trials(float(outcomes[:, rank].mean()), [model.regrets]),
        }
        for rank, pick in enumerate(picks)
    ]
    return configurations, p_value


def _split_summary(regrets: FloatArray, task: str) -> dict[str, Any]:
    """The mean over the halves, and the range that eight in ten of them lie in."""
    low, high = (float(q) for q in np.quantile(regrets, [0.1, 0.9]))
    summary = {"mean": float(regrets.mean()), "low": low, "high": high, "worst": float(regrets.max())}
    return summary | {"worst_task": task, "tasks": 1, "splits": int(regrets.size)}


def _split_half(sweep: Sweep, seed: int, k: int) -> tuple[FloatArray, float]:
    """Regrets measured on one half of the configurations for the first k choices of the other half's forest there, and
    the p-value of "such forests predict": Spearman's correlation over the first cut, one-sided.

    (2 · draws, k): each draw cuts the configurations in two and uses either half to choose.
    """
    rng = np.random.default_rng(seed)
    regrets, results = run_regrets(sweep), []
    means, predicted = configuration_means(sweep, regrets), np.empty((DRAWS, sweep.n_configurations))
    draws = DRAWS if sweep.n_configurations <= MANY else DRAWS_OF_MANY
    for draw in range(draws):
        order = rng.permutation(sweep.n_configurations)
        for half in np.array_split(order, 2):
            inside: BoolArray = np.isin(sweep.configuration, half)
            asked = np.setdiff1d(order, half)
            predicted[draw, asked] = _predict(sweep, inside, asked, regrets, seed)
            results.append(means[asked[np.argsort(predicted[draw, asked], kind="stable")[:k]]])
    return np.array(results), float(spearmanr(predicted[0], means, alternative="greater").pvalue)


def _predict(
    sweep: Sweep, inside: BoolArray, asked: IntArray, regrets: FloatArray, seed: int
) -> FloatArray:
    """What a forest fitted to the runs inside predicts for the configurations asked, by their numbers."""
    rows = np.array(candidates.first_rows(sweep))[asked]  # a forest predicts the same for all runs of a configuration
    model = forest(sweep.subset(inside), regrets[inside], seed, REFITTED)
    features = candidates.features(sweep.hyperparameters, candidates.placed(sweep)[rows])
    return np.asarray(model.predict(features), dtype=np.float64)
