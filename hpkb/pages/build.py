"""The whole handbook as data: from the knowledge base to one dataclass a page."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import duckdb

from hpkb.configuration import in_configuration
from hpkb.findings import VERDICTS
from hpkb.names import lookup, rank_of
from hpkb.pages import store
from hpkb.pages.changes import changes
from hpkb.pages.drawing import forest_figure, importance_figure
from hpkb.pages.evidence import evidence_pages
from hpkb.pages.formats import plain, spoken, title
from hpkb.pages.gaps import gaps
from hpkb.pages.model import Group, Handbook, HyperparameterPage, QuestionPage, Together
from hpkb.pages.names import names_page
from hpkb.pages.parts import Compared, Default, Exclusion, Figure, FindingView, Link, Unknown, Words
from hpkb.pages.places import ACROSS, Places, evidence_of, places
from hpkb.pages.places import store as opened
from hpkb.pages.questions import docstring
from hpkb.pages.slugs import digest, slug
from hpkb.pages.tasks import task_page
from hpkb.pages.views import default_view, finding_views

_BEST = 5
_MANY = 40  # findings of one question
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d.]*(?:e[-+]?\d+)?(?![\w])")

#: The words of a miner, from its partial.
WordsOf = Callable[[str], Words]


def build(connection: duckdb.DuckDBPyConnection, words_of: WordsOf) -> Handbook:
    """Returns all pages of the handbook as data."""
    knowledge = store.read(connection)
    where = places(knowledge, _names(knowledge))
    miners = sorted({record.document["miner"] for record in knowledge.findings})
    words = {miner: words_of(miner) for miner in miners}
    titles = {miner: words[miner].title for miner in miners}
    findings = finding_views(knowledge, where, titles)
    by_id = {f.id: f for f in findings}
    defaults = {key: default_view(document, where, by_id) for key, document in knowledge.defaults.items()}
    figures = {record.document["id"]: record.figure for record in knowledge.findings}
    bars = _bars(findings)
    questions = tuple(
        _question(m, words[m], [f for f in findings if f.miner == m], figures, bars) for m in miners
    )
    tasks = tuple(
        task_page(connection, t, where, findings, defaults.get(t.task_id) or defaults.get(t.name), bars)
        for t in knowledge.tasks
    )
    names = names_page(connection, where)
    recorded = {row.name.text: row.recorded for row in names.rows}
    done = [run for run in knowledge.runs.values() if run.has_outcome]
    return Handbook(
        default=defaults.get(""), tasks=tasks, questions=questions,
        hyperparameters=tuple(_hyperparameter(n, where, findings, defaults, recorded) for n in sorted(where.names)),
        best=_best(findings, words), unknown=_unknown(questions), counts=_counts(findings), n_runs=len(knowledge.runs),
        n_outcomes=len(done), n_infeasible=sum(run.infeasible for run in done),
        changes=changes(*knowledge.editions, by_id, where), gaps=gaps(knowledge.suggestions, where, by_id),
        evidence=evidence_pages(findings, tasks), exclusions=_exclusions(knowledge, where), meta=knowledge.meta,
        stores=tuple(opened(source) for source, _ in knowledge.sources), names=names,
    )  # fmt: skip


def _names(knowledge: store.Knowledge) -> set[str]:
    """The hyperparameters that have a page: those that a finding or a recommendation speaks of."""
    found = {name for record in knowledge.findings for name in record.document.get("hyperparameters", [])}
    for document in knowledge.defaults.values():
        found |= {
            name for configuration in document.get("configurations", []) for name in configuration["values"]
        }
    return {name for name in found if in_configuration(name)}


def _question(
    miner: str, words: Words, findings: Sequence[FindingView],
    figures: Mapping[str, Mapping[str, object]], bars: Mapping[Link, Figure],
) -> QuestionPage:  # fmt: skip
    text = docstring(miner)
    overall = sorted(
        (f for f in findings if f.task is None), key=lambda f: (f.quantity != words.quantity, *_lead(f))
    )
    return QuestionPage(
        miner=miner, title=words.title, href=f"questions/{slug(miner)}.html", question=text.question,
        method=text.method,
        reading=text.reading, misleads=text.misleads, settle=words.settle, headline=overall[0] if overall else None,
        counts=_counts(findings), comparisons=max((f.comparisons for f in findings), default=0),
        answers=_answers(findings, words.quantity), together=tuple(_together(findings, figures, words.quantity)),
        bars=tuple(bars.items()) if miner == "importance" else (), groups=tuple(_groups(findings)),
        findings=tuple(findings), compared=tuple(_compared(findings)),
    )  # fmt: skip


def _compared(findings: Sequence[FindingView]) -> Iterator[Compared]:
    """What was compared on each task, in the order of the tasks' names."""
    by_task: dict[Link, list[FindingView]] = defaultdict(list)
    for finding in findings:
        if finding.task:
            by_task[finding.task].append(finding)
    for task, own in sorted(by_task.items(), key=lambda item: item[0].text):
        names = {h: None for f in sorted(own, key=lambda f: _order(f.hyperparameters)) for h in f.hyperparameters}
        runs, configurations = max(f.n_runs for f in own), max(f.n_configurations for f in own)
        seeds, evidence = max(f.n_seeds for f in own), evidence_of(task.href) if task.href else ACROSS
        yield Compared(task, runs, configurations, seeds, len(own), evidence, tuple(names))


