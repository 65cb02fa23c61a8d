"""An MLflow store in a SQLite file, read without MLflow: MLflow migrates an older file as it opens it.

Schemas from 2020 on are understood; what an older one lacks (`is_nan`, data sets, an index over runs) is done without.
Only active runs of active experiments are seen, and of a job with several trainings only the trainings: the run above
them (tag `hpkb.parent`) has no training of its own. MLflow writes NaN as `value = 0, is_nan = 1` and infinities as
±1.797e308; both come back as what they were. A step that is no whole number is cut, and counted in `notes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpkb.errors import SourceError
from hpkb.sources import (
    CURVES,
    FINGERPRINTS,
    HARDWARE,
    INTEGER,
    PARAMETERS,
    REAL,
    RUNS,
    SPLITS,
    TEXT,
    schema,
)  # fmt: skip
from hpkb.sources.objectives import Objective
from hpkb.sources.sqlite_file import SqliteFile
from hpkb.sources.whole_curves import WholeCurves

_NEEDED = frozenset({"experiments", "runs", "metrics", "latest_metrics", "params", "tags"})
_DATASETS = frozenset({"inputs", "datasets", "input_tags"})
_INFINITY = 1.797e308  # what MLflow's store writes for it is the largest double, 1.7976931348623157e308
_FEW = 3  # below one run in three, an index lookup a run is faster than windows over the whole table

_TABLES = """-- One row per table of the file.
SELECT name FROM sqlite_master WHERE type = 'table'"""

_METRIC_COLUMNS = """-- One row per column of the metrics.
SELECT name FROM pragma_table_info('metrics')"""

_INDEXED = """-- One row per index of the metrics that starts with the run and goes on with nothing.
SELECT l.name FROM pragma_index_list('metrics') l
WHERE (SELECT count(*) FROM pragma_index_info(l.name)) = 1
  AND (SELECT name FROM pragma_index_info(l.name)) = 'run_uuid'"""

_EXPERIMENTS = """-- One row per active experiment.
SELECT name FROM experiments WHERE coalesce(lifecycle_stage, 'active') = 'active' ORDER BY name"""

_RUNS = """-- One row per active run of an active experiment.
SELECT r.run_uuid AS run_id, e.name AS experiment, coalesce(r.name, '') AS run_name, coalesce(r.status, '') AS status,
    coalesce(r.start_time, -1) AS start_time, coalesce(r.end_time, -1) AS end_time
FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
WHERE coalesce(r.lifecycle_stage, 'active') = 'active' AND coalesce(e.lifecycle_stage, 'active') = 'active'"""

_COUNT_RUNS = """-- One row: how many runs there are, deleted ones counted in.
SELECT count(*) FROM runs"""

# A point may be added to a finished run without being its latest; the largest rowid of the run shows it.
_NEWEST_POINT = """-- One row per run: the rowid of the point that was written last.
SELECT r.run_uuid AS run_id,
    coalesce((SELECT m.rowid FROM metrics m WHERE m.run_uuid = r.run_uuid ORDER BY m.rowid DESC LIMIT 1), 0) AS newest
FROM runs r"""

_LATEST_END = "SELECT max(rowid) FROM latest_metrics"
_LATEST = """-- One row per run and metric: its last point.
SELECT run_uuid AS run_id, key, CAST(value AS REAL) AS value, step, timestamp
FROM latest_metrics WHERE rowid > ? AND rowid <= ?"""

_PARAMS_END = "SELECT max(rowid) FROM params"
_PARAMS = """-- One row per run and parameter.
SELECT run_uuid AS run_id, key AS name, CAST(value AS TEXT) AS value FROM params WHERE rowid > ? AND rowid <= ?"""

_TAGS_END = "SELECT max(rowid) FROM tags"
_TAGS = """-- One row per run and tag that means something here.
SELECT run_uuid AS run_id, key AS name, coalesce(CAST(value AS TEXT), '') AS value FROM tags
WHERE rowid > ? AND rowid <= ?
  AND (substr(key, 1, 5) = 'hpkb.' OR key IN ('mlflow.runName', 'mlflow.source.git.commit'))"""

_INPUTS = """-- One row per run and data set that it was given.
SELECT i.destination_id AS run_id, coalesce(t.value, '') AS context, d.digest AS digest,
    coalesce(CAST(d.dataset_profile AS TEXT), '') AS profile
FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id
LEFT JOIN input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context'
WHERE i.destination_type = 'RUN'"""

_IN_WINDOWS = {
    "latest": (_LATEST_END, _LATEST), "params": (_PARAMS_END, _PARAMS), "tags": (_TAGS_END, _TAGS)
}  # fmt: skip
_AT_ONCE = {"runs": _RUNS, "inputs": _INPUTS, "newest": _NEWEST_POINT}
# The types are stated because a table without rows has none of its own.
_SMALL_TABLES = {
    "runs": schema(run_id=TEXT, experiment=TEXT, run_name=TEXT, status=TEXT, start_time=INTEGER, end_time=INTEGER),
    "tags": schema(run_id=TEXT, name=TEXT, value=TEXT),
    "params": schema(run_id=TEXT, name=TEXT, value=TEXT),
    "inputs": schema(run_id=TEXT, context=TEXT, digest=TEXT, profile=TEXT),
    "latest": schema(run_id=TEXT, key=TEXT, value=REAL, step=REAL, timestamp=INTEGER),
    "newest": schema(run_id=TEXT, newest=INTEGER),
}

_POINTS_END = "SELECT max(rowid) FROM metrics"
_POINTS = """-- One row per point.
SELECT run_uuid AS run_id, key AS metric, step, timestamp, CASE WHEN is_nan THEN NULL ELSE value END AS value
FROM metrics WHERE rowid > ? AND rowid <= ?"""
_POINTS_OF_RUN = """-- One row per point of a run.
SELECT run_uuid AS run_id, key AS metric, step, timestamp, CASE WHEN is_nan THEN NULL ELSE value END AS value, rowid
FROM metrics WHERE run_uuid = ? AND rowid > ? ORDER BY rowid LIMIT ?"""
_POINTS_WITHOUT_NAN = """-- One row per point, in a store that knows no NaN.
SELECT run_uuid AS run_id, key AS metric, step, timestamp, value FROM metrics WHERE rowid > ? AND rowid <= ?"""

_FINGERPRINTS = """-- One row per run: a digest of all that would change what is read of it.
-- A run that only stands above those of a job's trainings is left out.
WITH p AS (SELECT run_id, count(*) AS n, bit_xor(hash(name, value)) AS digest FROM params GROUP BY run_id),
    t AS (SELECT run_id, count(*) AS n, bit_xor(hash(name, value)) AS digest FROM tags GROUP BY run_id),
    l AS (SELECT run_id, count(*) AS n, bit_xor(hash(key, value, step, timestamp)) AS digest
        FROM latest GROUP BY run_id),
    i AS (SELECT run_id, count(*) AS n, bit_xor(hash(context, digest, profile)) AS digest FROM inputs GROUP BY run_id)
SELECT r.run_id, md5(concat_ws('|', r.experiment, r.run_name, r.status, r.start_time, r.end_time, coalesce(o.newest, 0),
    coalesce(p.n, 0), p.digest, coalesce(t.n, 0), t.digest, coalesce(l.n, 0), l.digest, coalesce(i.n, 0), i.digest))
    AS fingerprint
FROM runs r LEFT JOIN p USING (run_id) LEFT JOIN t USING (run_id) LEFT JOIN l USING (run_id) LEFT JOIN i USING (run_id)
LEFT JOIN newest o USING (run_id)
WHERE (len($experiments) = 0 OR list_contains($experiments, r.experiment))
  AND r.run_id NOT IN (SELECT run_id FROM tags WHERE name = 'hpkb.parent' AND value = 'true')"""

_NORMALISED_RUNS = """-- One row per run.
WITH t AS (
    SELECT run_id, max(value) FILTER (name = 'hpkb.task') AS task,
        max(value) FILTER (name = 'hpkb.end.reason') AS reason,
        max(value) FILTER (name = 'mlflow.runName') AS run_name
    FROM tags GROUP BY run_id)
SELECT r.run_id, r.experiment, coalesce(nullif(r.run_name, ''), t.run_name) AS run_name, r.status,
    CASE WHEN r.start_time >= 0 THEN make_timestamp_ms(CAST(r.start_time AS BIGINT)) END AS started_at,
    CASE WHEN r.end_time >= 0 THEN make_timestamp_ms(CAST(r.end_time AS BIGINT)) END AS ended_at,
    coalesce(nullif(trim(t.task), ''), r.experiment) AS task, t.reason AS end_reason
