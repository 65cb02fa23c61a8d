"""The outcome of each run: its task's objective, its configuration and seed, and whether it is infeasible.

The objective of a run is the last value of its task's metric: what the run ended with, and what a user of its weights
gets. Findings rest on it alone. The best value of the curve is kept beside it, but never used in its place: it is the
better the more often a run was evaluated and the more its curve scatters, and so favours noise. The smoothed best, of
means over a twentieth of the points each, does so less; a run that is far worse at its end than there should have been
stopped earlier.

A run that ended is infeasible where its last value or its last training loss is NaN or infinite, where it ran out of
memory, and where its training loss ended at twice its first value or more. A run that is still running has no outcome,
nor has one that failed or was killed before it got as far as the median finished run of its task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import duckdb
import pyarrow as pa

from hpkb.configuration import in_configuration
from hpkb.kb import tasks
from hpkb.kb.judging import (
    GIVEN,
    Task,
    TaskSummary,
    check,
    counts_of,
    given_before,
    judge,
    known,
    stated_objectives,
    summaries,
    write,
)
from hpkb.kb.staging import registered
from hpkb.kb.store import transaction
from hpkb.sources.objectives import TRAIN_LOSSES, Objective, plain, prefer

_OF_SOURCE = """-- One row per task with a run of the source.
SELECT DISTINCT task_id FROM runs WHERE source = $source ORDER BY ALL"""

_TOUCHED = """-- One row per task with a run that is not as it was.
SELECT task_id FROM touched ORDER BY ALL"""

_NAMES = """-- One row per parameter that is recorded.
SELECT DISTINCT name FROM hyperparameters"""

_METRICS = """-- One row per metric that is recorded.
SELECT DISTINCT metric FROM curve_features"""

# 0.001 and 1e-3 are one configuration, True and true as well; beyond seven digits it is single precision speaking.
_CONFIGURATIONS = """-- One row per run: its configuration's digest and its seed.
CREATE OR REPLACE TEMP TABLE settled_configurations AS
WITH plain AS (
    SELECT h.run_id, h.name, CASE WHEN h.value_number IS NOT NULL THEN format('{:.7g}', h.value_number + 0.0)
        WHEN lower(h.value_text) IN ('true', 'false') THEN lower(h.value_text) ELSE h.value_text END AS value
    FROM hyperparameters h JOIN runs r USING (run_id) JOIN settling USING (task_id)
    JOIN configuration_names USING (name))
SELECT r.run_id,
    left(md5(coalesce(string_agg(p.name || chr(31) || p.value, chr(30) ORDER BY p.name), '')), 16) AS configuration_id,
FROM runs r JOIN settling USING (task_id) LEFT JOIN plain p USING (run_id) GROUP BY r.run_id"""

_SEEDS = """-- One row per run with a seed.
CREATE OR REPLACE TEMP TABLE settled_seeds AS
SELECT h.run_id, TRY_CAST(h.value_number AS BIGINT) AS seed
FROM hyperparameters h JOIN runs r USING (run_id) JOIN settling USING (task_id) WHERE h.name = 'seed'"""

_TRAIN_LOSSES = """-- One row per run with a training loss: the features of the one that is known best.
CREATE OR REPLACE TEMP TABLE settled_losses AS
SELECT f.run_id, arg_min(f, (l.rank, f.metric)) AS loss
FROM curve_features f JOIN train_losses l USING (metric) JOIN runs r USING (run_id) JOIN settling USING (task_id)
GROUP BY f.run_id"""

# The features have the best window by what the metric's name says; the objective may be the other way round.
_TURNED = """-- One row per run whose best window is not that of the features.
CREATE OR REPLACE TEMP TABLE settled_turned AS
WITH points AS (
    SELECT c.run_id, s.direction, c.value, row_number() OVER own - 1 AS place, f.n_points AS n, c.step, c.timestamp
    FROM curves c JOIN runs r USING (run_id) JOIN settling s ON s.task_id = r.task_id AND s.metric = c.metric
    JOIN curve_features f ON f.run_id = c.run_id AND f.metric = c.metric AND f.direction <> s.direction
    WINDOW own AS (PARTITION BY c.run_id ORDER BY c.step, c.timestamp, c.value)),
