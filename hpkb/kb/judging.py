"""What each task is judged by, and what is told of it: read from the knowledge base, and written to its table `tasks`.

An objective given with `--objective` goes before those in `hpkb.toml`, these before the source's own, and these before
what the names of the metrics say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from hpkb.errors import SourceError
from hpkb.kb.staging import registered
from hpkb.sources.objectives import Choice, Objective, choose, parse_one, prefer

_LISTED = 12  # metrics that an error names
GIVEN = "--objective"


@dataclass(frozen=True)
class TaskSummary:
    """One task as it was read: its runs, what made them one, and what it is judged by and why.

    `objective` is METRIC:min or METRIC:max; where it is None, `reason` says what a person has to decide.
    """

    task: str
    n_runs: int
    grouped_by: str
    objective: str | None
    reason: str


@dataclass(frozen=True)
class Task:
    """A row of the table `tasks`, and of what is not in it for want of an objective."""

    choice: Choice
    grouped_by: str


@dataclass(frozen=True)
class Counts:
    """How many of the ended runs of each task have each metric, and how many have any."""

    metrics: Mapping[str, Mapping[str, int]]
    runs: Mapping[str, int]


_COUNTS = """-- One row per task and metric: how many of its ended runs have it.
SELECT r.task_id, f.metric, count(*) FROM runs r JOIN curve_features f USING (run_id)
WHERE r.status NOT IN ('RUNNING', 'SCHEDULED') GROUP BY ALL ORDER BY ALL"""

_ENDED = """-- One row per task: how many of its ended runs have any metric.
SELECT task_id, count(*) FROM runs
WHERE status NOT IN ('RUNNING', 'SCHEDULED') AND run_id IN (SELECT run_id FROM curve_features) GROUP BY ALL"""

_KNOWN = """-- One row per task that has an objective.
SELECT task_id, metric || ':' || direction, coalesce(objective_reason, ''), coalesce(grouped_by, '') FROM tasks"""

_STATED = """-- One row per task, objectives that somebody gives it, and who does; the most frequent first.
SELECT task_id, stated_objectives, objectives_by FROM runs WHERE stated_objectives IS NOT NULL
GROUP BY ALL ORDER BY task_id, count(*) DESC, stated_objectives, objectives_by"""

_RUNS = """-- One row per task: how many runs it has.
SELECT task_id, count(*) FROM runs WHERE task_id IS NOT NULL GROUP BY task_id"""

_DROP_TASKS = """-- One row less per task that is written anew.
DELETE FROM tasks WHERE task_id IN (SELECT task_id FROM written)"""
_ADD_TASKS = """-- One row per task with an objective.
INSERT INTO tasks (task_id, name, metric, direction, grouped_by, objective_reason)
SELECT task_id, task_id, metric, direction, grouped_by, reason FROM written
WHERE metric IS NOT NULL AND task_id IN (SELECT task_id FROM runs)"""


def counts_of(connection: duckdb.DuckDBPyConnection) -> Counts:
    """Returns how many ended runs of each task have each metric."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for task, metric, count in connection.execute(_COUNTS).fetchall():
        counts[task][metric] = count
    return Counts(counts, dict(connection.execute(_ENDED).fetchall()))


def known(connection: duckdb.DuckDBPyConnection) -> dict[str, Task]:
    """Returns the tasks that have an objective."""
    rows = connection.execute(_KNOWN).fetchall()
    return {
        task: Task(Choice(parse_one(text), reason), grouped_by) for task, text, reason, grouped_by in rows
    }


def stated_objectives(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[Sequence[Objective], str]]:
    """Returns what most runs of each task are said to be judged by, and who says so."""
    found: dict[str, tuple[Sequence[Objective], str]] = {}
    for task, objectives, said_by in connection.execute(_STATED).fetchall():
        found.setdefault(task, ([*map(parse_one, objectives)], said_by))
    return found


def judge(
    task: str,
    counts: Counts,
    given: Sequence[Objective],
    stated: Mapping[str, tuple[Sequence[Objective], str]],
) -> Choice:
    """Returns what a task is judged by: what is given, else what is stated of its runs, else what its metrics say."""
    metrics, n_runs = counts.metrics.get(task, {}), counts.runs.get(task, 0)
    if given:
        return prefer(metrics, n_runs, given, GIVEN)
    return prefer(metrics, n_runs, *stated[task]) if task in stated else choose(metrics, n_runs)


def given_before(task: Task | None) -> tuple[Objective, ...]:
    """Returns the objective that was given when the task of another source was brought in."""
    if task is None or task.choice.objective is None or not task.choice.reason.startswith(GIVEN):
        return ()
    return (task.choice.objective,)


def write(connection: duckdb.DuckDBPyConnection, rows: Mapping[str, Task]) -> None:
    """Writes the rows of the table `tasks`; a task without an objective, or without a run, has none."""
    columns = {
        "task_id": [*rows],
        "metric": [o.metric if (o := row.choice.objective) else None for row in rows.values()],
        "direction": [o.direction if (o := row.choice.objective) else None for row in rows.values()],
        "grouped_by": [row.grouped_by for row in rows.values()],
        "reason": [row.choice.reason for row in rows.values()],
    }
    table = pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})
    with registered(connection, "written", table):
        connection.execute(_DROP_TASKS)
        connection.execute(_ADD_TASKS)


def check(where: str, given: Sequence[Objective], chosen: Mapping[str, Choice], counts: Counts) -> None:
    """Raises SourceError where no task has an objective though there are metrics, or one is wanted."""
    metrics = sorted({metric for task in chosen for metric in counts.metrics.get(task, ())})
    if any(choice.objective for choice in chosen.values()) or not (metrics or given):
        return
    names = ", ".join(metrics[:_LISTED]) + (", …" if len(metrics) > _LISTED else "")
    there = f"There are: {names}." if metrics else "There are no metrics."
    if given:
        wanted = ", ".join(objective.metric for objective in given)
        raise SourceError(f"No ended run of {where} has the metric '{wanted}'. {there}")
    reasons = Counter(choice.reason for task, choice in chosen.items() if counts.metrics.get(task))
    reason = min(reasons, key=lambda text: (-reasons[text], text))
    raise SourceError(
        f"No objective in {where}: {reason}. {there} Give one: --objective METRIC:min or METRIC:max"
    )


def summaries(connection: duckdb.DuckDBPyConnection, shown: Mapping[str, Task]) -> tuple[TaskSummary, ...]:
    """Returns what a person is told of these tasks, in the order of their names."""
    n_runs = dict(connection.execute(_RUNS).fetchall())
    return tuple(
        TaskSummary(
            name,
            n_runs[name],
            task.grouped_by,
            str(o) if (o := task.choice.objective) else None,
            task.choice.reason,
        )
        for name, task in sorted(shown.items())
    )