FROM runs r JOIN wanted USING (run_id) LEFT JOIN t USING (run_id)"""

_WANTED_PARAMETERS = """-- One row per run and parameter.
SELECT p.run_id, p.name, p.value, 'param' AS origin FROM params p JOIN wanted USING (run_id)"""

_HARDWARE = """-- One row per run and fact.
SELECT t.run_id, t.name, t.value FROM tags t JOIN wanted USING (run_id)
WHERE regexp_matches(t.name, '^hpkb\\.(hw|code|env)\\.') OR t.name = 'mlflow.source.git.commit'"""

# MLflow's digest is of the first 10,000 rows only, so the one that capture took of the data goes before it.
_SPLITS = """-- One row per run and role of a data set.
WITH tagged AS (
    SELECT run_id, split_part(name, '.', 3) AS role, max(value) FILTER (name LIKE '%.digest') AS digest,
        max(TRY_CAST(value AS BIGINT)) FILTER (name LIKE '%.n') AS n_examples
    FROM tags WHERE regexp_matches(name, '^hpkb\\.split\\.(training|validation|test)\\.(digest|n)$') GROUP BY ALL),
given AS (
    SELECT run_id, digest, TRY_CAST(TRY(json_extract_string(profile, '$.num_rows')) AS BIGINT) AS n_examples,
        CASE WHEN context IN ('', 'train', 'training') THEN 'training'
             WHEN context IN ('val', 'valid', 'validation', 'eval', 'evaluation') THEN 'validation'
             ELSE context END AS role
    FROM inputs),
joined AS (
    SELECT run_id, role, string_agg(digest, '+' ORDER BY digest) AS digest,
        CAST(sum(n_examples) AS BIGINT) AS n_examples
    FROM given GROUP BY ALL)
