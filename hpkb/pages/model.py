"""The pages, ready to be formatted: what each shows, and which part of it where there is too much for one page.

Every `href` is below the handbook's root; a page puts its own way to the root before it. `hpkb.pages.parts` has what
the pages are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup

from hpkb.pages.parts import (
    Compared,
    Configuration,
    Default,
    Exclusion,
    Figure,
    FindingView,
    Gap,
    Link,
    Moved,
    NameReading,
    RunRow,
    RunSet,
    Setting,
    Store,
    Turned,
    Unknown,
)
from hpkb.pages.store import Fact, Task
from hpkb.playbook import Result

#: Charts of one kind on a page; those of more tasks stand on the tasks' own pages.
SIDE_BY_SIDE = 6
#: Rows of a table that repeats findings of other pages.
FEW = 80

_Chart = TypeVar("_Chart")


@dataclass(frozen=True)
class TaskPage:
    """Everything about one task."""

    task: Task
    title: str
    href: str
    n_runs: int
    n_outcomes: int
    n_infeasible: int
    n_configurations: int
    period: tuple[str, str]
    default: Default | None
    columns: tuple[str, ...]
    best: tuple[Configuration, ...]
    checks: tuple[Result[FindingView], ...]
    importance: Figure | None
    responses: tuple[FindingView, ...]
    maps: tuple[FindingView, ...]
    others: tuple[FindingView, ...]
    data: tuple[FindingView, ...]  # whether the runs saw the same examples, and whether any of them leak
    curves: tuple[tuple[str, Figure], ...]
    rows: tuple[RunRow, ...]
    evidence: str  # its page of evidence
    stores: tuple[Store, ...]
    facts: tuple[Fact, ...]

    @property
    def others_pictured(self) -> tuple[FindingView, ...]:
        """The other findings that have a chart; where these are many, those that are settled."""
        drawn = tuple(f for f in self.others if f.figure)
        settled = tuple(f for f in drawn if f.verdict != "insufficient")
        return drawn if len(drawn) <= SIDE_BY_SIDE else settled


@dataclass(frozen=True)
class Together:
    """One quantity of a question over the tasks, as a forest plot."""

    quantity: str
    figure: Figure
    finding: FindingView | None


@dataclass(frozen=True)
class Group:
    """Findings of a question about the same hyperparameters, one a task."""

    title: str
    anchor: str
    findings: tuple[FindingView, ...]

    @property
    def shown(self) -> tuple[FindingView, ...]:
        """Those whose charts a page can hold side by side, the settled ones first."""
        shown = _side_by_side(self.findings)
        if len(shown) == len(self.findings):
            return shown
        return _side_by_side(tuple(sorted(self.findings, key=lambda f: f.verdict == "insufficient")))


@dataclass(frozen=True)
class QuestionPage:
    """Everything that one miner found."""

    miner: str
    title: str
    href: str
    question: Markup
    method: Markup
    reading: Markup
    misleads: Markup
    settle: str
    headline: FindingView | None
    counts: Mapping[str, int]
    comparisons: int
    answers: tuple[FindingView, ...]
    together: tuple[Together, ...]
    bars: tuple[tuple[Link, Figure], ...]
    groups: tuple[Group, ...]
    findings: tuple[FindingView, ...]
    compared: tuple[Compared, ...]

    @property
    def answer(self) -> tuple[FindingView, ...]:
        """The claim over all tasks, else each task's leading one."""
        return (self.headline,) if self.headline else self.answers

    @property
    def listed(self) -> tuple[FindingView, ...]:
        """All findings where they are few, else those over all tasks and those that are settled, as far as they go."""
        return _few(self.findings)

    @property
    def together_shown(self) -> tuple[Together, ...]:
        """The charts over all tasks that a page can hold side by side."""
        return _side_by_side(self.together)

    @property
    def bars_shown(self) -> tuple[tuple[Link, Figure], ...]:
        """The charts of importance that a page can hold side by side."""
        return _side_by_side(self.bars)


