"""What all MLflow stores have in common, whatever they are kept in: small tables, normalised in DuckDB, and points.

Only active runs of active experiments are seen, and of a job with several trainings only the trainings: the run above
them (tag `hpkb.parent`) has no training of its own. A source gives the small tables below as the store has them; what
they mean is said here, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
from hpkb.sources.remote_files import Download
from hpkb.sources.whole_curves import WholeCurves

_INFINITY = 1.797e308  # what MLflow's store writes for it is the largest double, 1.7976931348623157e308

# The types are stated because a table without rows has none of its own. Of the tags only those that mean something
# here need be in it; `newest` says which point of a run was written last.
SMALL_TABLES = {
    "runs": schema(run_id=TEXT, experiment=TEXT, run_name=TEXT, status=TEXT, start_time=INTEGER, end_time=INTEGER),
    "tags": schema(run_id=TEXT, name=TEXT, value=TEXT),
    "params": schema(run_id=TEXT, name=TEXT, value=TEXT),
    "inputs": schema(run_id=TEXT, context=TEXT, digest=TEXT, profile=TEXT),
    "latest": schema(run_id=TEXT, key=TEXT, value=REAL, step=REAL, timestamp=INTEGER),
    "newest": schema(run_id=TEXT, newest=INTEGER),
}

_FINGERPRINTS = """-- One row per run: a digest of all that would change what is read of it.
-- A run that only stands above those of a job's trainings is left out, and one that only holds a handbook.
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
  AND r.run_id NOT IN (SELECT run_id FROM tags
        WHERE (name = 'hpkb.parent' AND value = 'true') OR name = 'hpkb.handbook')"""

_NORMALISED_RUNS = """-- One row per run.
WITH t AS (
    SELECT run_id, max(value) FILTER (name = 'hpkb.task') AS task,
        max(value) FILTER (name = 'hpkb.end.reason') AS reason,
        max(value) FILTER (name = 'mlflow.runName') AS run_name
    FROM tags GROUP BY run_id)
SELECT r.run_id, r.experiment, coalesce(nullif(r.run_name, ''), t.run_name) AS run_name, r.status,
    CASE WHEN r.start_time >= 0 THEN make_timestamp_ms(CAST(r.start_time AS BIGINT)) END AS started_at,
    CASE WHEN r.end_time >= 0 THEN make_timestamp_ms(CAST(r.end_time AS BIGINT)) END AS ended_at,
    nullif(trim(t.task), '') AS task, t.reason AS end_reason
FROM runs r JOIN wanted USING (run_id) LEFT JOIN t USING (run_id)"""

_WANTED_PARAMETERS = """-- One row per run and parameter.
SELECT p.run_id, p.name, p.value, 'param' AS origin FROM params p JOIN wanted USING (run_id)"""

_HARDWARE = """-- One row per run and fact.
SELECT t.run_id, t.name, t.value FROM tags t JOIN wanted USING (run_id)
WHERE regexp_matches(t.name, '^hpkb\\.(hw|code|env|energy_joules|split\\.overlap|split\\.leakage)(\\.|$)')
    OR t.name = 'mlflow.source.git.commit'"""

# MLflow's digest is of the first 10,000 rows only, so the one that capture took of the data goes before it. One of a
# data set's class and length alone is marked: it does not tell data apart.
_SPLITS = """-- One row per run and role of a data set.
WITH tagged AS (
    SELECT run_id, split_part(name, '.', 3) AS role,
        CASE max(value) FILTER (name LIKE '%.digest_of') WHEN 'shape' THEN 'shape:' ELSE '' END
            || max(value) FILTER (name LIKE '%.digest') AS digest,
        max(TRY_CAST(value AS BIGINT)) FILTER (name LIKE '%.n') AS n_examples
    FROM tags WHERE regexp_matches(name, '^hpkb\\.split\\.(training|validation|test)\\.(digest|digest_of|n)$')
    GROUP BY ALL),
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