windows AS (
    SELECT run_id, direction, list_avg(list(value ORDER BY place)) AS mean
    FROM points WHERE isfinite(value) GROUP BY run_id, direction, place * least(20, n) // n)
SELECT run_id, CASE direction WHEN 'max' THEN max(mean) ELSE min(mean) END AS smoothed_best
FROM windows GROUP BY run_id, direction"""

_OUTCOMES = """-- One row per run of the tasks that are settled anew.
CREATE OR REPLACE TEMP TABLE outcomes AS
WITH measured AS (
    SELECT r.run_id, r.task_id, r.status, r.end_reason, s.direction, o.last_value AS objective, o.last_step, t.loss,
        CASE s.direction WHEN 'max' THEN o.maximum ELSE o.minimum END AS best,
        coalesce(b.smoothed_best, o.smoothed_best) AS smoothed_best, s.metric || ':' || s.direction AS objective_of,
        r.status IN ('RUNNING', 'SCHEDULED') AS is_running,
        median(o.last_step) FILTER (r.status = 'FINISHED') OVER (PARTITION BY r.task_id) AS usual_end
    FROM runs r JOIN settling s USING (task_id)
    LEFT JOIN curve_features o ON o.run_id = r.run_id AND o.metric = s.metric
    LEFT JOIN settled_turned b ON b.run_id = r.run_id
    LEFT JOIN settled_losses t ON t.run_id = r.run_id),
judged AS (
    SELECT *, CASE
        WHEN is_running THEN NULL
        WHEN starts_with(end_reason, 'infeasible: ') THEN end_reason[13:]
        WHEN status <> 'FINISHED' AND regexp_matches(end_reason, '(?i)out ?of ?memory|MemoryError') THEN 'out of memory'
        WHEN isnan(objective) THEN 'objective is NaN'
        WHEN isinf(objective) THEN 'objective is infinite'
        WHEN isnan(loss.last_value) THEN loss.metric || ' is NaN'
        WHEN isinf(loss.last_value) THEN loss.metric || ' is infinite'
        WHEN loss.first_value > 0 AND isfinite(loss.first_value) AND loss.tail_mean >= 2 * loss.first_value
            THEN format('{} rose from {:.4g} to {:.4g}', loss.metric, loss.first_value, loss.tail_mean)
        END AS reason
    FROM measured)
SELECT run_id, reason, objective_of, CASE WHEN NOT is_running THEN objective END AS objective,
    CASE WHEN NOT is_running THEN best END AS best, CASE WHEN NOT is_running THEN smoothed_best END AS smoothed_best,
    CASE WHEN is_running OR reason IS NOT NULL THEN NULL
         WHEN status IN ('FAILED', 'KILLED') AND last_step < usual_end THEN NULL
         WHEN direction = 'max' THEN -objective ELSE objective END AS objective_min
FROM judged"""

_SETTLE = """-- One row per run of the tasks that are settled anew.
UPDATE runs SET configuration_id = c.configuration_id, seed = c.seed, objective_of = c.objective_of,
    objective = c.objective, objective_best = c.best, objective_smoothed_best = c.smoothed_best,
    objective_min = c.objective_min, infeasible = c.reason IS NOT NULL, infeasible_reason = c.reason
FROM (SELECT * FROM outcomes JOIN settled_configurations USING (run_id) LEFT JOIN settled_seeds USING (run_id)) c
WHERE runs.run_id = c.run_id"""


def settle(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    given: Sequence[Objective],
    grouped_by: Mapping[str, str],
) -> tuple[TaskSummary, ...]:
    """Decides the outcome of every run that may have another one now, and returns the source's tasks.

    `given` holds for all tasks of the source, `grouped_by` says of every task what made its runs one. The temporary
    table `touched` names the tasks whose runs are not as they were. Raises SourceError where no task has an objective
    though there are metrics.
    """
    counts, before, stated = counts_of(connection), known(connection), stated_objectives(connection)
    of_source, touched = _texts(connection, _OF_SOURCE, source=source), set(_texts(connection, _TOUCHED))
    after = {task: replace(row, grouped_by=grouped_by.get(task, "")) for task, row in before.items()}
    for task in touched | {*of_source}:
        kept = () if task in of_source else given_before(before.get(task))
        choice = judge(task, counts, given if task in of_source else kept, stated)
        after[task] = Task(choice, grouped_by.get(task, ""))
    write(
        connection, {task: now for task, now in after.items() if task in touched or now != before.get(task)}
    )
    altered = {task for task, now in after.items() if now.choice.objective != _objective(before.get(task))}
    _settle(connection, {task: after[task].choice.objective for task in touched | altered})
    shown = {task: after[task] for task in of_source}
    wanted = given or [o for task in of_source if task in stated for o in stated[task][0]]
    check(source, [*dict.fromkeys(wanted)], {task: now.choice for task, now in shown.items()}, counts)
    return summaries(connection, shown)


def set_objective(connection: duckdb.DuckDBPyConnection, objective: Sequence[Objective]) -> None:
    """Judges every task of the knowledge base by the first of these objectives that it has; others stay as they are.

    Raises SourceError, and changes nothing, where no task has any of them.
    """
    counts = counts_of(connection)
    chosen = {
        task: prefer(counts.metrics[task], counts.runs[task], objective, GIVEN) for task in counts.metrics
    }
    check("the knowledge base", objective, chosen, counts)
    with transaction(connection):
        grouped_by = tasks.assign(connection)
        found = {task: choice for task, choice in chosen.items() if choice.objective}
        write(connection, {task: Task(choice, grouped_by.get(task, "")) for task, choice in found.items()})
        _settle(connection, {task: choice.objective for task, choice in found.items()})


def _objective(task: Task | None) -> Objective | None:
    return None if task is None else task.choice.objective


def _settle(connection: duckdb.DuckDBPyConnection, objectives: Mapping[str, Objective | None]) -> None:
    """Writes the outcomes of the runs of these tasks."""
    if not objectives:
        return
    metrics = [metric for metric in _texts(connection, _METRICS) if plain(metric) in TRAIN_LOSSES]
    names = [name for name in _texts(connection, _NAMES) if in_configuration(name)]
    with (
        registered(connection, "settling", _settling(objectives)),
        registered(connection, "train_losses", _ranked(metrics)),
        registered(connection, "configuration_names", pa.table({"name": pa.array(names, pa.string())})),
    ):
        for statement in (_CONFIGURATIONS, _SEEDS, _TRAIN_LOSSES, _TURNED, _OUTCOMES, _SETTLE):
            connection.execute(statement)


def _settling(objectives: Mapping[str, Objective | None]) -> pa.Table:
    rows = sorted(objectives.items(), key=lambda item: item[0])
    columns = {
        "task_id": [task for task, _ in rows],
        "metric": [o.metric if o else None for _, o in rows],
        "direction": [o.direction if o else None for _, o in rows],
    }
    return pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})


def _ranked(losses: Sequence[str]) -> pa.Table:
    ranks = [TRAIN_LOSSES.index(plain(metric)) for metric in losses]
    return pa.table({"metric": pa.array(losses, pa.string()), "rank": pa.array(ranks, pa.int64())})


def _texts(connection: duckdb.DuckDBPyConnection, sql: str, **values: str) -> list[str]:
    return [row[0] for row in connection.execute(sql, values).fetchall()]
