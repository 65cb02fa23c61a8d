"""The outcome of each run: its task's objective, its configuration and seed, and whether it is infeasible.

A task is the tag `hpkb.task`, else the experiment. The objective of a run is the last value of its task's metric. A run
that ended is infeasible where that value or its last training loss is NaN or infinite, where it ran out of memory,
and where its training loss ended at twice its first value or more. A run that is still running has no outcome, nor has
one that failed or was killed before it got as far as the median finished run of its task.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from hpkb.configuration import in_configuration
from hpkb.errors import SourceError
from hpkb.kb.store import transaction
from hpkb.sources.objectives import TRAIN_LOSSES, Objective, caveat, choose, plain

_LISTED = 12  # metrics that an error names


@dataclass(frozen=True)
class Settled:
    """The tasks that have an objective, those that have none, and what to know of the objectives, as sentences."""

    tasks: tuple[str, ...]
    without_objective: tuple[str, ...]
    notes: tuple[str, ...]


_COUNTS = """-- One row per task and metric: how many of its ended runs have it.
SELECT r.task_id, f.metric, count(*) FROM runs r JOIN curve_features f USING (run_id)
WHERE r.status NOT IN ('RUNNING', 'SCHEDULED') GROUP BY ALL ORDER BY ALL"""

_ENDED = """-- One row per task: how many of its ended runs have any metric.
SELECT task_id, count(*) FROM runs
WHERE status NOT IN ('RUNNING', 'SCHEDULED') AND run_id IN (SELECT run_id FROM curve_features) GROUP BY ALL"""

_OF_SOURCE = """-- One row per task with a run of the source.
SELECT DISTINCT task_id FROM runs WHERE source = $source ORDER BY ALL"""

_TOUCHED = """-- One row per task with a run that is not as it was.
SELECT task_id FROM touched ORDER BY ALL"""

_KNOWN = """-- One row per task that has an objective.
SELECT task_id, metric, direction FROM tasks"""

_NAMES = """-- One row per parameter that is recorded.
SELECT DISTINCT name FROM hyperparameters"""

_METRICS = """-- One row per metric that is recorded.
SELECT DISTINCT metric FROM curve_features"""

_DROP_TASKS = """-- One row less per task that is settled anew.
DELETE FROM tasks WHERE task_id IN (SELECT task_id FROM settling)"""
_ADD_TASKS = """-- One row per task with an objective.
INSERT INTO tasks SELECT task_id, task_id, metric, direction FROM settling
WHERE metric IS NOT NULL AND task_id IN (SELECT task_id FROM runs)"""

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

_OUTCOMES = """-- One row per run of the tasks that are settled anew.
CREATE OR REPLACE TEMP TABLE outcomes AS
WITH measured AS (
    SELECT r.run_id, r.task_id, r.status, r.end_reason, s.direction, o.last_value AS objective, o.last_step, t.loss,
        r.status IN ('RUNNING', 'SCHEDULED') AS is_running,
        median(o.last_step) FILTER (r.status = 'FINISHED') OVER (PARTITION BY r.task_id) AS usual_end
    FROM runs r JOIN settling s USING (task_id)
    LEFT JOIN curve_features o ON o.run_id = r.run_id AND o.metric = s.metric
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
SELECT run_id, reason, CASE WHEN NOT is_running THEN objective END AS objective,
    CASE WHEN is_running OR reason IS NOT NULL THEN NULL
         WHEN status IN ('FAILED', 'KILLED') AND last_step < usual_end THEN NULL
         WHEN direction = 'max' THEN -objective ELSE objective END AS objective_min
FROM judged"""

_SETTLE = """-- One row per run of the tasks that are settled anew.
UPDATE runs SET configuration_id = c.configuration_id, seed = c.seed, objective = c.objective,
    objective_min = c.objective_min, infeasible = c.reason IS NOT NULL, infeasible_reason = c.reason
FROM (SELECT * FROM outcomes JOIN settled_configurations USING (run_id) LEFT JOIN settled_seeds USING (run_id)) c
WHERE runs.run_id = c.run_id"""


def settle(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    given: Sequence[Objective],
    stated: Mapping[str, Sequence[Objective]],
) -> Settled:
    """Decides the outcome of every run that may have another one now, and returns its tasks.

    `given` holds for all tasks of the source, `stated` by task. The temporary table `touched` names the tasks whose
    runs changed. Raises SourceError where no task has an objective though there are metrics.
    """
    counts, n_runs = _counts(connection), dict(connection.execute(_ENDED).fetchall())
    before = _objectives(connection)
    of_source = _texts(connection, _OF_SOURCE, source=source)
    after = dict(before)
    for task in of_source:
        after[task] = choose(counts[task], n_runs.get(task, 0), given or stated.get(task, ()))
    touched = set(_texts(connection, _TOUCHED))
    altered = {task for task in of_source if after[task] != before.get(task)}
    _settle(connection, {task: after.get(task) for task in touched | altered})
    wanted = given or list(dict.fromkeys(o for objectives in stated.values() for o in objectives))
    _check(source, wanted, {task: after[task] for task in of_source}, counts)
    return _settled({task: after[task] for task in of_source}, given or stated)


def set_objective(connection: duckdb.DuckDBPyConnection, objective: Sequence[Objective]) -> None:
    """Judges every task of the knowledge base by the first of these objectives that it has; others stay as they are.

    Raises SourceError, and changes nothing, where no task has any of them.
    """
    counts, n_runs = _counts(connection), dict(connection.execute(_ENDED).fetchall())
    chosen = {task: choose(counts[task], n_runs.get(task, 0), objective) for task in counts}
    _check("the knowledge base", objective, chosen, counts)
    with transaction(connection):
        _settle(connection, {task: found for task, found in chosen.items() if found})


def _settle(connection: duckdb.DuckDBPyConnection, objectives: Mapping[str, Objective | None]) -> None:
    """Writes the tasks and the outcomes of their runs."""
    if not objectives:
        return
    metrics = [metric for metric in _texts(connection, _METRICS) if plain(metric) in TRAIN_LOSSES]
    names = [name for name in _texts(connection, _NAMES) if in_configuration(name)]
    tables = {
        "settling": _settling(objectives),
        "train_losses": _ranked(metrics),
        "configuration_names": pa.table({"name": pa.array(names, pa.string())}),
    }
    for name, table in tables.items():
        connection.register(name, table)
    for statement in (_DROP_TASKS, _ADD_TASKS, _CONFIGURATIONS, _SEEDS, _TRAIN_LOSSES, _OUTCOMES, _SETTLE):
        connection.execute(statement)
    for name in tables:
        connection.unregister(name)


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


def _counts(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for task, metric, count in connection.execute(_COUNTS).fetchall():
        counts[task][metric] = count
    return counts


def _objectives(connection: duckdb.DuckDBPyConnection) -> dict[str, Objective | None]:
    return {task: Objective(metric, direction) for task, metric, direction in connection.execute(_KNOWN).fetchall()}


def _texts(connection: duckdb.DuckDBPyConnection, sql: str, **values: str) -> list[str]:
    return [row[0] for row in connection.execute(sql, values).fetchall()]


def _check(
    where: str,
    given: Sequence[Objective],
    chosen: Mapping[str, Objective | None],
    counts: Mapping[str, Mapping[str, int]],
) -> None:
    metrics = sorted({metric for task in chosen for metric in counts.get(task, ())})
    if any(chosen.values()) or not (metrics or given):
        return
    names = ", ".join(metrics[:_LISTED]) + (", …" if len(metrics) > _LISTED else "")
    there = f"There are: {names}." if metrics else "There are no metrics."
    if given:
        wanted = ", ".join(objective.metric for objective in given)
        raise SourceError(f"No ended run of {where} has the metric '{wanted}'. {there}")
    raise SourceError(f"No metric of {where} is known as an objective. {there} Give one: --objective METRIC:min")


def _settled(chosen: Mapping[str, Objective | None], is_stated: object) -> Settled:
    caveats = () if is_stated else ((task, o, caveat(o)) for task, o in sorted(chosen.items()) if o)
    return Settled(
        tuple(sorted(task for task, o in chosen.items() if o)),
        tuple(sorted(task for task, o in chosen.items() if not o)),
        tuple(f"Task '{task}' ({o}) is {text}." for task, o, text in caveats if text),
    )
