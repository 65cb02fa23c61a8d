"""What MLflow stores in the databases of servers have in common: MLflow's tables, and one snapshot for all reads.

Schemas from 2020 on are understood; one without data sets has none. The SQL here is that of all of them: a name behind
a dot may be a keyword (`key`), and is not quoted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from hpkb.errors import SourceError
from hpkb.sources.mlflow import SMALL_TABLES, MlflowStore

NEEDED = ("experiments", "runs", "metrics", "latest_metrics", "params", "tags")
DATASETS = ("inputs", "datasets", "input_tags")

_EXPERIMENTS = """-- One row per active experiment.
SELECT name FROM experiments WHERE coalesce(lifecycle_stage, 'active') = 'active'"""

_RUNS = """-- One row per active run of an active experiment.
SELECT r.run_uuid AS run_id, e.name AS experiment, coalesce(r.name, '') AS run_name, coalesce(r.status, '') AS status,
    coalesce(r.start_time, -1) AS start_time, coalesce(r.end_time, -1) AS end_time
FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
WHERE coalesce(r.lifecycle_stage, 'active') = 'active' AND coalesce(e.lifecycle_stage, 'active') = 'active'"""

_COUNT_RUNS = """-- One row: how many runs there are, deleted ones counted in.
SELECT count(*) AS n FROM runs"""

# A point may be added to a finished run without being its latest; the number of its points shows it. MLflow deletes
# no single point, and the index over runs has all that is asked.
_NEWEST_POINT = """-- One row per run: the number of the point that was written last.
SELECT run_uuid AS run_id, count(*) AS newest FROM metrics GROUP BY run_uuid"""

_LATEST = """-- One row per run and metric: its last point.
SELECT l.run_uuid AS run_id, l.key, l.value, l.step, l.timestamp FROM latest_metrics l"""

_PARAMS = """-- One row per run and parameter.
SELECT p.run_uuid AS run_id, p.key AS name, p.value FROM params p"""

_TAGS = """-- One row per run and tag that means something here.
SELECT t.run_uuid AS run_id, t.key AS name, coalesce(t.value, '') AS value FROM tags t
WHERE left(t.key, 5) = 'hpkb.' OR t.key IN ('mlflow.runName', 'mlflow.source.git.commit')"""

# A profile describes every column of a data set; one that is longer than a megabyte is not fetched for its number.
_INPUTS = """-- One row per run and data set that it was given.
SELECT i.destination_id AS run_id, coalesce(t.value, '') AS context, d.digest,
    CASE WHEN octet_length(d.dataset_profile) < 1000000 THEN d.dataset_profile ELSE '' END AS profile
FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id
LEFT JOIN input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context'
WHERE i.destination_type = 'RUN'"""

_SMALL = {
    "runs": _RUNS, "inputs": _INPUTS, "newest": _NEWEST_POINT, "latest": _LATEST, "params": _PARAMS, "tags": _TAGS
}  # fmt: skip

POINTS = """-- One row per point.
SELECT m.run_uuid AS run_id, m.key AS metric, m.step, m.timestamp,
    CASE WHEN m.is_nan THEN NULL ELSE m.value END AS value
FROM metrics m"""

_ARTIFACTS = """-- One row per run that has its whole curves among its artifacts.
SELECT r.run_uuid AS run_id, r.artifact_uri FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid
WHERE t.key = 'hpkb.curves' AND r.artifact_uri IS NOT NULL"""


class Database(Protocol):
    """A database that is open for reading; all reads see one snapshot, which the first of them takes."""

    #: The URI that identifies the database, without a password.
    name: str

    def query(self, sql: str) -> pa.Table:
        """Returns all rows of a query that yields few."""

    def release(self) -> None:
        """Ends the snapshot; the next read begins another."""

    def close(self) -> None:
        """Ends the connection."""


class NoMlflowTables(SourceError):
    """The database with this `name` is there, and has not the tables of an MLflow store."""

    def __init__(self, name: str, missing: set[str]) -> None:
        super().__init__(f"'{name}' is no MLflow store: it has no table {', '.join(sorted(missing))}.")
        self.name = name


class MlflowDatabase(MlflowStore):
    """The runs of an MLflow store in the database of a server; raises SourceError where it is none."""

    def __init__(self, database: Database, tables: str) -> None:
        """`tables` is the query for the names of the tables that there are, MLflow's at least."""
        super().__init__()
        self._server, self.name = database, database.name
        try:
            self._has_datasets = self._looked_at(tables) >= set(DATASETS)
        except SourceError:
            database.close()
            raise

    def experiments(self) -> list[str]:
        """Returns the names of the active experiments, in an order that is no database's own."""
        return sorted(self._server.query(_EXPERIMENTS)["name"].to_pylist())

    def close(self) -> None:
        """Ends the connection."""
        self._server.close()

    def small_table(self, name: str) -> pa.Table:
        """Returns one of the small tables."""
        if name == "inputs" and not self._has_datasets:
            return SMALL_TABLES[name].empty_table()
        # Not safe: a step beyond 2**53 has no double of its own.
        return self._server.query(_SMALL[name]).cast(SMALL_TABLES[name], safe=False)

    def artifacts(self) -> pa.Table:
        """Returns where the artifacts of the runs with whole curves are."""
        return self._server.query(_ARTIFACTS)

    def points(self, ids: pa.Array) -> Iterator[pa.Table]:
        """Yields the points of these runs; of some, by the index over runs where that is cheaper."""
        everything = len(ids) == self._server.query(_COUNT_RUNS)["n"][0].as_py()
        return self.all_points() if everything else self.points_of(ids.to_pylist())

    @abstractmethod
    def all_points(self) -> Iterator[pa.Table]:
        """Yields the points of all runs that there are."""

    @abstractmethod
    def points_of(self, runs: list[str]) -> Iterator[pa.Table]:
        """Yields the points of some runs."""

    def _looked_at(self, query: str) -> set[str]:
        """The tables that there are; the snapshot is let go of, so that it does not age before the first read."""
        tables = set(self._server.query(query)["name"].to_pylist())
        if missing := set(NEEDED) - tables:
            raise NoMlflowTables(self.name, missing)
        self._server.release()
        return tables
