"""From a store to the handbook: brings runs in, mines them, saves what was found, writes the pages.

All of it up to the pages happens in one transaction on the knowledge base: a bad input, a fault or an interruption
leaves the file as it was, and leaves no file where there was none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

import hpkb
import hpkb.miners
from hpkb.analysis import mine
from hpkb.errors import SourceError
from hpkb.kb import load_sweeps
from hpkb.kb.ingest import IngestReport, ingest
from hpkb.kb.knowledge import KnowledgeBase
from hpkb.kb.store import writing
from hpkb.sources import Source, open_source
from hpkb.sources.table import open_table
from hpkb.sweep import Sweep

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
    seed: int = 0
    dry_run: bool = False


@dataclass(frozen=True)
class AnalysisReport:
    """What an analysis did. `verdicts` counts the findings; `handbook` is None where no page was asked for."""

    ingested: str
    n_tasks: int = 0
    n_runs: int = 0
    verdicts: Mapping[str, int] = field(default_factory=dict)
    handbook: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        handbook = None if self.handbook is None else str(self.handbook)
        return {
            "ingested": self.ingested,
            "tasks": self.n_tasks,
            "runs": self.n_runs,
            "findings": dict(self.verdicts),
            "handbook": handbook,
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
        hpkb.miners.load(name)
    try:
        report = _analyze(settings, say)
    except _DryRun as dry:
        return dry.report
    if settings.handbook is not None:
        from hpkb.pages import write_handbook

        say("writing the handbook")
        with KnowledgeBase.open(settings.kb) as base:
            write_handbook(base.connection, settings.handbook)
    return report


def import_table(path: Path, kb: Path, **options: Any) -> str:
    """Brings a table of runs into the knowledge base and returns one line that says what came in.

    The options are those of `hpkb.sources.table.open_table`.
    """
    source = open_table(path, **options)
    with writing(kb) as connection:
        return str(_bring_in(connection, source, (), None))


def _analyze(settings: AnalysisSettings, say: Callable[[str], None]) -> AnalysisReport:
    source = open_source(settings.source) if settings.source else None
    with writing(settings.kb) as connection:
        say("reading runs")
        ingested = _bring_in(connection, source, settings.experiments, settings.objective)
        sweeps = load_sweeps(connection)
        _check_comparable(sweeps, settings)
        base = KnowledgeBase(connection)
        made_with = _made_with(settings)
        if settings.dry_run:
            raise _DryRun(_report(ingested, sweeps, [], None))
        if ingested.changes or base.get_meta(_ANALYSIS) != made_with:
            _mine_and_save(base, sweeps, settings, say)
            base.set_meta(_ANALYSIS, made_with)
        return _report(ingested, sweeps, [f.verdict for f in base.findings()], settings.handbook)


def _bring_in(
    connection: duckdb.DuckDBPyConnection, source: Source | None, experiments: Sequence[str], objective: str | None
) -> IngestReport:
    try:
        return ingest(connection, source, experiments, objective)
    finally:
        if source is not None:
            source.close()


def _mine_and_save(
    base: KnowledgeBase, sweeps: Sequence[Sweep], settings: AnalysisSettings, say: Callable[[str], None]
) -> None:
    mined = mine(sweeps, settings.miners, settings.seed, settings.workers, say)
    base.save_findings(mined.findings)
    base.clear_defaults()
    for task, document in mined.defaults.items():
        base.save_default(task, document["verdict"], document)


def _check_comparable(sweeps: Sequence[Sweep], settings: AnalysisSettings) -> None:
    if any(sweep.n_runs > 1 for sweep in sweeps):
        return
    where = settings.source or settings.kb
    runs = sum(sweep.n_runs for sweep in sweeps)
    known = f"{runs} finished run{'' if runs == 1 else 's'}" if runs else "no finished run with an objective"
    raise SourceError(
        f"Nothing to compare in '{where}': {known}, and no task has two. Try: hpkb log -- python train.py"
    )


def _made_with(settings: AnalysisSettings) -> str:
    """What the findings depend on beside the runs."""
    return f"hpkb {hpkb.__version__}; seed {settings.seed}; miners {' '.join(sorted(settings.miners)) or 'all'}"


def _report(
    ingested: IngestReport, sweeps: Sequence[Sweep], verdicts: Sequence[str], handbook: Path | None
) -> AnalysisReport:
    runs = sum(sweep.n_runs for sweep in sweeps)
    return AnalysisReport(str(ingested), len(sweeps), runs, dict(sorted(Counter(verdicts).items())), handbook)
