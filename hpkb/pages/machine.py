"""The handbook for programs: `findings.json` and `defaults.yaml`, from the dataclasses that the pages are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from hpkb.pages.formats import plain
from hpkb.pages.model import Handbook, TaskPage
from hpkb.pages.parts import Default, FindingView, Link, Recommended, Regret
from hpkb.pages.places import ACROSS

_LONGEST = 2000  # characters of one text
_NUMBERS = (
    "verdict", "quantity", "estimate", "low", "high", "confidence", "unit", "p_value", "q_value",
    "n_runs", "n_configurations", "n_tasks", "n_seeds", "infeasible_share",
)  # fmt: skip


def findings(handbook: Handbook) -> str:
    """Returns all findings as one JSON document.

    Each is the finding of the contract, without what is null or empty, and but for its runs: a finding that rests on
    all runs of a task that have an outcome names the task in `all_runs_of`, and `tasks` lists those once; `run_ids` has
    others. In the handbook it stands at `#finding-ID` of the page `evidence` of its task.
    """
    listed = {f.id: f for question in handbook.questions for f in question.findings}
    found = {
        "edition": handbook.changes.number, "comparisons": handbook.comparisons, "evidence": ACROSS,
        "tasks": {name: _runs(task) for name, task in _named(handbook.tasks).items()},
        "findings": [_finding(f) for f in listed.values()],
    }
    found = _safe(found)
    lines = ",\n".join(json.dumps(f, allow_nan=False, separators=(",", ":")) for f in found.pop("findings"))
    return f"{json.dumps(found, allow_nan=False)[:-1]}, \"findings\": [\n{lines}\n]}}\n"


def defaults(handbook: Handbook) -> str:
    """Returns the recommended values of each task, and over all tasks, as YAML."""
    found: dict[str, Any] = {"edition": handbook.changes.number}
    if handbook.default:
        found["all_tasks"] = _default(handbook.default)
    own = _named(handbook.tasks)
    found["tasks"] = {name: _default(task.default) for name, task in own.items() if task.default}
    return str(yaml.safe_dump(_safe(found), sort_keys=False, allow_unicode=False, width=120))


def _named(tasks: Sequence[TaskPage]) -> dict[str, TaskPage]:
    """The tasks by name; a second one of a name has its page's address behind it."""
    found: dict[str, TaskPage] = {}
    for task in tasks:
        found[f"{task.title} ({task.href})" if task.title in found else task.title] = task
    return found


def _runs(task: TaskPage) -> dict[str, Any]:
    taking_part = [row.run_id for row in task.rows if row.has_outcome]
    return {
        "page": task.href, "evidence": task.evidence, "metric": task.task.metric, "direction": task.task.direction,
        "n_runs": task.n_runs, "n_infeasible": task.n_infeasible, "run_ids": taking_part,
    }  # fmt: skip


def _finding(f: FindingView) -> dict[str, Any]:
    everything = [part.task.text for part in f.evidence if part.everything]
    own = {
        "id": f.id, "miner": f.miner, "task": f.task.text if f.task else None,
        "hyperparameters": [h.text for h in f.hyperparameters], "claim": f.claim,
        **{name: getattr(f, name) for name in _NUMBERS}, "caveats": list(f.caveats),
        "run_ids": [run_id for part in f.evidence for run_id in part.run_ids], "all_runs_of": everything,
    }  # fmt: skip
    return {name: value for name, value in own.items() if value not in (None, "", []) or name == "task"}


def _default(default: Default) -> dict[str, Any]:
    found: dict[str, Any] = {
        "verdict": default.verdict, "reason": default.reason, "objective": default.objective,
        "n_runs": default.n_runs, "n_tasks": default.n_tasks,
    }  # fmt: skip
    if default.configurations:
        first, *others = default.configurations
        found |= _configuration(first)
        found["rules"] = [f"{rule.hyperparameter} = {rule.formula}" for rule in default.rules]
        found["library_default_regret"] = _regret(default.library)
        found["findings"] = [f.id for f in first.evidence]
        found["then_try"] = [_configuration(other) for other in others]
    if default.search:
        found["search"] = {s.name.text: list(s.levels) or [s.low, s.high] for s in default.search}
    if default.set_aside:
        found["set_aside"] = _texts(default.set_aside)
    return {name: value for name, value in found.items() if value not in (None, [], "")}


def _configuration(recommended: Recommended) -> dict[str, Any]:
    ranges = {s.name.text: [s.low, s.high] for s in recommended.settings if s.low is not None}
    return {
        "values": {s.name.text: s.value for s in recommended.settings}, "safe_range": ranges,
        "held_out_regret": _regret(recommended.regret), "worth_random_trials": recommended.worth,
    }  # fmt: skip


def _regret(regret: Regret | None) -> dict[str, Any] | None:
    if regret is None:
        return None
    worst = regret.worst_task.text if regret.worst_task else None
    return {
        "mean": regret.mean, "low": regret.low, "high": regret.high, "worst": regret.worst, "worst_task": worst,
        "tasks": regret.n_tasks,
    }  # fmt: skip


def _texts(links: Sequence[Link]) -> list[str]:
    return [link.text for link in links]


def _safe(value: Any) -> Any:
    """The same with every text free of control characters and secrets; no number is changed."""
    if isinstance(value, str):
        return plain(value, _LONGEST)
    if isinstance(value, Mapping):
        return {_safe(name): _safe(item) for name, item in value.items()}
    return [_safe(item) for item in value] if isinstance(value, list | tuple) else value

