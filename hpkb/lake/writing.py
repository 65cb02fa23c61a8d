"""A part of the lake, written: a batch of runs read from their store, or parts that are there, merged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from hpkb.kb.batches import Opener, curves_of
from hpkb.kb.store import in_memory
from hpkb.lake.layout import FILES, RUNS
from hpkb.lake.manifest import Part, Partition
from hpkb.lake.place import Place, place_of
from hpkb.sources import Source


@dataclass(frozen=True)
class Written:
    """A part whose files are there, and what had to be altered on the way."""

    part: Part
    notes: Mapping[str, int]


def write_batch(url: str, open_source: Opener, partition: Partition, states: Mapping[str, str]) -> Written:
    """Reads the runs with these ids, whose state is their fingerprint, from their store, and writes them as a part."""
    source = open_source()
    try:
        with TemporaryDirectory(prefix="hpkb-lake-") as folder:
            points, ids = Path(folder) / "points.parquet", pa.array(states, pa.string())
            curves = curves_of(source, ids, points)
            tables = _tables(source, ids, states) | {"features": curves.features, "gaps": curves.gaps}
            name = _name([partition.source, *states, *states.values()])
            part = Part(name, *partition, runs=len(states), points=curves.n_points, bytes=0)
            return Written(_put(place_of(url), part, tables, points), curves.notes)
    finally:
        source.close()


def merge(url: str, parts: Sequence[Part], without: Sequence[str] = ()) -> Part | None:
    """Writes the runs of parts of one partition, but for those left out, as one part; None where none is left."""
    place = place_of(url)
    with TemporaryDirectory(prefix="hpkb-lake-") as folder, in_memory(Path(folder)) as connection:
        place.attach(connection)
        left_out = pa.table({"run_id": pa.array(without, pa.string())})
        connection.register("left_out", left_out)
        files = {kind: [place.address(part.path(kind)) for part in parts] for kind in FILES}
        tables = {
            kind: connection.sql(query, params={"files": files[kind]}).to_arrow_table()
            for kind, query in _MERGED.items()
        }
        if not tables["runs"].num_rows:
            return None
        points = Path(folder) / "points.parquet"
        connection.execute(
            _MERGE_POINTS, {"files": files["points"], "features": files["features"], "file": str(points)}
        )
        name = _name([part.name for part in parts] + sorted(without))
        n_points = sum(tables["features"]["n_points"].to_pylist())
        part = Part(name, *parts[0].partition, runs=tables["runs"].num_rows, points=n_points, bytes=0)
        return _put(place, part, tables, points)


_MERGED = {
    kind: "-- One row per row of the parts, but of the runs that are left out.\n"
    "SELECT * FROM read_parquet($files, hive_partitioning = false) ANTI JOIN left_out USING (run_id) ORDER BY " + order
    for kind, order in {
        "runs": "run_id", "parameters": "run_id, name", "hardware": "run_id, name", "splits": "run_id, role",
        "gaps": "run_id",
    }.items()
}  # fmt: skip
_MERGED["features"] = """-- One row per curve of the parts, but of the runs that are left out.
SELECT * EXCLUDE (first_row), CAST(sum(n_points) OVER (ORDER BY run_id, metric) - n_points AS BIGINT) AS first_row
FROM read_parquet($files, hive_partitioning = false) ANTI JOIN left_out USING (run_id) ORDER BY run_id, metric"""

# Whole numbers are sorted in a fraction of the time of names; within a curve, the order is that of its file.
_MERGE_POINTS = """-- One row per point of the parts, but of the runs that are left out.
COPY (
    WITH ranked AS (
        SELECT run_id, metric, row_number() OVER (ORDER BY run_id, metric) AS rank
        FROM read_parquet($features, hive_partitioning = false) ANTI JOIN left_out USING (run_id))
    SELECT run_id, metric, step, timestamp, value
    FROM read_parquet($files, hive_partitioning = false, file_row_number = true) JOIN ranked USING (run_id, metric)
    ORDER BY rank, file_row_number
) TO $file (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION V2)"""


def _tables(source: Source, ids: pa.Array, states: Mapping[str, str]) -> dict[str, pa.Table]:
    runs = source.runs(ids)
    columns = {name: runs[name] for name in RUNS.names if name in runs.column_names} | {
        "experiment_name": runs["experiment"], "stated_task": runs["task"],
        "source": pa.array([source.name] * runs.num_rows, pa.string()),
        "fingerprint": pa.array([states[run_id] for run_id in runs["run_id"].to_pylist()], pa.string()),
    }  # fmt: skip
    return {
        "runs": _sorted(pa.table({name: columns[name] for name in RUNS.names}).cast(RUNS), "run_id"),
        "parameters": _sorted(source.parameters(ids), "run_id", "name"),
        "hardware": _sorted(source.hardware(ids), "run_id", "name"),
        "splits": _sorted(source.splits(ids), "run_id", "role"),
    }


def _sorted(rows: pa.Table, *names: str) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in names])


def _put(place: Place, part: Part, tables: Mapping[str, pa.Table], points: Path) -> Part:
    size = place.put(part.path("points"), points)
    for kind, table in tables.items():
        file = points.with_name(f"{kind}.parquet")
        pq.write_table(table, file, compression="zstd")
        size += place.put(part.path(kind), file)
    return replace(part, bytes=size)


def _name(made_of: Iterable[str]) -> str:
    """A name that says what a part was made of: a job that is done twice writes the same files twice."""
    digest = hashlib.blake2b(digest_size=12)
    for text in made_of:
        digest.update(text.encode() + b"\0")
    return f"part-{digest.hexdigest()}"
