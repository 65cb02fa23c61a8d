"""An MLflow store in a PostgreSQL database, read without MLflow and in bulk.

One snapshot holds from the first read to the last. Schemas from 2020 on are understood; one without data sets has none.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from hpkb.errors import SourceError
from hpkb.sources.mlflow import SMALL_TABLES, MlflowStore
from hpkb.sources.postgres import PostgresDatabase, text_array

_NEEDED = ("experiments", "runs", "metrics", "latest_metrics", "params", "tags")
_DATASETS = ("inputs", "datasets", "input_tags")

_TABLES = f"""-- One row per table of MLflow's that there is.
SELECT name FROM unnest({text_array(_NEEDED + _DATASETS)}) AS t(name) WHERE to_regclass(name) IS NOT NULL"""

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
SELECT run_uuid AS run_id, key, value, CAST(step AS double precision) AS step, timestamp FROM latest_metrics"""

_PARAMS = """-- One row per run and parameter.
SELECT run_uuid AS run_id, key AS name, value FROM params"""

_TAGS = """-- One row per run and tag that means something here.
SELECT run_uuid AS run_id, key AS name, coalesce(value, '') AS value FROM tags
WHERE left(key, 5) = 'hpkb.' OR key IN ('mlflow.runName', 'mlflow.source.git.commit')"""

_INPUTS = """-- One row per run and data set that it was given.
SELECT i.destination_id AS run_id, coalesce(t.value, '') AS context, d.digest,
    coalesce(d.dataset_profile, '') AS profile
FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id
LEFT JOIN input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context'
WHERE i.destination_type = 'RUN'"""

_SMALL = {
    "runs": _RUNS, "inputs": _INPUTS, "newest": _NEWEST_POINT, "latest": _LATEST, "params": _PARAMS, "tags": _TAGS
}  # fmt: skip

_POINTS = """-- One row per point.
SELECT m.run_uuid AS run_id, m.key AS metric, m.step, m.timestamp,
    CASE WHEN m.is_nan THEN NULL ELSE m.value END AS value
FROM metrics m"""
_WANTED = " JOIN unnest({wanted}) AS w(run_uuid) ON w.run_uuid = m.run_uuid"

_ARTIFACTS = """-- One row per run that has its whole curves among its artifacts.
SELECT r.run_uuid AS run_id, r.artifact_uri FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid
WHERE t.key = 'hpkb.curves' AND r.artifact_uri IS NOT NULL"""


class MlflowPostgres(MlflowStore):
    """The runs of an MLflow store in a PostgreSQL database; raises SourceError where it is none."""

    kind = "mlflow_postgres"

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._database = PostgresDatabase(uri)
        self.name = self._database.name
        try:
            self._has_datasets = self._looked_at() >= set(_DATASETS)
        except SourceError:
            self._database.close()
            raise

    def experiments(self) -> list[str]:
        """Returns the names of the active experiments, in an order that is no database's own."""
        return sorted(self._database.query(_EXPERIMENTS)["name"].to_pylist())

    def close(self) -> None:
        """Ends the connection."""
        self._database.close()

    def small_table(self, name: str) -> pa.Table:
        """Returns one of the small tables."""
        if name == "inputs" and not self._has_datasets:
            return SMALL_TABLES[name].empty_table()
        return self._database.query(_SMALL[name]).cast(SMALL_TABLES[name])

    def artifacts(self) -> pa.Table:
        """Returns where the artifacts of the runs with whole curves are."""
        return self._database.query(_ARTIFACTS)

    def points(self, ids: pa.Array) -> Iterator[pa.Table]:
        """Yields the points of these runs; of some, by the index over runs where that is cheaper."""
        everything = len(ids) == self._database.query(_COUNT_RUNS)["n"][0].as_py()
        restriction = "" if everything else _WANTED.format(wanted=text_array(ids.to_pylist()))
        return self._database.batches(_POINTS + restriction)

    def _looked_at(self) -> set[str]:
        """The tables that there are; the snapshot is let go of, so that it does not age before the first read."""
        tables = set(self._database.query(_TABLES)["name"].to_pylist())
        if missing := set(_NEEDED) - tables:
            what = f"it has no table {', '.join(sorted(missing))}"
            raise SourceError(f"'{self.name}' is no MLflow store: {what}.")
        self._database.release()
        return tables
