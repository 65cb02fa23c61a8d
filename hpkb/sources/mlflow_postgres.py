"""An MLflow store in a PostgreSQL database, read without MLflow and in bulk.

One snapshot holds from the first read to the last.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from hpkb.sources.mlflow_database import DATASETS, NEEDED, POINTS, MlflowDatabase
from hpkb.sources.postgres import PostgresDatabase, text_array

_TABLES = f"""-- One row per table of MLflow's that there is.
SELECT name FROM unnest({text_array(NEEDED + DATASETS)}) AS t(name) WHERE to_regclass(name) IS NOT NULL"""

_WANTED = " JOIN unnest({wanted}) AS w(run_uuid) ON w.run_uuid = m.run_uuid"


class MlflowPostgres(MlflowDatabase):
    """The runs of an MLflow store in a PostgreSQL database; raises SourceError where it is none."""

    kind = "mlflow_postgres"

    def __init__(self, uri: str) -> None:
        self._database = PostgresDatabase(uri)
        super().__init__(self._database, _TABLES)

    def all_points(self) -> Iterator[pa.Table]:
        """Yields the points of all runs that there are."""
        return self._database.batches(POINTS)

    def points_of(self, runs: list[str]) -> Iterator[pa.Table]:
        """Yields the points of some runs, by the index over runs where that is cheaper."""
        return self._database.batches(POINTS + _WANTED.format(wanted=text_array(runs)))