def _together(
    findings: Sequence[FindingView], figures: Mapping[str, Mapping[str, object]], quantity: str
) -> list[Together]:
    """One forest plot for each subject of the main quantity that several tasks have a number for.

    Pairs of hyperparameters of which nothing is known are left to the table.
    """
    by_subject: dict[tuple[str, tuple[Link, ...], str], list[FindingView]] = defaultdict(list)
    for finding in findings:
        if quantity and finding.quantity != quantity:
            continue
        by_subject[finding.quantity, finding.hyperparameters, finding.condition].append(finding)
    found = []
    for (quantity, hyperparameters, condition), members in sorted(
        by_subject.items(), key=lambda item: (_order(item[0][1]), item[0][2])
    ):
        overall = next((f for f in members if f.task is None), None)
        if (
            len(findings) > _MANY
            and len(hyperparameters) > 1
            and all(f.verdict == "insufficient" for f in members)
        ):
            continue
        shares = [f.high for f in findings if f.quantity == quantity and isinstance(f.high, float)]
        top = max(shares, default=0.0) if quantity == "variance_share" else 0.0
        figure = forest_figure(members, figures[overall.id] if overall else {}, top)
        if figure:
            name = (
                title(quantity) if not hyperparameters else f"{_subject(hyperparameters)}: {spoken(quantity)}"
            )
            found.append(Together(f"{name} ({condition})" if condition else name, figure, overall))
    return found


def _groups(findings: Sequence[FindingView]) -> list[Group]:
    """The findings with a chart, those about the same hyperparameters side by side."""
    by_subject: dict[tuple[Link, ...], list[FindingView]] = defaultdict(list)
    for finding in findings:
        if finding.task and finding.figure:
            by_subject[finding.hyperparameters].append(finding)
    return [
        Group(_subject(links) or "As a whole", f"about-{digest(repr(links))}", tuple(by_subject[links]))
        for links in sorted(by_subject, key=_order)
    ]


def _bars(findings: Sequence[FindingView]) -> dict[Link, Figure]:
    """The shares of variance of each task as one chart."""
    shares: dict[Link, list[FindingView]] = defaultdict(list)
    for finding in findings:
        if finding.task and finding.miner == "importance" and finding.quantity == "variance_share":
            shares[finding.task].append(finding)
    drawn = (
        (task, importance_figure(members)) for task, members in shares.items()
    )
    return {task: figure for task, figure in drawn if figure}


def _answers(findings: Sequence[FindingView], quantity: str) -> tuple[FindingView, ...]:
    """Each task's leading finding of the main quantity: a settled one, the largest share, the first hyperparameter."""
    leading: dict[Link, FindingView] = {}
    asked = [f for f in findings if f.quantity == quantity] or list(findings)
    for finding in sorted(asked, key=_lead):
        if finding.task:
            leading.setdefault(finding.task, finding)
    return tuple(leading[task] for task in sorted(leading, key=lambda task: task.text))


