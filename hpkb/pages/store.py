"""The knowledge base as the handbook reads it: one pass of SQL, rows as frozen dataclasses, no statistic."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import duckdb

from hpkb.kb import editions
from hpkb.kb.editions import Edition
from hpkb.kb.knowledge import run_lists
from hpkb.kb.lake_curves import attach_lakes, stores_of_lakes
from hpkb.kb.store import has_table
from hpkb.pages import redacted

#: How many points of a curve a chart is given; more are not told apart at its width.
CURVE_POINTS = 120

_TASKS = """-- One row per task that has runs.
SELECT task_id, name, metric, direction, coalesce(grouped_by, ''), coalesce(objective_reason, '') FROM tasks t
WHERE EXISTS (SELECT 1 FROM runs r WHERE r.task_id = t.task_id) ORDER BY name, task_id"""

_RUNS = """-- One row per run.
SELECT run_id, coalesce(task_id, ''), source, coalesce(experiment, ''), coalesce(run_name, ''), coalesce(status, ''),
    started_at, ended_at, coalesce(configuration_id, run_id), seed, objective, objective_min, infeasible,
    coalesce(infeasible_reason, ''), coalesce(end_reason, '')
FROM runs ORDER BY started_at NULLS LAST, run_id"""

_CONFIGURATIONS = """-- One row per task and configuration of which every run with an outcome has an objective.
SELECT task_id, coalesce(configuration_id, run_id), list(objective) FROM runs
WHERE task_id IS NOT NULL AND (infeasible OR objective_min IS NOT NULL)
GROUP BY ALL HAVING count(*) = count(objective_min) AND NOT bool_or(infeasible)"""

_PARAMETERS = """-- One row per run and parameter.
SELECT run_id, name, value_text, value_number FROM hyperparameters ORDER BY run_id, name"""

_SPLITS = """-- One row per task, role and digest.
SELECT r.task_id, s.role, coalesce(s.digest, ''), s.n_examples, count(*) FROM splits s JOIN runs r USING (run_id)
WHERE r.task_id IS NOT NULL GROUP BY ALL ORDER BY ALL"""

_HARDWARE = """-- One row per task, fact and value.
SELECT r.task_id, h.name, coalesce(h.value, ''), count(*) FROM hardware h JOIN runs r USING (run_id)
WHERE r.task_id IS NOT NULL GROUP BY ALL ORDER BY ALL"""

_FINDINGS = """-- One row per finding.
SELECT document, figure FROM findings ORDER BY miner, coalesce(task, ''), quantity, finding_id"""

_DEFAULTS = """-- One row per recommendation.
SELECT task, document FROM defaults ORDER BY task"""

_SUGGESTIONS = """-- One row per task.
SELECT document FROM suggestions ORDER BY task"""

_CURVES = """-- One row per run, metric and step; every k-th point of a long curve, and its last.
WITH wanted AS (
    SELECT run_id, metric, step, value,
        row_number() OVER (PARTITION BY run_id, metric ORDER BY step, timestamp, value) AS position,
        count(*) OVER (PARTITION BY run_id, metric) AS points
    FROM curves WHERE run_id IN (SELECT unnest($run_ids)) AND metric IN (SELECT unnest($metrics))
)
SELECT run_id, metric, step, value FROM wanted
WHERE position = points OR (position - 1) % greatest(1, points // $limit) = 0
ORDER BY run_id, metric, position"""


@dataclass(frozen=True)
class Parameter:
    """One recorded parameter of a run; `number` is None where the text is none."""

    text: str
    number: float | None


@dataclass(frozen=True)
class Run:
    """One run as the knowledge base has it."""

    parameters: Mapping[str, Parameter]
    run_id: str
    task_id: str
    source: str
    experiment: str
    name: str
    status: str
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    configuration_id: str
    seed: int | None
    objective: float | None
    objective_min: float | None
    infeasible: bool
    infeasible_reason: str
    end_reason: str

    @property
    def has_outcome(self) -> bool:
        """Whether the run takes part in the findings."""
        return self.infeasible or self.objective_min is not None


@dataclass(frozen=True)
class Fact:
    """One thing that some runs of a task have in common: a split's digest, a processor."""

    name: str
    value: str
    n_runs: int
    n_examples: int | None = None


@dataclass(frozen=True)
class Task:
    """One task with its runs in the order in which they started."""

    task_id: str
    name: str
    metric: str
    direction: str
    runs: tuple[Run, ...]
    splits: tuple[Fact, ...]
    hardware: tuple[Fact, ...]
    grouped_by: str
    objective_reason: str
    means: Mapping[str, tuple[float, float | None]]  # of the objective, and its standard deviation, by configuration


@dataclass(frozen=True)
class Record:
    """One finding: the JSON of the contract and the numbers of its chart."""

    document: Mapping[str, Any]
    figure: Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """Some points of one metric of one run; a value may be NaN or infinite."""

    run_id: str
    metric: str
    points: tuple[tuple[int, float | None], ...]


@dataclass(frozen=True)
class Knowledge:
    """Everything that the handbook shows. `defaults` has the key '' for the recommendation over all tasks."""

    tasks: tuple[Task, ...]
    runs: Mapping[str, Run]
    findings: tuple[Record, ...]
    defaults: Mapping[str, Mapping[str, Any]]
    meta: Mapping[str, str]
    suggestions: tuple[Mapping[str, Any], ...]  # of tasks, as `hpkb suggest` gives them in JSON
    editions: tuple[Edition, Edition]  # the one before, and the present one
    sources: tuple[tuple[str, str], ...]


def read(connection: duckdb.DuckDBPyConnection) -> Knowledge:
    """Returns what the handbook shows."""
    parameters = connection.execute(_PARAMETERS).fetchall()
    secrets = redacted.hidden((name, text or "") for _, name, text, _ in parameters)
    runs = _runs(connection, parameters)
    meta = connection.execute(
        "-- One row per fact.\nSELECT name, coalesce(value, '') FROM meta ORDER BY name"
    ).fetchall()
    sources = connection.execute(
        "-- One row per source.\nSELECT source, kind FROM sources ORDER BY source"
    ).fetchall()
    findings = connection.execute(_FINDINGS).fetchall()
    defaults = connection.execute(_DEFAULTS).fetchall()
    return Knowledge(
        tasks=_tasks(connection, runs),
        runs={run.run_id: run for run in runs},
        findings=_records(connection, findings, secrets),
        defaults={task: redacted.document(document, secrets) for task, document in defaults},
        meta=dict(meta),
        suggestions=tuple(redacted.document(document, secrets) for (document,) in _suggestions(connection)),
        editions=(editions.last(connection), editions.present(connection)),
        sources=tuple((source, kind) for source, kind in sources),
    )


def _records(
    connection: duckdb.DuckDBPyConnection, rows: list[tuple[str, str | None]], secrets: tuple[str, ...]
) -> tuple[Record, ...]:
    documents = [redacted.document(document, secrets) for document, _ in rows]
    lists = {
        name: redacted.document(json.dumps(runs, ensure_ascii=False), secrets)
        for name, runs in run_lists(connection, documents).items()
    }
    for document in documents:
        document.setdefault("run_ids", lists.get(document.pop("run_list", ""), []))
    figures = (redacted.document(figure or "{}", secrets) for _, figure in rows)
    return tuple(map(Record, documents, figures))


def _suggestions(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """Returns the rows of what was proposed; none of a file from before it was kept."""
    return connection.execute(_SUGGESTIONS).fetchall() if has_table(connection, "suggestions") else []


def curves(connection: duckdb.DuckDBPyConnection, run_ids: list[str], metrics: list[str]) -> list[Curve]:
    """Returns the curves of some runs, thinned to what a chart can show."""
    attach_lakes(connection)
    bound = {"run_ids": run_ids, "metrics": metrics, "limit": CURVE_POINTS}
    points: dict[tuple[str, str], list[tuple[int, float | None]]] = defaultdict(list)
    for run_id, metric, step, value in connection.execute(_CURVES, bound).fetchall():
        points[run_id, metric].append((step, value))
    return [Curve(run_id, metric, tuple(rows)) for (run_id, metric), rows in points.items()]


def _runs(connection: duckdb.DuckDBPyConnection, rows: list[tuple[Any, ...]]) -> list[Run]:
    parameters: dict[str, dict[str, Parameter]] = defaultdict(dict)
    for run_id, name, text, value in rows:
        shown = redacted.parameter(name, text or "")
        parameters[run_id][name] = Parameter(shown, value if shown == (text or "") else None)
    rows, stores = connection.execute(_RUNS).fetchall(), stores_of_lakes(connection)
    return [
        Run(parameters.get(run_id, {}), run_id, task, stores.get(run_id, source), *others)
        for run_id, task, source, *others in rows
    ]


def _tasks(connection: duckdb.DuckDBPyConnection, runs: list[Run]) -> tuple[Task, ...]:
    by_task: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_task[run.task_id].append(run)
    splits, hardware = defaultdict(list), defaultdict(list)
    for task_id, role, digest, examples, n in connection.execute(_SPLITS).fetchall():
        splits[task_id].append(Fact(role, digest, n, examples))
    for task_id, name, value, n in connection.execute(_HARDWARE).fetchall():
        hardware[task_id].append(Fact(name, value, n))
    means: dict[str, dict[str, tuple[float, float | None]]] = defaultdict(dict)
    for task_id, configuration, values in connection.execute(_CONFIGURATIONS).fetchall():
        # exact sums, unlike the database's, do not depend on the order of the rows
        means[task_id][configuration] = (fmean(values), stdev(values) if len(values) > 1 else None)
    return tuple(
        Task(
            id_, name, metric, direction, tuple(by_task[id_]), tuple(splits[id_]), tuple(hardware[id_]), grouped_by,
            reason, means[id_],
        )
        for id_, name, metric, direction, grouped_by, reason in connection.execute(_TASKS).fetchall()
    )  # fmt: skip
