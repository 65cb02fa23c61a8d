"""The pages of evidence: each finding with all that it says, and the runs that it rests on.

Many findings of a task rest on the same runs, so each set of runs is listed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hpkb.pages.model import EvidencePage, TaskPage
from hpkb.pages.parts import FindingView, Link, RunRow, RunSet
from hpkb.pages.places import ACROSS, evidence_of, runs_anchor


def evidence_pages(
    findings: Sequence[FindingView], tasks: Sequence[TaskPage]
) -> tuple[EvidencePage, ...]:
    """Returns a page for what holds over all tasks, then one a task, whether it has findings or not."""
    across = tuple(f for f in findings if f.task is None or not f.task.href)
    pages = [EvidencePage("All tasks together", ACROSS, None, (), 0, 0, _by_question(across), frozenset(), ())]
    for task in tasks:
        link = Link(task.title, task.href)
        own = tuple(f for f in findings if f.task and f.task.href == task.href)
        sets = tuple(_sets(task, findings))
        pictured = frozenset(f.id for f in (*task.responses, *task.maps, *task.others_pictured))
        counts = (task.n_outcomes, task.n_configurations)
        pages.append(
            EvidencePage(task.title, task.evidence, link, task.stores, *counts, _by_question(own), pictured, sets)
        )
    return tuple(pages)


def _by_question(findings: Sequence[FindingView]) -> tuple[tuple[Link, tuple[FindingView, ...]], ...]:
    """The findings below the question that each answers, in the order in which they come."""
    found: dict[Link, list[FindingView]] = {}
    for finding in findings:
        found.setdefault(Link(finding.title, finding.page), []).append(finding)
    return tuple((question, tuple(own)) for question, own in found.items())


def _sets(task: TaskPage, findings: Sequence[FindingView]) -> Iterator[RunSet]:
    """The sets of the task's runs that findings rest on and that are not all of its runs, the largest first."""
    rows = {row.key: row for row in task.rows}
    found = {
        part.run_ids for finding in findings for part in finding.evidence
        if part.run_ids and part.task.href.startswith(evidence_of(task.href))
    }  # fmt: skip
    for ids in sorted(found, key=lambda ids: (-len(ids), ids)):
        yield RunSet(runs_anchor(ids), len(ids), task.n_outcomes, _listed(ids, rows))


def _listed(ids: Sequence[str], rows: Mapping[str, RunRow]) -> tuple[RunRow, ...]:
    return tuple(rows[run_id] for run_id in ids if run_id in rows)