def _lead(finding: FindingView) -> tuple[bool, float, list[tuple[int, str]]]:
    share = (
        finding.estimate
        if finding.quantity.endswith("_share") and isinstance(finding.estimate, float)
        else 0.0
    )
    return (finding.verdict == "insufficient", -share, _order(finding.hyperparameters))


def _order(links: Sequence[Link]) -> list[tuple[int, str]]:
    """Hyperparameters in the order of the canonical names, the learning rate first; pairs after single ones."""
    return [(len(links), ""), *(rank_of(link.text) for link in links)]


def _subject(links: Sequence[Link]) -> str:
    return title(" × ".join(link.text for link in links))


def _hyperparameter(
    name: str, where: Places, findings: Sequence[FindingView], defaults: Mapping[str, Default | None],
    recorded: Mapping[str, tuple[tuple[str, int], ...]],
) -> HyperparameterPage:  # fmt: skip
    entry = lookup(name)
    settings = [
        (default.task, setting)
        for default in defaults.values() if default and default.configurations
        for setting in [default.configurations[0].setting(name)] if setting
    ]  # fmt: skip
    about = [f for f in findings if any(h.text == name for h in f.hyperparameters)]
    about.sort(key=lambda f: (f.verdict == "insufficient", f.task is not None))  # what is settled, and where, first
    return HyperparameterPage(
        name=plain(name, 120), title=title(name), href=where.hyperparameter(name).href,
        meaning=entry.meaning if entry else "", unit=entry.unit if entry else "", scale=entry.scale if entry else "",
        role=entry.role if entry else "", aliases=entry.aliases if entry else (),
        recorded=recorded.get(name, ()), settings=tuple(settings), findings=tuple(about),
    )  # fmt: skip


def _best(findings: Sequence[FindingView], words: Mapping[str, Words]) -> tuple[FindingView, ...]:
    """What to read first: each question's claim over all tasks, or its surest one; then each question's second."""
    settled = [
        f for f in findings if f.verdict == "supported" or (f.verdict == "rejected" and f.task is None)
    ]
    ranked = sorted(
        (f for f in settled if f.quantity == words[f.miner].quantity or not words[f.miner].quantity),
        key=lambda f: (f.task is not None, f.q_value if f.q_value is not None else 1.0, *_lead(f), f.id),
    )
    taken: Counter[str] = Counter()
    rounds: dict[int, list[FindingView]] = defaultdict(list)
    for finding in ranked:
        rounds[taken[finding.miner]].append(finding)
        taken[finding.miner] += 1
    for turn in rounds.values():
        turn.sort(key=lambda f: words[f.miner].rank)
    return tuple(finding for turn in sorted(rounds) for finding in rounds[turn])[:_BEST]


def _unknown(questions: Sequence[QuestionPage]) -> tuple[Unknown, ...]:
    found = []
    for question in questions:
        open_ones = tuple(f for f in question.findings if f.verdict == "insufficient")
        if open_ones:
            found.append(Unknown(Link(question.title, question.href), question.settle, open_ones))
    return tuple(found)


def _counts(findings: Sequence[FindingView]) -> dict[str, int]:
    counted = Counter(f.verdict for f in findings)
    return {verdict: counted[verdict] for verdict in VERDICTS}


def _exclusions(knowledge: store.Knowledge, where: Places) -> tuple[Exclusion, ...]:
    """Runs without an outcome, and infeasible ones, by task and reason; the numbers in a reason are each run's own."""
    counted: Counter[tuple[str, str]] = Counter()
    for run in knowledge.runs.values():
        if run.infeasible:
            counted[run.task_id, f"infeasible: {_NUMBER.sub('…', run.infeasible_reason)}"] += 1
        elif not run.has_outcome:
            counted[run.task_id, f"left out: {run.status.lower() or 'unknown'}, no objective"] += 1
    return tuple(
        Exclusion(where.task(task_id) or Link("no task", ""), plain(reason, 200), n)
        for (task_id, reason), n in sorted(counted.items())
    )
