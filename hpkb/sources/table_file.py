"""The file of a table: Parquet, CSV or TSV, opened by DuckDB; and which column of a table of curves is what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from hpkb.errors import SourceError

_CURVE_COLUMNS = {
    "metric": ("metric", "key", "name"),
    "step": ("step", "iteration", "epoch"),
    "value": ("value",),
}
_POINT = {"metric": duckdb.sqltype("VARCHAR"), "step": duckdb.sqltype("DOUBLE"), "value": duckdb.sqltype("DOUBLE")}


def relation(database: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    """Returns the rows of a Parquet, CSV or TSV file; raises SourceError where there are none to read."""
    if not path.is_file():
        raise SourceError(f"No table at '{path}'.")
    suffixes = path.suffixes[-2:]
    try:
        if ".parquet" in suffixes:
            return database.read_parquet(str(path))
        if ".csv" in suffixes or ".tsv" in suffixes:
            return database.read_csv(str(path), sample_size=-1)
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0]
        raise SourceError(f"Cannot read '{path}': it is damaged, or no table ({reason}).") from None
    raise SourceError(f"Cannot import '{path}'. Give a table: .parquet, .csv or .tsv")


def curve_points(
    database: duckdb.DuckDBPyConnection, path: Path, run_column: str | None, before: str
) -> duckdb.DuckDBPyRelation:
    """Returns run_id, metric, step and value of the points of a file; `before` goes before each run's id.

    Raises SourceError where one of the columns is not there.
    """
    points = relation(database, path)
    names = _curve_columns(points.columns, run_column if run_column in points.columns else None, path)
    ids = names["run_id"].cast(duckdb.sqltype("VARCHAR"))
    if before:
        ids = duckdb.FunctionExpression("concat", duckdb.ConstantExpression(before), ids)
    return points.select(ids.alias("run_id"), *[names[name].cast(kind).alias(name) for name, kind in _POINT.items()])


def _curve_columns(known: Sequence[str], run: str | None, path: Path) -> dict[str, duckdb.Expression]:
    """The columns of a table of curves; raises SourceError where one is not there."""
    wanted = {"run_id": (run,) if run else ("run_id", "run"), **_CURVE_COLUMNS}
    found = {name: next((column for column in of if column in known), None) for name, of in wanted.items()}
    if lacking := [name for name, column in found.items() if column is None]:
        raise SourceError(f"'{path.name}' has no column {', '.join(lacking)}. Curves have run_id, metric, step, value.")
    return {name: duckdb.ColumnExpression(str(column)) for name, column in found.items()}