@dataclass(frozen=True)
class HyperparameterPage:
    """Everything that is known about one hyperparameter."""

    name: str
    title: str
    href: str
    meaning: str
    unit: str
    scale: str
    role: str
    aliases: tuple[str, ...]
    recorded: tuple[tuple[str, int], ...]  # the names that runs have it under, each with how many
    settings: tuple[tuple[Link | None, Setting], ...]
    findings: tuple[FindingView, ...]

    @property
    def pictures(self) -> Group:
        """How the objective responds to it, task by task."""
        own = (f for f in self.findings if f.figure and f.task and f.miner == "response")
        return Group("How the objective responds", "responses", tuple(own))

    @property
    def listed(self) -> tuple[FindingView, ...]:
        """All findings where they are few, else those over all tasks and those that are settled, as far as they go."""
        return _few(self.findings)


def _side_by_side(charts: tuple[_Chart, ...]) -> tuple[_Chart, ...]:
    """The first charts of a kind where there are too many for a page; a few over do no harm."""
    return charts[:SIDE_BY_SIDE] if len(charts) > SIDE_BY_SIDE + 4 else charts


def _few(findings: tuple[FindingView, ...]) -> tuple[FindingView, ...]:
    if len(findings) <= FEW:
        return findings
    settled = (f for f in findings if f.verdict != "insufficient" or f.task is None)
    return tuple(sorted(settled, key=lambda f: f.task is not None)[:FEW])


@dataclass(frozen=True)
class Changes:
    """What is different from the last edition. `last` is 0 where there was none."""

    number: int
    last: int
    n_runs_before: int
    n_runs: int
    defaults: tuple[Moved, ...]
    claims: tuple[Turned, ...]
    n_new_open: int

    def of(self, how: str) -> tuple[Turned, ...]:
        """Returns the claims that changed in one way."""
        return tuple(claim for claim in self.claims if claim.how == how)


@dataclass(frozen=True)
class EvidencePage:
    """The findings of one task, or those over all tasks, with all that they say and the runs that they rest on."""

    title: str
    href: str
    task: Link | None
    stores: tuple[Store, ...]
    n_runs: int  # of the task, with an outcome
    n_configurations: int
    questions: tuple[tuple[Link, tuple[FindingView, ...]], ...]
    pictured: frozenset[str]  # the ids of those whose figure stands on the task's page
    sets: tuple[RunSet, ...]

    @property
    def n_findings(self) -> int:
        """How many there are."""
        return sum(len(findings) for _, findings in self.questions)


@dataclass(frozen=True)
class NamesPage:
    """What names were read as; `own` are those that mean no known hyperparameter, `n_more` says how many are left out.

    `questions` are pairs of what is asked and lines for `hpkb.toml` that would answer it.
    """

    rows: tuple[NameReading, ...]
    own: tuple[str, ...]
    n_more: int
    questions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Handbook:
    """All pages, with what stands on the start page and on the page about the handbook."""

    default: Default | None
    tasks: tuple[TaskPage, ...]
    questions: tuple[QuestionPage, ...]
    hyperparameters: tuple[HyperparameterPage, ...]
    best: tuple[FindingView, ...]
    unknown: tuple[Unknown, ...]
    changes: Changes
    gaps: tuple[Gap, ...]
    evidence: tuple[EvidencePage, ...]
    counts: Mapping[str, int]
    n_runs: int
    n_outcomes: int
    n_infeasible: int
    exclusions: tuple[Exclusion, ...]
    stores: tuple[Store, ...]
    meta: Mapping[str, str]
    names: NamesPage

    @property
    def comparisons(self) -> int:
        """How many claims the report tests, for all of which each is corrected."""
        return max((question.comparisons for question in self.questions), default=0)

    @property
    def recommended(self) -> list[tuple[str, Default]]:
        """The recommendations: for a new task, then of each task."""
        own = [(task.title, task.default) for task in self.tasks if task.default]
        return [("A new task", self.default), *own] if self.default else own
