"""Curves that stay in a lake: the knowledge base knows in which file a run's are, and reads no more of them than asked.

What a miner gets of such a curve is the same points as of one that was copied. They can be fetched where the mining is
done: `CurvesInLake` goes to another machine with its task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import pyarrow as pa

from hpkb.kb.staging import registered
from hpkb.kb.store import complete, connect_in_memory, has_table
from hpkb.lake.place import attach, in_lake
from hpkb.records import Curve
from hpkb.sources.lake import CurvesThere, Lake
from hpkb.sweep import FloatArray, IntArray

_FORGET_RUNS = """-- One row less per run of the lake.
DELETE FROM lake_runs WHERE part IN (SELECT part FROM lake_files WHERE lake = $lake)"""

_FORGET_FILES = """-- One row less per file of the lake.
DELETE FROM lake_files WHERE lake = $lake"""

_NEXT = """-- One row: the number of the next file.
SELECT coalesce(max(part), -1) + 1 FROM lake_files"""

_ADD_FILES = """-- One row per file.
INSERT INTO lake_files SELECT part, $lake, points, features FROM staged_files"""

# A run that came from its own store before has its curves here already.
_ADD_RUNS = """-- One row per run of the lake that is in the knowledge base and whose curves are not.
INSERT INTO lake_runs
SELECT run_id, f.part, s.source FROM staged_runs s JOIN staged_files f ON f.name = s.part SEMI JOIN runs USING (run_id)
ANTI JOIN curve_names USING (run_id)"""

_READ_AGAIN = """-- One row per run whose curves are in a lake, and that comes from its own store now.
UPDATE changes SET change = 'changed' WHERE change = 'unchanged' AND run_id IN (SELECT run_id FROM lake_runs)"""

_LEAVE_RUNS = """-- One row less per run that is gone, or about to be read again.
DELETE FROM lake_runs WHERE run_id IN (SELECT run_id FROM changes WHERE change IN ('changed', 'removed'))"""

_LEAVE_FILES = """-- One row less per file of which no run is known.
DELETE FROM lake_files WHERE part NOT IN (SELECT part FROM lake_runs)"""

_FILES = """-- One row per file of points.
SELECT lake, points FROM lake_files ORDER BY part"""

_STORES = """-- One row per run: the store that it came from.
SELECT run_id, store FROM lake_runs"""

_LAKES = """-- One row per lake.
SELECT DISTINCT lake FROM lake_files"""

_WANTED = """-- One row per curve: the place of its run, its metric, how many points it has, and the two files.
SELECT w.run_id, w.run, f.metric, f.n_points, epoch_ms(r.started_at) / 1000 AS started, l.points, l.features
FROM lake_runs JOIN wanted w USING (run_id) JOIN lake_files l USING (part) JOIN runs r USING (run_id)
JOIN curve_features f USING (run_id) WHERE list_contains($metrics, f.metric) ORDER BY l.part, w.run_id, f.metric"""

_FIRST_ROWS = """-- One row per curve that is wanted of a file, in their order: the row of its first point.
SELECT f.first_row FROM wanted_curves w JOIN read_parquet($file, hive_partitioning = false) f USING (run_id, metric)
ORDER BY w.curve"""

_POINTS = """-- One row per point that is wanted of a file.
SELECT CAST(step AS DOUBLE) AS step, value, epoch_ms(timestamp) / 1000 AS seconds
FROM read_parquet($file, hive_partitioning = false, file_row_number = true) JOIN wanted_rows ON place = file_row_number
ORDER BY place"""

_VIEW = """CREATE OR REPLACE VIEW curves AS
SELECT run_id, metric, step, timestamp, value FROM curve_points JOIN curve_names USING (curve)"""


@dataclass(frozen=True)
class CurvesInLake:
    """The curves of a task's runs that are in lakes: which, and at most how many points of each."""

    lakes: tuple[str, ...]
    wanted: pa.Table  # as `_WANTED` has it
    limit: int

    def read(self) -> list[tuple[str, int, Curve]]:
        """Returns metric, place of the run and curve of each."""
        with TemporaryDirectory(prefix="hpkb-curves-") as folder:
            connection = connect_in_memory(Path(folder))
            with closing(connection), in_lake(", ".join(self.lakes)):
                for lake in self.lakes:
                    attach(connection, lake)
                return [curve for part in _by_file(self.wanted) for curve in self._of_file(connection, part)]

    def _of_file(
        self, connection: duckdb.DuckDBPyConnection, wanted: pa.Table
    ) -> list[tuple[str, int, Curve]]:
        names = wanted.select(["run_id", "metric"]).append_column("curve", pa.array(range(wanted.num_rows)))
        with registered(connection, "wanted_curves", names):
            features = {"file": wanted["features"][0].as_py()}
            first = connection.sql(_FIRST_ROWS, params=features).fetchnumpy()["first_row"]
        sizes = wanted["n_points"].to_numpy()
        kept = [thinned(int(size), self.limit) for size in sizes]
        rows = np.concatenate([start + places for start, places in zip(first, kept, strict=True)])
        order = np.argsort(rows, kind="stable")
        with registered(connection, "wanted_rows", pa.table({"place": rows[order]})):
            points = connection.sql(_POINTS, params={"file": wanted["points"][0].as_py()}).to_arrow_table()
        columns = {name: _back(points[name], order) for name in ("step", "value", "seconds")}
        ends = np.cumsum([places.size for places in kept])
        return [
            (place["metric"], place["run"], _curve(columns, end - places.size, end, place["started"]))
            for place, places, end in zip(wanted.to_pylist(), kept, ends, strict=True)
        ]


