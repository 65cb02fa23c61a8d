"""From a store to the handbook: brings runs in, mines them, saves what was found, writes the pages.

All of it up to the pages happens in one transaction on the knowledge base: a bad input, a fault or an interruption
leaves the file as it was, and leaves no file where there was none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

import hpkb
import hpkb.miners
from hpkb.corrections import NO_CORRECTIONS, Corrections
from hpkb.engine import LOCAL, Engine, engine_when_needed
from hpkb.errors import SourceError, UsageError
from hpkb.kb import editions, load_sweeps
from hpkb.kb.batches import read_by
from hpkb.kb.ingest import IngestReport, ingest
from hpkb.kb.knowledge import KnowledgeBase
from hpkb.kb.mined import Memory
from hpkb.kb.outcomes import set_objective
from hpkb.kb.readings import Question, Reading, questions, readings
from hpkb.kb.records import RecordedIn
from hpkb.kb.state import TaskState, digest_of, task_states
from hpkb.kb.store import writing
from hpkb.made_by import code_digest, libraries
from hpkb.sources import Source, open_source
from hpkb.sources.objectives import parse_objective

_NEXT = 6  # experiments that the handbook proposes for each task
_ANALYSIS = "analysis"  # the name in `meta` of what the findings in the file were made with


@dataclass(frozen=True)
class AnalysisSettings:
    """What `hpkb analyze` was asked for. `source` is None where the knowledge base alone is to be mined."""

    source: str | None
    kb: Path
    experiments: tuple[str, ...] = ()
    objective: str | None = None
    handbook: Path | None = None
    miners: tuple[str, ...] = ()
    workers: int = 1
    engine: str = LOCAL
    seed: int = 0
    dry_run: bool = False
    templates: Path | None = None
    publish: bool = False
    corrections: Corrections = NO_CORRECTIONS


@dataclass(frozen=True)
class AnalysisReport:
    """What an analysis did. `ingested` is None where no store was read; `verdicts` counts the findings.

    `readings` say what the names of the source were read as, `questions` what only a person can say of them.
    """

    ingested: IngestReport | None
    n_tasks: int
    n_runs: int
    verdicts: Mapping[str, int]
    handbook: Path | None
    readings: Sequence[Reading]
    questions: Sequence[Question]
    dry_run: bool
    published: str | None = None  # the MLflow run that holds the handbook

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "source": None if self.ingested is None else asdict(self.ingested),
            "points": 0 if self.ingested is None else self.ingested.points,
            "tasks": self.n_tasks,
            "runs": self.n_runs,
            "findings": dict(self.verdicts),
            "handbook": None if self.handbook is None else str(self.handbook),
            "published": self.published,
            "names": [asdict(reading) for reading in self.readings],
            "questions": [asdict(question) for question in self.questions],
        }


class _DryRun(Exception):
    """Takes the transaction back, carrying what it would have done."""

    def __init__(self, report: AnalysisReport) -> None:
        self.report = report


def analyze_store(settings: AnalysisSettings, say: Callable[[str], None] = lambda _: None) -> AnalysisReport:
    """Brings the store's runs into the knowledge base, mines it and writes the handbook; returns what was done.

    Raises SourceError or KnowledgeBaseError with nothing written where there is nothing to compare.
    """
    for name in settings.miners:
        hpkb.miners.check(name)
    if settings.publish and settings.source is None:
        raise UsageError("No MLflow store to publish the handbook to. Name one: --tracking-uri URI.")
    try:
        report = _analyze(settings, say)
    except _DryRun as dry:
        return dry.report
    if settings.handbook is not None:
        from hpkb.pages import write_handbook

        say("writing the handbook")
        with KnowledgeBase.open(settings.kb) as base:
            write_handbook(base.connection, settings.handbook, settings.templates)
            title = f"edition {editions.present(base.connection).number}" if settings.publish else ""
        if settings.publish and settings.source is not None:
            from hpkb.ship.publish import publish  # imports MLflow's client, which takes seconds

            say("publishing the handbook")
            return replace(report, published=publish(settings.handbook, settings.source, title))
    return report


def import_table(
    source: Source, kb: Path, objective: str | None = None, corrections: Corrections = NO_CORRECTIONS
) -> IngestReport:
    """Brings other people's runs into the knowledge base, judged by the objective if given; returns what came in."""
    with writing(kb) as connection, closing(source):
        return ingest(connection, source, (), objective, corrections)


