"""An MLflow store in a SQLite file, read without MLflow: MLflow migrates an older file as it opens it.

Schemas from 2020 on are understood; what an older one lacks (`is_nan`, data sets, an index over runs) is done without.
Only active runs of active experiments are seen, and of a job with several trainings only the trainings: the run above
them (tag `hpkb.parent`) has no training of its own. MLflow writes NaN as `value = 0, is_nan = 1` and infinities as
±1.797e308; both come back as what they were. A step that is no whole number is cut, and counted in `notes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from hpkb.errors import SourceError
from hpkb.sources.mlflow import SMALL_TABLES, MlflowStore
from hpkb.sources.sqlite_file import SqliteFile

_NEEDED = frozenset({"experiments", "runs", "metrics", "latest_metrics", "params", "tags"})
_DATASETS = frozenset({"inputs", "datasets", "input_tags"})
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
_POINTS_END = "SELECT max(rowid) FROM metrics"
_POINTS = """-- One row per point.
SELECT run_uuid AS run_id, key AS metric, step, timestamp, CASE WHEN is_nan THEN NULL ELSE value END AS value
FROM metrics WHERE rowid > ? AND rowid <= ?"""
_POINTS_OF_RUN = """-- One row per point of a run.
SELECT run_uuid AS run_id, key AS metric, step, timestamp, CASE WHEN is_nan THEN NULL ELSE value END AS value, rowid
FROM metrics WHERE run_uuid = ? AND rowid > ? ORDER BY rowid LIMIT ?"""
_POINTS_WITHOUT_NAN = """-- One row per point, in a store that knows no NaN.
SELECT run_uuid AS run_id, key AS metric, step, timestamp, value FROM metrics WHERE rowid > ? AND rowid <= ?"""

_ARTIFACTS = """-- One row per run that has its whole curves among its artifacts.
SELECT r.run_uuid AS run_id, r.artifact_uri FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid
WHERE t.key = 'hpkb.curves' AND r.artifact_uri IS NOT NULL"""


class MlflowSqlite(MlflowStore):
    """The runs of an MLflow store in a SQLite file; raises SourceError where it is none."""

    kind = "mlflow_sqlite"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = SqliteFile(path)
        self.name = f"sqlite:///{self._file.path}"
        tables = {row.as_py() for row in self._file.query(_TABLES).column(0)}
        if missing := _NEEDED - tables:
            self._file.close()
            raise SourceError(f"'{path}' is no MLflow store: it has no table {', '.join(sorted(missing))}.")
        columns = {row.as_py() for row in self._file.query(_METRIC_COLUMNS).column(0)}
        self._has_nan, self._has_datasets = "is_nan" in columns, tables >= _DATASETS
        self._indexed = self._file.query(_INDEXED).num_rows > 0

    def experiments(self) -> list[str]:
        """Returns the names of the active experiments."""
        return [str(name) for name in self._file.query(_EXPERIMENTS).column(0).to_pylist()]

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        """Yields the points; raises SourceError where the file is rewritten meanwhile."""
        before = self._file.layout()
        yield from super().curves(ids)
        if self._file.layout() != before:
            raise SourceError(f"'{self._file.path}' was rewritten (VACUUM, migration) while it was read. Run it again.")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def small_table(self, name: str) -> pa.Table:
        """Returns one of the small tables."""
        lacking = {"inputs": not self._has_datasets, "newest": not self._indexed}
        if lacking.get(name):
            return SMALL_TABLES[name].empty_table()
        if name in _IN_WINDOWS:
            parts = self._file.windows(*_IN_WINDOWS[name])
        else:
            parts = iter([self._file.query(_AT_ONCE[name])])
        schema = SMALL_TABLES[name]
        return pa.Table.from_batches([batch for part in parts for batch in part.cast(schema).to_batches()], schema)

    def artifacts(self) -> pa.Table:
        """Returns where the artifacts of the runs with whole curves are."""
        return self._file.query(_ARTIFACTS)

    def points(self, ids: pa.Array) -> Iterator[pa.Table]:
        """Yields the points of these runs, window by window or, of a few runs, run by run."""
        total = self._file.query(_COUNT_RUNS).column(0)[0].as_py()
        if self._indexed and self._has_nan and len(ids) * _FEW < total:
            yield from self._file.by_key(_POINTS_OF_RUN, ids.to_pylist())
            return
        for window in self._file.windows(_POINTS_END, _POINTS if self._has_nan else _POINTS_WITHOUT_NAN):
            yield window if len(ids) == total else window.filter(pc.is_in(window["run_id"], value_set=ids))
