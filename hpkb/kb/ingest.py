"""Runs brought from a source into the knowledge base: only those that are new or changed are read.

A run is compared by its fingerprint, by its id alone: a store that was moved is taken over under its new name.
Everything happens in one transaction. What comes out depends on the source's present state only, so that a file that
grew over many analyses equals one built anew, row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from hpkb.corrections import NO_CORRECTIONS, Corrections
from hpkb.errors import SourceError
from hpkb.kb import outcomes, parameters, tasks
from hpkb.kb.batches import ReadCurves, add_features_of, read_into
from hpkb.kb.curves import forget_curves
from hpkb.kb.judging import TaskSummary
from hpkb.kb.lake_curves import keep_in_lake, leave_lake
from hpkb.kb.store import make_room, transaction, writing
from hpkb.kb.unique import check_unique
from hpkb.sources import Source
from hpkb.sources.lake import Lake
from hpkb.sources.objectives import NO_METRIC, parse_objective
from hpkb.vocabulary import digest


@dataclass(frozen=True)
class IngestReport:
    """What one ingest did: runs by what became of them, points read, and tasks that need an objective and have none.

    `notes` says what had to be altered on the way, as sentences; `tasks_shown` how the runs were grouped, and what
    each task is judged by.
    """

    source: str
    new: int
    changed: int
    removed: int
    unchanged: int
    points: int
    tasks: tuple[str, ...]
    without_objective: tuple[str, ...]
    notes: tuple[str, ...] = ()
    tasks_shown: tuple[TaskSummary, ...] = ()


_COMPARE = """-- One row per run of the source, present, past or both: what has become of it.
CREATE OR REPLACE TEMP TABLE changes AS
SELECT run_id, s.fingerprint,
    CASE WHEN r.run_id IS NULL THEN 'new' WHEN s.run_id IS NULL THEN 'removed'
         WHEN r.fingerprint <> s.fingerprint THEN 'changed' ELSE 'unchanged' END AS change
FROM (SELECT run_id, md5(fingerprint || $reading) AS fingerprint FROM seen) s FULL JOIN runs r USING (run_id)
WHERE s.run_id IS NOT NULL
   OR (r.source = $source AND (len($experiments) = 0 OR list_contains($experiments, r.experiment)))"""

_COUNTS = """-- One row per kind of change.
SELECT change, count(*) FROM changes GROUP BY change"""

_TO_READ = """-- One row per run to read.
SELECT run_id FROM changes WHERE change IN ('new', 'changed') ORDER BY run_id"""

_POINTS = """-- One row: how many points the curves have that were read.
SELECT coalesce(sum(n_points), 0) FROM curve_features JOIN changes USING (run_id) WHERE change IN ('new', 'changed')"""

_TOUCHED = """-- One row per task that had or has a run that is not as it was.
CREATE OR REPLACE TEMP TABLE touched AS
SELECT DISTINCT task_id FROM runs JOIN changes USING (run_id) WHERE change IN ('changed', 'removed')"""
_ALSO_TOUCHED = """-- One row per task that has one now.
INSERT INTO touched
SELECT DISTINCT task_id FROM runs JOIN changes USING (run_id) WHERE change IN ('new', 'changed')"""

_FORGET = tuple(
    "-- One row less per row of a run that is gone, or about to be read again.\n"
    "DELETE FROM " + table + " WHERE run_id IN (SELECT run_id FROM changes WHERE change IN ('changed', 'removed'))"
    for table in ("curve_features", "generalization_gaps", "hyperparameters", "splits", "hardware", "runs")
)

_TAKE_OVER = """-- One row per run that is the same as before, but comes from elsewhere now.
UPDATE runs SET source = $source
WHERE source <> $source AND run_id IN (SELECT run_id FROM changes WHERE change = 'unchanged')"""

_ADD_SOURCE = """-- One row per source.
INSERT OR REPLACE INTO sources VALUES ($source, $kind, CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP))"""

_ADD_RUNS = """-- One row per run; its task and its outcome follow when all its rows are there.
INSERT INTO runs (run_id, task_id, source, experiment, run_name, status, started_at, ended_at, end_reason, fingerprint)
SELECT run_id, NULL, $source, s.experiment, s.run_name, s.status, s.started_at, s.ended_at, s.end_reason,
    c.fingerprint
FROM staged s JOIN changes c USING (run_id)"""

_ADD_HARDWARE = """-- One row per run and fact.
INSERT INTO hardware SELECT run_id, name, value FROM staged"""

_ADD_SPLITS = """-- One row per run and split.
INSERT INTO splits SELECT run_id, role, digest, n_examples FROM staged"""


def ingest_into(
    path: str | Path,
    source: Source,
    experiments: Sequence[str] = (),
    objective: str | None = None,
    corrections: Corrections = NO_CORRECTIONS,
) -> IngestReport:
    """Returns what an ingest into the knowledge base's file did; the same as `ingest` in a `writing` of its own."""
    with writing(path) as connection:
        return ingest(connection, source, experiments, objective, corrections)


