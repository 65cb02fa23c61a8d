"""That what came in stands in the large tables once: a check after the fact, in place of an index."""

from __future__ import annotations

import duckdb

from hpkb.errors import SourceError

_TWICE = {
    table: "-- One row: something of a run that was brought in now which stands there twice; none if nothing does.\n"
    "SELECT run_id, " + key + " FROM " + table + " SEMI JOIN (FROM changes WHERE change IN ('new', 'changed'))"
    " USING (run_id) GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
    for table, key in (
        ("hyperparameters", "name"), ("splits", "role"), ("hardware", "name"), ("curve_features", "metric"),
        ("generalization_gaps", "training_metric"),
    )
}  # fmt: skip


def check_unique(connection: duckdb.DuckDBPyConnection, source: str) -> None:
    """Raises SourceError where the runs in `changes` that were read have one thing twice."""
    for table, query in _TWICE.items():
        if twice := connection.execute(query).fetchall():
            run_id, name = twice[0]
            raise SourceError(
                f"'{source}' gives {name!r} of run '{run_id}' twice (table {table}). "
                "Take one of them out of the source, or leave the run's experiment out: --experiment NAME"
            )
