"""A batch of runs read by itself, with the features of its curves: what can be done on another machine.

The features of a curve depend on its own points, a gap on the two curves of its run, so that runs read in batches give
what they give together. Each batch is worked on in a database of its own, in memory as far as that goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from hpkb.engine import Engine
from hpkb.kb.curve_features import add_features
from hpkb.kb.curves import add_curves
from hpkb.kb.generalization import add_gaps
from hpkb.kb.staging import registered
from hpkb.kb.store import in_memory
from hpkb.sources import Source

#: Opens a store of runs; picklable, so that another process can do so too.
Opener = Callable[[], Source]

#: Puts the curves of these runs into a knowledge base, with features and gaps; returns what had to be altered.
ReadCurves = Callable[[duckdb.DuckDBPyConnection, pa.Array], Counter[str]]

RUNS_TOGETHER = 250  # most runs of a batch: what a worker holds, and does again if it is lost

_READ = """-- One row per run that is read.
CREATE OR REPLACE TEMP TABLE changes AS SELECT run_id, 'new' AS change FROM wanted"""

# Names by the number of their curve, from 0 in a database of its own: a lookup costs half of what a join and a sort of
# text do.
_NAMES = (
    "SET VARIABLE run_ids = (SELECT list(run_id ORDER BY curve) FROM curve_names)",
    "SET VARIABLE metrics = (SELECT list(metric ORDER BY curve) FROM curve_names)",
    """SET VARIABLE ranks = (
    SELECT list(rank ORDER BY curve)
    FROM (SELECT curve, row_number() OVER (ORDER BY run_id, metric) AS rank FROM curve_names))""",
)
_IN_ORDER = """-- One row: whether the points stand as they are to be sorted.
SELECT coalesce(bool_and(first_place > last_before), true) FROM (
    SELECT min(rowid) AS first_place, lag(max(rowid)) OVER (ORDER BY getvariable('ranks')[curve + 1]) AS last_before
    FROM curve_points GROUP BY curve)"""
_AS_THEY_ARE = """-- One row per point, sorted by run, metric, step, time and value.
SELECT getvariable('run_ids')[curve + 1] AS run_id, getvariable('metrics')[curve + 1] AS metric, step, timestamp, value
FROM curve_points"""
_SORTED = """-- One row per point, sorted by run, metric, step, time and value.
SELECT getvariable('run_ids')[curve + 1] AS run_id, getvariable('metrics')[curve + 1] AS metric, step, timestamp, value
FROM (SELECT * FROM curve_points ORDER BY getvariable('ranks')[curve + 1], rowid)"""

_FEATURES = """-- One row per curve, in the order of the points; first_row is the place of its first among all of them.
SELECT *, CAST(sum(n_points) OVER (ORDER BY run_id, metric) - n_points AS BIGINT) AS first_row
FROM curve_features ORDER BY run_id, metric"""

_GAPS = """-- One row per run with one.
SELECT * FROM generalization_gaps ORDER BY run_id"""

_ADD_FEATURES = """-- One row per run and metric.
INSERT INTO curve_features BY NAME SELECT * EXCLUDE (first_row) FROM staged_features"""

_ADD_GAPS = """-- One row per run with one.
INSERT INTO generalization_gaps BY NAME SELECT * FROM staged_gaps"""


@dataclass(frozen=True)
class Curves:
    """The curves of a batch of runs and what follows from them; `notes` say what had to be altered, and how often.

    `points` are sorted by run, metric and step; None where they were written to a file instead.
    """

    features: pa.Table
    gaps: pa.Table
    points: pa.Table | None
    n_points: int
    notes: Mapping[str, int]


def curves_of(source: Source, ids: pa.Array, into: Path | None = None) -> Curves:
    """Returns the curves of these runs of a source; their points as a Parquet file at `into`, if given."""
    with TemporaryDirectory(prefix="hpkb-curves-") as folder, in_memory(Path(folder)) as connection:
        with registered(connection, "wanted", pa.table({"run_id": ids})):
            connection.execute(_READ)
        n_points = read_into(connection, source, ids)
        features, gaps = (connection.sql(query).to_arrow_table() for query in (_FEATURES, _GAPS))
        return Curves(features, gaps, _points(connection, into), n_points, dict(source.notes()))


def _points(connection: duckdb.DuckDBPyConnection, into: Path | None) -> pa.Table | None:
    for statement in _NAMES:
        connection.execute(statement)
    query = _AS_THEY_ARE if connection.execute(_IN_ORDER).fetchall()[0][0] else _SORTED
    if into is None:
        return connection.sql(query).to_arrow_table()
    # With the encodings of Parquet's second version a step takes next to nothing.
    written = "COPY (" + query + ") TO $file (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION V2)"
    connection.execute(written, {"file": str(into)})
    return None


def read_into(connection: duckdb.DuckDBPyConnection, source: Source, ids: pa.Array) -> int:
    """Puts the curves of the runs that `changes` calls new or changed into a database, with all that follows from them.

    Returns how many points they have.
    """
    points = 0
    for part in add_curves(connection, source.curves(ids)):
        add_features(connection, part)
        points += part.points
    add_gaps(connection)
    return points


def read_by(engine: Callable[[], Engine], open_source: Opener) -> ReadCurves:
    """Returns a function that does what `read_into` does by an engine, in batches, and returns the notes."""

    def read(connection: duckdb.DuckDBPyConnection, ids: pa.Array) -> Counter[str]:
        notes: Counter[str] = Counter()
        for curves in engine().map(_read, ((open_source, batch) for batch in _batches(ids))):
            for _ in add_curves(connection, iter(curves.points.to_batches())):
                pass  # their features come with them
            add_features_of(connection, curves.features, curves.gaps)
            notes.update(curves.notes)
        return notes

    return read


def add_features_of(connection: duckdb.DuckDBPyConnection, features: pa.Table, gaps: pa.Table) -> None:
    """Puts features and gaps as `Curves` has them into the knowledge base."""
    with registered(connection, "staged_features", features), registered(connection, "staged_gaps", gaps):
        connection.execute(_ADD_FEATURES)
        connection.execute(_ADD_GAPS)


def _read(open_source: Opener, ids: pa.Array) -> Curves:
    source = open_source()
    try:
        return curves_of(source, ids)
    finally:
        source.close()


def _batches(ids: pa.Array) -> Iterator[pa.Array]:
    for start in range(0, len(ids), RUNS_TOGETHER):
        yield ids[start : start + RUNS_TOGETHER]