SELECT run_id, role, coalesce(t.digest, g.digest) AS digest, coalesce(t.n_examples, g.n_examples) AS n_examples
FROM (tagged t FULL JOIN joined g USING (run_id, role)) JOIN wanted USING (run_id)"""


_ARTIFACTS = """-- One row per run that has its whole curves among its artifacts.
SELECT r.run_uuid AS run_id, r.artifact_uri FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid
WHERE t.key = 'hpkb.curves' AND r.artifact_uri IS NOT NULL"""


class MlflowSqlite:
    """The runs of an MLflow store in a SQLite file; raises SourceError where it is none."""

    kind = "mlflow_sqlite"

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path)
        self.name = f"sqlite:///{self._file.path}"
        tables = {row.as_py() for row in self._file.query(_TABLES).column(0)}
        if missing := _NEEDED - tables:
            self._file.close()
            raise SourceError(f"'{path}' is no MLflow store: it has no table {', '.join(sorted(missing))}.")
        columns = {row.as_py() for row in self._file.query(_METRIC_COLUMNS).column(0)}
        self._has_nan, self._has_datasets = "is_nan" in columns, tables >= _DATASETS
        self._indexed = self._file.query(_INDEXED).num_rows > 0
        self._cut_steps = 0
        self._damaged_files = 0

    def experiments(self) -> list[str]:
        """Returns the names of the active experiments."""
        return [str(name) for name in self._file.query(_EXPERIMENTS).column(0).to_pylist()]

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        """Returns run_id and fingerprint of the active runs that train; of the experiments named, or of all."""
        tables = ("runs", "tags", "inputs", "params", "latest", "newest")
        return self._join(_FINGERPRINTS, tables, FINGERPRINTS, experiments=list(experiments))

    def runs(self, ids: pa.Array) -> pa.Table:
        """Returns the runs; a task is the tag `hpkb.task`, else the experiment."""
        return self._join(_NORMALISED_RUNS, ("runs", "tags"), RUNS, ids)

    def parameters(self, ids: pa.Array) -> pa.Table:
        """Returns the parameters as MLflow has them."""
        return self._join(_WANTED_PARAMETERS, ("params",), PARAMETERS, ids)

    def hardware(self, ids: pa.Array) -> pa.Table:
        """Returns the tags `hpkb.hw.*`, `hpkb.code.*`, `hpkb.env.*` and MLflow's own git commit."""
        return self._join(_HARDWARE, ("tags",), HARDWARE, ids)

    def splits(self, ids: pa.Array) -> pa.Table:
        """Returns the splits, from the tags `hpkb.split.*` and from MLflow's dataset inputs."""
        return self._join(_SPLITS, ("tags", "inputs"), SPLITS, ids)

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        """Yields the points; raises SourceError where the file is rewritten meanwhile."""
        before = self._file.layout()
        whole = self._whole_curves(ids)
        for points in self._points(ids):
            yield from self._as_curves(whole.without(points)).to_batches()
        yield from whole.batches()
        if self._file.layout() != before:
            raise SourceError(f"'{self._file.path}' was rewritten (VACUUM, migration) while it was read. Run it again.")

    def notes(self) -> Mapping[str, int]:
        """Returns how many steps were cut to whole numbers, and how many files of whole curves could not be read."""
        counts = {
            "steps cut to whole numbers": self._cut_steps,
            "damaged files of whole curves, their thinned metrics used": self._damaged_files,
        }
        return {what: count for what, count in counts.items() if count}

    def objectives(self) -> Mapping[str, Sequence[Objective]]:
        """Returns nothing: MLflow states no objective."""
        return {}

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _join(
        self, sql: str, tables: Sequence[str], schema: pa.Schema, ids: pa.Array | None = None, **parameters: object
    ) -> pa.Table:
        """The query's rows over the store's small tables, joined in DuckDB, where it costs the store no lock."""
        with duckdb.connect(config={"threads": 2}) as scratch:
            for table in tables:
                scratch.register(table, self._small_table(table))
            if ids is not None:
                scratch.register("wanted", pa.table({"run_id": ids}))
            return scratch.sql(sql, params=parameters).to_arrow_table().cast(schema)

    def _small_table(self, name: str) -> pa.Table:
        lacking = {"inputs": not self._has_datasets, "newest": not self._indexed}
        if lacking.get(name):
            return _SMALL_TABLES[name].empty_table()
        if name in _IN_WINDOWS:
            parts = self._file.windows(*_IN_WINDOWS[name])
        else:
            parts = iter([self._file.query(_AT_ONCE[name])])
        schema = _SMALL_TABLES[name]
        return pa.Table.from_batches([batch for part in parts for batch in part.cast(schema).to_batches()], schema)

    def _whole_curves(self, ids: pa.Array) -> WholeCurves:
        rows = self._file.query(_ARTIFACTS)
        wanted = rows.filter(pc.is_in(rows["run_id"].cast(pa.string()), value_set=ids.cast(pa.string())))
        whole = WholeCurves(dict(zip(wanted["run_id"].to_pylist(), wanted["artifact_uri"].to_pylist(), strict=True)))
        self._damaged_files += whole.damaged
        return whole

    def _points(self, ids: pa.Array) -> Iterator[pa.Table]:
        total = self._file.query(_COUNT_RUNS).column(0)[0].as_py()
        if self._indexed and self._has_nan and len(ids) * _FEW < total:
            yield from self._file.by_key(_POINTS_OF_RUN, ids.to_pylist())
            return
        for window in self._file.windows(_POINTS_END, _POINTS if self._has_nan else _POINTS_WITHOUT_NAN):
            yield window if len(ids) == total else window.filter(pc.is_in(window["run_id"], value_set=ids))

    def _as_curves(self, points: pa.Table) -> pa.Table:
        step, cut = _whole_numbers(points["step"])
        self._cut_steps += cut
        time, _ = _whole_numbers(points["timestamp"])
        columns = [points["run_id"], points["metric"], step, time.cast(CURVES.field("timestamp").type), _values(points)]
        return pa.Table.from_arrays(columns, schema=CURVES)


def _values(points: pa.Table) -> pa.ChunkedArray:
    """The values with NaN for NULL, and infinities where the store has the largest double."""
    value = points["value"].cast(pa.float64()).fill_null(np.nan)
    value = pc.if_else(pc.greater(value, _INFINITY), np.inf, value)
    return pc.if_else(pc.less(value, -_INFINITY), -np.inf, value)


def _whole_numbers(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
    """The column as 64-bit integers, cut towards zero, and how many had to be cut."""
    if not pa.types.is_floating(column.type):
        return column.cast(pa.int64()), 0
    whole = pc.trunc(column)
    return whole.cast(pa.int64()), int(pc.sum(pc.not_equal(whole, column)).as_py() or 0)