def ingest(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    experiments: Sequence[str] = (),
    objective: str | None = None,
    corrections: Corrections = NO_CORRECTIONS,
    read_curves: ReadCurves | None = None,
) -> IngestReport:
    """Brings the runs of a source in, of the experiments named or of all, and returns what that did.

    `objective` ("val_loss:min"; several in order of preference with commas) holds for the source's tasks. Without it,
    each task has the one that the corrections or the source state, or what `sources.objectives.choose` makes of the
    metrics of its runs. `read_curves` puts in the curves of runs and their features where that is not to be done here;
    those of a lake stay there in any case. Raises SourceError, and changes nothing, where an experiment is not known,
    where there is no run, and where no run has the objective.
    """
    given = parse_objective(objective) if objective else ()
    _check_experiments(source, experiments)
    with transaction(connection):
        counts = _compare(connection, source, experiments, corrections)
        connection.execute(_TOUCHED)
        forget_curves(connection)
        for statement in _FORGET:
            connection.execute(statement)
        connection.execute(_TAKE_OVER, {"source": source.name})
        points, notes = _bring_in(connection, source, corrections, read_curves)
        if isinstance(source, Lake):
            keep_in_lake(connection, source)
        grouped_by = tasks.assign(connection)
        connection.execute(_ALSO_TOUCHED)
        shown = outcomes.settle(connection, source.name, given, grouped_by)
    return IngestReport(
        source.name, counts.get("new", 0), counts.get("changed", 0), counts.get("removed", 0),
        counts.get("unchanged", 0), points, tuple(task.task for task in shown if task.objective),
        tuple(task.task for task in shown if not task.objective and task.reason != NO_METRIC),
        _altered(Counter(source.notes()) + notes), shown,
    )  # fmt: skip


def _check_experiments(source: Source, experiments: Sequence[str]) -> None:
    known = source.experiments()
    for experiment in experiments:
        if experiment not in known:
            raise SourceError(_no_runs(f"experiment '{experiment}'", experiment, known))


def _compare(
    connection: duckdb.DuckDBPyConnection, source: Source, experiments: Sequence[str], corrections: Corrections
) -> dict[str, int]:
    # What a run's names mean is part of its state here: other names or corrections, and it is read anew.
    reading = digest() + corrections.digest
    connection.register("seen", source.fingerprints(experiments))
    values = {"source": source.name, "experiments": list(experiments), "reading": reading}
    connection.execute(_COMPARE, values)
    connection.unregister("seen")
    if not isinstance(source, Lake):
        leave_lake(connection)
    counts = dict(connection.execute(_COUNTS).fetchall())
    if not counts:
        where = f"experiment '{experiments[0]}'" if experiments else f"'{source.name}'"
        what = "; ".join([where, *_altered(source.notes())])  # a run that is left out as damaged is the reason
        raise SourceError(_no_runs(what, experiments[0] if experiments else "NAME", source.experiments()))
    make_room(connection, sum(counts.values()))
    return counts


def _altered(notes: Mapping[str, int]) -> tuple[str, ...]:
    """What had to be altered or left out on the way, a sentence each."""
    return tuple(f"{count:,} {what}" for what, count in notes.items())


def _no_runs(where: str, experiment: str, known: Sequence[str]) -> str:
    names = f" Known: {', '.join(known)}." if known else ""
    return f"No runs in {where}.{names} Try: hpkb log --experiment {experiment} -- python train.py"


def _bring_in(
    connection: duckdb.DuckDBPyConnection, source: Source, corrections: Corrections, read_curves: ReadCurves | None
) -> tuple[int, Counter[str]]:
    """Reads the new and changed runs, and returns the number of their points, and what others had to alter."""
    connection.execute(_ADD_SOURCE, {"source": source.name, "kind": source.kind})
    ids = connection.sql(_TO_READ).to_arrow_table()["run_id"].combine_chunks()
    if not len(ids):
        return 0, Counter()
    runs, recorded = source.runs(ids), source.parameters(ids)
    _insert(connection, _ADD_RUNS, runs, source=source.name)
    tasks.state(connection, _from_stores(source, runs), recorded, corrections)
    parameters.add(connection, recorded, corrections)
    _insert(connection, _ADD_HARDWARE, source.hardware(ids))
    _insert(connection, _ADD_SPLITS, source.splits(ids))
    notes: Counter[str] = Counter()
    if isinstance(source, Lake):
        add_features_of(connection, source.features(ids), source.gaps(ids))
    elif read_curves:
        notes = read_curves(connection, ids)
    else:
        read_into(connection, source, ids)
    check_unique(connection, source.name)
    return int(connection.execute(_POINTS).fetchall()[0][0]), notes


def _from_stores(source: Source, runs: pa.Table) -> list[tasks.FromStore]:
    """The runs with what their store says: in a lake, the one that they came from."""
    if not isinstance(source, Lake):
        return [tasks.FromStore(source.kind, source.objectives(), runs)]
    return [tasks.FromStore(kind, objectives, part) for kind, objectives, part in source.by_store(runs)]


def _insert(connection: duckdb.DuckDBPyConnection, sql: str, rows: object, **values: str) -> None:
    connection.register("staged", rows)
    try:
        connection.execute(sql, values)
    finally:
        connection.unregister("staged")
