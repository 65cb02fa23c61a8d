"""An MLflow store in a MySQL or MariaDB database, read without MLflow and in bulk.

One snapshot holds from the first read to the last.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from hpkb.sources.mlflow_database import POINTS, MlflowDatabase
from hpkb.sources.mysql import MysqlDatabase

_RUNS_AT_ONCE = 1_000  # of one statement, which is far shorter than the 16 MiB that a server takes

_TABLES = """-- One row per table of the database.
SELECT t.table_name AS name FROM information_schema.tables t WHERE t.table_schema = database()"""

_WANTED = f"{POINTS} WHERE m.run_uuid IN %(wanted)s"  # both indexes over runs have all columns of the points


class MlflowMysql(MlflowDatabase):
    """The runs of an MLflow store in a MySQL or MariaDB database; raises SourceError where it is none."""

    kind = "mlflow_mysql"

    def __init__(self, uri: str) -> None:
        self._database = MysqlDatabase(uri)
        super().__init__(self._database, _TABLES)

    def all_points(self) -> Iterator[pa.Table]:
        """Yields the points of all runs that there are."""
        return self._database.batches(POINTS)

    def points_of(self, runs: list[str]) -> Iterator[pa.Table]:
        """Yields the points of some runs, by an index over runs."""
        for first in range(0, len(runs), _RUNS_AT_ONCE):
            yield from self._database.batches(_WANTED, {"wanted": runs[first : first + _RUNS_AT_ONCE]})