def thinned(size: int, limit: int) -> IntArray:
    """Returns the places of the points that stay of a curve: the last of each of `limit` equal parts, or all."""
    parts = min(size, limit)
    places: IntArray = -(-np.arange(1, parts + 1) * size // parts) - 1
    return places


def keep_in_lake(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Notes where the curves of a lake's runs are now, in place of where they were at the last analysis."""
    there = lake.curves_there()
    complete(connection)
    for statement in (_FORGET_RUNS, _FORGET_FILES):
        connection.execute(statement, {"lake": lake.name})
    first = connection.execute(_NEXT).fetchall()[0][0]
    with (
        registered(connection, "staged_files", _files(there, first)),
        registered(connection, "staged_runs", there.run_parts),
    ):
        connection.execute(_ADD_FILES, {"lake": lake.name})
        connection.execute(_ADD_RUNS)
    show(connection)


def leave_lake(connection: duckdb.DuckDBPyConnection) -> None:
    """Has the runs of another store than a lake read with their curves, where those were left in a lake before.

    The temporary table `changes` says what becomes of the store's runs.
    """
    if not has_table(connection, "lake_runs"):
        return
    connection.execute(_READ_AGAIN)
    ((left,),) = connection.execute(_LEAVE_RUNS).fetchall()
    if left:
        connection.execute(_LEAVE_FILES)
        show(connection)


def show(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the view `curves` show the curves in lakes beside those that are in the knowledge base."""
    attach_lakes(connection)
    files = [file for _, file in connection.execute(_FILES).fetchall()]
    quoted = ", ".join("'" + file.replace("'", "''") + "'" for file in files)  # a view has no parameters
    there = f"""
UNION ALL SELECT run_id, metric, step, timestamp, value
FROM read_parquet([{quoted}], hive_partitioning = false) SEMI JOIN lake_runs USING (run_id)"""
    connection.execute(_VIEW + (there if files else ""))


def attach_lakes(connection: duckdb.DuckDBPyConnection) -> None:
    """Lets a connection read the curves that are in object storage; where none are, nothing is imported."""
    if has_table(connection, "lake_files"):
        for lake in lakes_of(connection):
            attach(connection, lake)


def wanted_in_lake(connection: duckdb.DuckDBPyConnection, metrics: Sequence[str]) -> pa.Table | None:
    """Returns the curves of these metrics that the runs in `wanted` have in lakes, a row each; None where none has."""
    if not has_table(connection, "lake_runs"):
        return None
    rows = connection.sql(_WANTED, params={"metrics": metrics}).to_arrow_table()
    return rows if rows.num_rows else None


def stores_of_lakes(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Returns of each run of a lake the store that it came from, where a person finds it."""
    return dict(connection.execute(_STORES).fetchall()) if has_table(connection, "lake_runs") else {}


def lakes_of(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Returns the addresses of the lakes that curves are in."""
    return tuple(sorted(lake for (lake,) in connection.execute(_LAKES).fetchall()))


def _files(there: CurvesThere, first: int) -> pa.Table:
    columns = {
        "part": pa.array(range(first, first + len(there.points)), pa.int32()),
        "name": pa.array(there.points, pa.string()),
        "points": pa.array(there.points.values(), pa.string()),
        "features": pa.array([there.features[name] for name in there.points], pa.string()),
    }
    return pa.table(columns)


def _by_file(wanted: pa.Table) -> list[pa.Table]:
    """The rows of each file, which stand together."""
    files = wanted["points"].to_pylist()
    starts = [i for i, file in enumerate(files) if i == 0 or file != files[i - 1]]
    return [wanted.slice(a, b - a) for a, b in zip(starts, [*starts[1:], len(files)], strict=True)]


def _back(column: pa.ChunkedArray, order: IntArray) -> FloatArray:
    """What was read in the order of its rows, in the order in which it was wanted; what is missing as NaN."""
    values = np.empty(order.size)
    values[order] = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
    return values


def _curve(columns: Mapping[str, FloatArray], begin: int, end: int, started: float | None) -> Curve:
    step, value, seconds = (columns[name][begin:end] for name in ("step", "value", "seconds"))
    return Curve(step, value, seconds - (np.nan if started is None else started))
