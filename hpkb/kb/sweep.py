"""The runs of a task as arrays, from the knowledge base; see `hpkb.sweep` for what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpkb.configuration import explains
from hpkb.kb.columns import Column, column, varying
from hpkb.sweep import FloatArray, Hyperparameter, IntArray, Sweep

_TASKS = """-- One row per task with an objective.
SELECT task_id, metric || ':' || direction FROM tasks WHERE $task IS NULL OR task_id = $task ORDER BY task_id"""

_RUNS = """-- One row per run of the task that has an outcome.
SELECT run_id, coalesce(CAST(seed AS DOUBLE), CAST('NaN' AS DOUBLE)) AS seed,
    coalesce(objective_min, CAST('NaN' AS DOUBLE)) AS objective_min, infeasible
FROM runs
WHERE task_id = $task AND (infeasible OR objective_min IS NOT NULL) ORDER BY run_id"""

_NAMES = """-- One row per parameter of the task.
SELECT DISTINCT h.name FROM hyperparameters h JOIN runs r USING (run_id) WHERE r.task_id = $task ORDER BY h.name"""

# `run` is the run's row in _RUNS.
_VALUES = """-- One row per run and parameter of its configuration.
WITH numbered AS (
    SELECT run_id, row_number() OVER (ORDER BY run_id) - 1 AS run FROM runs
    WHERE task_id = $task AND (infeasible OR objective_min IS NOT NULL))
SELECT h.name, n.run, coalesce(h.value_number, CAST('NaN' AS DOUBLE)) AS value_number, h.value_text
FROM hyperparameters h JOIN numbered n USING (run_id) WHERE list_contains($names, h.name) ORDER BY h.name, n.run"""


def load_sweeps(connection: duckdb.DuckDBPyConnection, task: str | None = None) -> list[Sweep]:
    """Returns one sweep per task that has runs with an outcome, in the order of the tasks' names; or of one task."""
    tasks = connection.execute(_TASKS, {"task": task}).fetchall()
    sweeps = (_sweep(connection, name, objective) for name, objective in tasks)
    return [sweep for sweep in sweeps if sweep.n_runs]


def _sweep(connection: duckdb.DuckDBPyConnection, task: str, objective: str) -> Sweep:
    runs = connection.sql(_RUNS, params={"task": task}).to_arrow_table()
    seed, y = (_numbers(runs[name]) for name in ("seed", "objective_min"))
    infeasible = _numbers(runs["infeasible"].cast(pa.uint8())).astype(np.bool_)
    run_ids = runs["run_id"].to_pylist()
    chosen, fixed = varying(_columns(connection, task, len(run_ids)))
    order, configuration = _in_order([c.codes for c in chosen], seed, y, run_ids)
    hyperparameters = (Hyperparameter(c.name, c.scale, c.values[order], c.levels) for c in chosen)
    return Sweep(
        task, objective, tuple(run_ids[i] for i in order), configuration, seed[order],
        np.where(infeasible, np.nan, y)[order], infeasible[order], tuple(hyperparameters), fixed,
    )  # fmt: skip


def _columns(connection: duckdb.DuckDBPyConnection, task: str, n_runs: int) -> list[Column]:
    names = [name for (name,) in connection.execute(_NAMES, {"task": task}).fetchall() if explains(name)]
    rows = connection.sql(_VALUES, params={"task": task, "names": names}).to_arrow_table()
    starts = {entry["values"]: entry["counts"] for entry in pc.value_counts(rows["name"]).to_pylist()}
    columns, start = [], 0
    for name in sorted(starts):
        part = rows.slice(start, starts[name])
        start += starts[name]
        number = _numbers(part["value_number"])
        columns.append(column(name, n_runs, _numbers(part["run"]), number, part["value_text"]))
    return columns


def _numbers(column: pa.ChunkedArray) -> Any:
    """The column, which has no NULL, as an array. By `to_numpy`, or to fill NULLs, pyarrow would import pandas."""
    return np.from_dlpack(column.combine_chunks())


def _in_order(
    codes: Sequence[IntArray], seed: FloatArray, y: FloatArray, run_ids: Sequence[str]
) -> tuple[IntArray, IntArray]:
    """The order of the rows by their content, and the configuration of each row in that order, from 0.

    Run ids decide between rows that are the same in all else, where it makes no difference but to the ids.
    """
    keys = (np.array(run_ids, dtype=object).astype(str), y, seed, *reversed(codes))
    order = np.lexsort(keys).astype(np.int64)
    changes = np.zeros(len(run_ids), dtype=np.bool_)
    for code in codes:
        changes[1:] |= np.diff(code[order]) != 0
    return order, np.cumsum(changes).astype(np.int64)
