"""What the findings of each task depend on, as digests of its runs with all that is recorded of them.

The digests are taken by the database, without a run being loaded. A curve's points are not read for them: a run that
gets new ones gets a new fingerprint.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import duckdb

_TASKS = """-- One row per task with an objective and a run that has an outcome: what it is judged by, and its runs.
SELECT t.task_id, t.metric || ':' || t.direction, count(*) FROM tasks t JOIN runs r USING (task_id)
WHERE r.infeasible OR r.objective_min IS NOT NULL GROUP BY ALL ORDER BY t.task_id"""

# Where a run comes from and what it is called say nothing of what it found. Sums do not depend on the rows' order.
_RUNS = """-- One row per task: its runs.
SELECT task_id, count(*), sum(hash(run_id, fingerprint, status, started_at, ended_at, configuration_id, seed,
    objective_of, objective_min, infeasible, infeasible_reason, end_reason))
FROM runs WHERE task_id IS NOT NULL GROUP BY task_id"""

_HYPERPARAMETERS = """-- One row per task: the parameters of its runs.
SELECT r.task_id, count(*), sum(hash(h.run_id, h.name, h.value_text, h.value_number))
FROM hyperparameters h JOIN runs r USING (run_id) WHERE r.task_id IS NOT NULL GROUP BY r.task_id"""

_FEATURES = """-- One row per task: the curves of its runs, as far as they are summed up.
SELECT r.task_id, count(*), sum(hash(f)) FROM curve_features f JOIN runs r USING (run_id)
WHERE r.task_id IS NOT NULL GROUP BY r.task_id"""

_FACTS = """-- One row per task: the facts and data splits of its runs, and by how much validation is worse.
SELECT r.task_id, count(*), sum(f.digest) FROM runs r JOIN (
    SELECT run_id, hash(h) AS digest FROM hardware h UNION ALL
    SELECT run_id, hash(s) AS digest FROM splits s UNION ALL
    SELECT run_id, hash(g) AS digest FROM generalization_gaps g) f USING (run_id)
WHERE r.task_id IS NOT NULL GROUP BY r.task_id"""


@dataclass(frozen=True)
class TaskState:
    """A task that has runs with an outcome: how many, and a digest of all that its findings are made of."""

    n_runs: int
    digest: str


def task_states(connection: duckdb.DuckDBPyConnection) -> dict[str, TaskState]:
    """Returns the state of each task that has a run with an outcome, in the order of the tasks' names."""
    sums = [_sums(connection, query) for query in (_RUNS, _HYPERPARAMETERS, _FEATURES, _FACTS)]
    rows = connection.execute(_TASKS).fetchall()
    return {
        task: TaskState(n, digest_of(task, objective, [of_table.get(task) for of_table in sums]))
        for task, objective, n in rows
    }


def _sums(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, tuple[int, int]]:
    return {task: (int(n), int(total)) for task, n, total in connection.execute(query).fetchall()}


def digest_of(*parts: object) -> str:
    """Returns a digest of some values as they print."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