def _analyze(settings: AnalysisSettings, say: Callable[[str], None]) -> AnalysisReport:
    with engine_when_needed(settings.engine, settings.workers) as engine, writing(settings.kb) as connection:
        say("reading runs")
        ingested = _bring_in(connection, settings, engine)
        if settings.source is None and settings.objective:
            set_objective(connection, parse_objective(settings.objective))
        base, states = KnowledgeBase(connection), task_states(connection)
        if settings.dry_run:  # also where nothing can be compared: how runs are grouped may be the reason
            raise _DryRun(_report(base, ingested, states, settings))
        _check_comparable(states, ingested.source if ingested else str(settings.kb))
        made_with = _made_with(settings, states)
        if base.meta.get(_ANALYSIS) != made_with:
            _mine_and_save(base, states, settings, engine(), say)
            base.meta[_ANALYSIS] = made_with
        return _report(base, ingested, states, settings)


def _bring_in(
    connection: duckdb.DuckDBPyConnection, settings: AnalysisSettings, engine: Callable[[], Engine]
) -> IngestReport | None:
    """Brings the runs of the store in, if one is to be read; by the engine where that is on other machines."""
    if settings.source is None:
        return None
    opener = partial(open_source, settings.source)
    read_curves = None if settings.engine == LOCAL else read_by(engine, opener)
    with closing(opener()) as source:
        return ingest(
            connection, source, settings.experiments, settings.objective, settings.corrections, read_curves
        )


def _mine_and_save(
    base: KnowledgeBase,
    states: Mapping[str, TaskState],
    settings: AnalysisSettings,
    engine: Engine,
    say: Callable[[str], None],
) -> None:
    from hpkb.analysis import mine  # takes seconds to import, and often nothing is to be mined
    from hpkb.suggest.outline import keep_outlines
    from hpkb.suggest.plan import suggest_each

    memory, sweeps = Memory(base.connection, states, settings.miners, settings.seed), load_sweeps(base.connection)
    mined = mine(sweeps, settings.miners, settings.seed, engine, say, RecordedIn(base.connection), memory)
    before = editions.present(base.connection)
    base.save_findings(mined.findings)
    base.clear_defaults()
    for task, document in mined.defaults.items():
        base.save_default(task, document["verdict"], document)
    editions.turn(base.connection, before)
    base.meta["libraries"] = libraries()
    say("proposing experiments")
    base.save_suggestions(suggest_each(base, _NEXT, settings.seed))
    keep_outlines(base, sweeps)


def _check_comparable(states: Mapping[str, TaskState], where: str) -> None:
    if any(state.n_runs > 1 for state in states.values()):
        return
    runs = sum(state.n_runs for state in states.values())
    known = f"{runs} finished run{'' if runs == 1 else 's'}" if runs else "no finished run with an objective"
    grouped = "hpkb analyze --dry-run, which shows how they are grouped"
    what_next = grouped if runs > 1 else "hpkb log -- python train.py"
    raise SourceError(f"Nothing to compare in '{where}': {known}, and no task has two. Try: {what_next}")


def _made_with(settings: AnalysisSettings, states: Mapping[str, TaskState]) -> str:
    """What the findings depend on: a second analysis of the same runs with the same settings need not mine again."""
    digest = digest_of(libraries(), [(task, state.digest) for task, state in states.items()])
    miners = " ".join(sorted(settings.miners)) or "all"
    made_by = f"hpkb {hpkb.__version__} ({code_digest()}); seed {settings.seed}; miners {miners}"
    return f"{made_by}; runs {digest}"


def _report(
    base: KnowledgeBase,
    ingested: IngestReport | None,
    states: Mapping[str, TaskState],
    settings: AnalysisSettings,
) -> AnalysisReport:
    source, dry = ingested.source if ingested else None, settings.dry_run
    return AnalysisReport(
        ingested, len(states), sum(state.n_runs for state in states.values()), {} if dry else base.verdicts(),
        None if dry else settings.handbook, readings(base.connection, source), questions(base.connection, source), dry,
    )  # fmt: skip
