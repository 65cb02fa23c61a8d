"""Findings and recommendations as their pages show them: documents in, dataclasses with links out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpkb.names import rank_of
from hpkb.pages.drawing import finding_figure, regret_figure
from hpkb.pages.formats import number, plain, spoken, title
from hpkb.pages.parts import (
    Default,
    Evidence,
    FindingView,
    Link,
    Recommended,
    Regret,
    Rule,
    Searched,
    Setting,
    Trials,
)
from hpkb.pages.places import ACROSS, Places, evidence_of, runs_anchor
from hpkb.pages.slugs import anchor, slug
from hpkb.pages.store import Knowledge, Record, Task


def finding_views(knowledge: Knowledge, where: Places, titles: Mapping[str, str]) -> tuple[FindingView, ...]:
    """Returns all findings, across tasks first, then task by task."""
    tasks = {key: task for task in knowledge.tasks for key in (task.name, task.task_id)}
    done = {task.task_id: frozenset(r.run_id for r in task.runs if r.has_outcome) for task in knowledge.tasks}
    return tuple(_finding(record, tasks, done, where, titles) for record in knowledge.findings)


def _finding(
    record: Record, tasks: Mapping[str, Task], done: Mapping[str, frozenset[str]], where: Places,
    titles: Mapping[str, str],
) -> FindingView:  # fmt: skip
    d = record.document
    task = tasks.get(d.get("task") or "")
    direction = f"{task.direction}:{task.metric}" if task else ""
    here, page = anchor("finding", str(d["id"])), f"questions/{slug(d['miner'])}.html"
    home = evidence_of(where.tasks[task.task_id].href) if task else ACROSS
    return FindingView(
        id=str(d["id"]), anchor=here, href=f"{home}#{here}", page=page, miner=d["miner"],
        title=titles.get(d["miner"], title(d["miner"])), task=where.task(d.get("task")),
        hyperparameters=tuple(where.hyperparameter(name) for name in d.get("hyperparameters", [])),
        claim=d["claim"], verdict=d["verdict"], quantity=d["quantity"], estimate=d.get("estimate"), low=d.get("low"),
        high=d.get("high"), confidence=d.get("confidence", 0.95), unit=d.get("unit", ""), p_value=d.get("p_value"),
        q_value=d.get("q_value"), comparisons=d.get("comparisons", 0), n_runs=d.get("n_runs", 0),
        n_configurations=d.get("n_configurations", 0), n_tasks=d.get("n_tasks", 0), n_seeds=d.get("n_seeds", 0),
        infeasible_share=d.get("infeasible_share", 0.0), caveats=tuple(d.get("caveats", [])),
        evidence=_evidence(d.get("run_ids", []), tasks, done, where),
        figure=finding_figure(d, record.figure, direction, where.in_list), condition=plain(d.get("condition", ""), 80),
    )  # fmt: skip


def _evidence(
    run_ids: Sequence[str], tasks: Mapping[str, Task], done: Mapping[str, frozenset[str]], where: Places
) -> tuple[Evidence, ...]:
    """The runs, by task; all of a task's runs with an outcome are listed on the task's own page."""
    found = []
    for task_id, ids in sorted(_by_task(run_ids, done, where).items()):
        task, link = tasks.get(task_id), where.task(task_id)
        if task is None or link is None:
            continue
        everything = done[task.task_id] == set(ids)
        listed = () if everything else tuple(sorted(ids))
        place = f"{link.href}#runs" if everything else f"{evidence_of(link.href)}#{runs_anchor(listed)}"
        found.append(Evidence(Link(link.text, place), len(ids), everything, listed))
    return tuple(found)


def _by_task(
    run_ids: Sequence[str], done: Mapping[str, frozenset[str]], where: Places
) -> Mapping[str, Sequence[str]]:
    """The runs by the id of their task. Mostly they are all of one, which is seen without a look at each."""
    first = where.known.get(run_ids[0]) if run_ids else None
    if first and len(run_ids) == len(own := done.get(first.task_id, frozenset())) and own.issuperset(run_ids):
        return {first.task_id: run_ids}
    by_task: dict[str, list[str]] = defaultdict(list)
    for run_id in run_ids:
        run = where.known.get(run_id)
        by_task[run.task_id if run else ""].append(run_id)
    return by_task


def default_view(
    document: Mapping[str, Any] | None, where: Places, findings: Mapping[str, FindingView]
) -> Default | None:
    """Returns a recommendation with its links, None where there is none."""
    if document is None:
        return None
    configurations = tuple(_recommended(c, where, findings) for c in document.get("configurations", []))
    library = _regret((document.get("library_default") or {}).get("held_out_regret"), where)
    first = configurations[0].regret if configurations else None
    return Default(
        task=where.task(document.get("task")), verdict=document.get("verdict", "insufficient"),
        reason=document.get("reason", ""), objective=document.get("objective", ""),
        n_tasks=document.get("n_tasks", 0), n_runs=document.get("n_runs", 0), configurations=configurations,
        rules=tuple(_rule(rule) for rule in document.get("rules", [])), library=library,
        figure=regret_figure(first, library) if first and first.mean is not None else None,
        search=() if document.get("task") else tuple(_searched(document.get("search_space") or {}, where)),
        set_aside=tuple(link for task in document.get("set_aside") or () if (link := where.task(task))),
        library_words=_library_words(document.get("library_default") or {}),
        trials=tuple(_trials(part, where) for part in (document.get("budget") or {}).get("sets", ())),
        trials_unknown=(document.get("budget") or {}).get("reason", ""),
    )  # fmt: skip


def _library_words(library: Mapping[str, Any]) -> str:
    if library.get("reason"):
        return str(library["reason"])
    values = ", ".join(f"{spoken(name)} {number(value)}" for name, value in library.get("values", {}).items())
    return f"{library.get('optimizer', 'optimizer')} with {values}" if values else ""


def _trials(part: Mapping[str, Any], where: Places) -> Trials:
    names = tuple(where.hyperparameter(name) for name in part["hyperparameters"])
    return Trials(names, part["trials"], part["low"], part["high"])


def _searched(space: Mapping[str, Any], where: Places) -> Iterator[Searched]:
    for name, part in space.items():
        levels = tuple(part.get("levels", ()))
        yield Searched(where.hyperparameter(name), part.get("low"), part.get("high"), levels)


def _recommended(
    document: Mapping[str, Any], where: Places, findings: Mapping[str, FindingView]
) -> Recommended:
    plateau = document.get("plateau") or {}
    settings = []
    values = document.get("values", {})
    for name in sorted(values, key=rank_of):
        low, high = plateau.get(name) or (None, None)
        settings.append(Setting(where.hyperparameter(name), values[name], low, high))
    cited = tuple(findings[i] for i in document.get("finding_ids", []) if i in findings)
    regret = _regret(document.get("held_out_regret"), where)
    rank, worth = document.get("rank", 1), document.get("worth_random_trials")
    of_family = document.get("held_out_family_regret") or {}
    family = _regret(of_family, where)
    return Recommended(rank, tuple(settings), regret, worth, cited, family, of_family.get("by", ""))


def _regret(document: Mapping[str, Any] | None, where: Places) -> Regret | None:
    if not document:
        return None
    numbers = (document.get("mean"), document.get("low"), document.get("high"), document.get("worst"))
    return Regret(*numbers, where.task(document.get("worst_task")), document.get("tasks", 0))


def _rule(document: Mapping[str, Any]) -> Rule:
    exponents = tuple((name, low, high) for name, (low, high) in document.get("exponents", {}).items())
    return Rule(document["hyperparameter"], document["formula"], exponents, document.get("words", ""))
