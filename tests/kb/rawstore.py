"""An MLflow store that tests fill row by row: the file is MLflow's own, the rows go in without its import."""

from __future__ import annotations

import math
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

LARGEST = 1.7976931348623157e308


class RawStore:
    """Writes runs into an MLflow SQLite file as MLflow 3 does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = f"sqlite:///{path}"

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.path)) as database, database:
            return database.execute(sql, parameters).fetchall()

    def run(
        self,
        experiment: str,
        params: Mapping[str, object] | None = None,
        curves: Mapping[str, Sequence[float]] | None = None,
        tags: Mapping[str, str] | None = None,
        status: str = "FINISHED",
    ) -> str:
        """Returns the id of a new run; a curve's steps count from 0."""
        run_id = uuid.uuid4().hex
        with closing(sqlite3.connect(self.path)) as database, database:
            experiment_id = self._experiment(database, experiment)
            ended = None if status == "RUNNING" else 2_000
            database.execute(
                "INSERT INTO runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, experiment_id)"
                " VALUES (?, ?, ?, 1000, ?, 'active', ?)",
                (run_id, f"run-{run_id[:4]}", status, ended, experiment_id),
            )
            rows = [(key, str(value), run_id) for key, value in (params or {}).items()]
            database.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", rows)
            rows = [(key, value, run_id) for key, value in (tags or {}).items()]
            database.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", rows)
        for metric, values in (curves or {}).items():
            self.log(run_id, metric, values)
        return run_id

    def log(self, run_id: str, metric: str, values: Sequence[float], first_step: int = 0, time: int = 1_000) -> None:
        rows = [(metric, *_stored(value), time + i, run_id, first_step + i) for i, value in enumerate(values)]
        with closing(sqlite3.connect(self.path)) as database, database:
            database.executemany(
                "INSERT INTO metrics (key, value, is_nan, timestamp, run_uuid, step) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
            latest = "SELECT step FROM latest_metrics WHERE run_uuid = ? AND key = ?"
            known = database.execute(latest, (run_id, metric)).fetchone()
            if rows and (known is None or rows[-1][5] >= known[0]):
                database.execute(
                    "INSERT OR REPLACE INTO latest_metrics (key, value, is_nan, timestamp, run_uuid, step)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    rows[-1],
                )

    def _experiment(self, database: sqlite3.Connection, name: str) -> int:
        found = database.execute("SELECT experiment_id FROM experiments WHERE name = ?", (name,)).fetchone()
        if found:
            return int(found[0])
        row = database.execute("INSERT INTO experiments (name, lifecycle_stage) VALUES (?, 'active')", (name,))
        return int(row.lastrowid or 0)


def _stored(value: float) -> tuple[float, int]:
    if math.isnan(value):
        return 0.0, 1
    return (math.copysign(LARGEST, value) if math.isinf(value) else value), 0