class MlflowStore(ABC):
    """The runs of an MLflow store."""

    kind: str
    name: str
    #: Fetches artifacts that only the store's own server can give out; None where there is no server.
    through_server: Download | None = None

    def __init__(self) -> None:
        self._cut_steps = 0
        self._damaged_files = 0
        self._unread_files: Counter[str] = Counter()

    @abstractmethod
    def experiments(self) -> list[str]:
        """Returns the names of the active experiments, in the order of the alphabet."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the store."""

    @abstractmethod
    def small_table(self, name: str) -> pa.Table:
        """Returns one of `SMALL_TABLES`, of all active runs; one that the store does not have is empty."""

    @abstractmethod
    def points(self, ids: pa.Array) -> Iterator[pa.Table]:
        """Yields run_id, metric, step, timestamp, value in batches of bounded size; a value that is NULL is NaN."""

    @abstractmethod
    def artifacts(self) -> pa.Table:
        """Returns run_id and artifact_uri of the runs that have their whole curves among their artifacts."""

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        """Returns run_id and fingerprint of the active runs that train; of the experiments named, or of all."""
        tables = ("runs", "tags", "inputs", "params", "latest", "newest")
        return self._join(_FINGERPRINTS, tables, FINGERPRINTS, experiments=list(experiments))

    def runs(self, ids: pa.Array) -> pa.Table:
        """Returns the runs; a task is the tag `hpkb.task`, NULL without it."""
        return self._join(_NORMALISED_RUNS, ("runs", "tags"), RUNS, ids)

    def parameters(self, ids: pa.Array) -> pa.Table:
        """Returns the parameters as MLflow has them."""
        return self._join(_WANTED_PARAMETERS, ("params",), PARAMETERS, ids)

    def hardware(self, ids: pa.Array) -> pa.Table:
        """Returns the tags of machine, code, environment, energy and overlapping splits, and MLflow's own commit."""
        return self._join(_HARDWARE, ("tags",), HARDWARE, ids)

    def splits(self, ids: pa.Array) -> pa.Table:
        """Returns the splits, from the tags `hpkb.split.*` and from MLflow's dataset inputs."""
        return self._join(_SPLITS, ("tags", "inputs"), SPLITS, ids)

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        """Yields the points, from the whole curves where a run has them among its artifacts."""
        places = self.artifacts()
        wanted = places.filter(pc.is_in(places["run_id"].cast(pa.string()), value_set=ids.cast(pa.string())))
        addresses = dict(zip(wanted["run_id"].to_pylist(), wanted["artifact_uri"].to_pylist(), strict=True))
        whole = WholeCurves(addresses, self.through_server)
        self._damaged_files += whole.damaged
        self._unread_files += whole.unread
        for points in self.points(ids):
            yield from self._as_curves(whole.without(points)).to_batches()
        yield from whole.batches()

    def notes(self) -> Mapping[str, int]:
        """Returns how many steps were cut to whole numbers, and which files of whole curves could not be read."""
        counts = {
            "steps cut to whole numbers": self._cut_steps,
            "damaged files of whole curves, their thinned metrics used": self._damaged_files,
        }
        for reason, count in self._unread_files.items():
            counts[f"files of whole curves not read, their thinned metrics used: {reason}"] = count
        return {what: count for what, count in counts.items() if count}

    def objectives(self) -> Mapping[str, Sequence[Objective]]:
        """Returns nothing: MLflow states no objective."""
        return {}

    def _join(
        self, sql: str, tables: Sequence[str], schema: pa.Schema, ids: pa.Array | None = None, **parameters: object
    ) -> pa.Table:
        """The query's rows over the store's small tables, joined in DuckDB, where it costs the store no lock."""
        with duckdb.connect(config={"threads": 2}) as scratch:
            for table in tables:
                scratch.register(table, self.small_table(table))
            if ids is not None:
                scratch.register("wanted", pa.table({"run_id": ids}))
            return scratch.sql(sql, params=parameters).to_arrow_table().cast(schema)

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
