"""The records of a task's runs, from the knowledge base; see `hpkb.records` for what they mean.

Curves are thinned to a bounded number of points, evenly over the points of each and with its last one, so that the
memory that mining takes depends on the number of runs alone. The features were taken of the whole curves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa

from hpkb.kb.staging import registered
from hpkb.names import NAMES
from hpkb.records import POINTS_OF_A_CURVE, Curve, Facts, Records
from hpkb.sources.metric_reading import read_metric
from hpkb.sweep import FloatArray, IntArray, Sweep, metric_of

#: What capture records along a run, whatever the script logs.
OWN_CURVES = (
    "train_loss", "learning_rate", "grad_norm", "gradient_noise_scale", "examples_per_second", "data_wait_share",
    "peak_memory_gib", "gpu_peak_memory_gib", "dead_unit_share",
)  # fmt: skip
_MEASURED = tuple(name.name for name in NAMES if name.role in ("measured", "derived"))
_MOST_METRICS = 24
_MOST_POINTS = 4_000_000  # of a task; 24 bytes each
_FEWEST_POINTS = 64  # of a curve, however many runs there are
_BATCH = 1_000_000
_FEATURES = (
    "n_points", "n_nonfinite", "first_step", "last_step", "first_value", "last_value", "minimum", "minimum_step",
    "maximum", "maximum_step", "tail_mean", "tail_sd", "best", "best_step", "smoothed_best", "smoothed_best_step",
    "area", "slope", "slope_error", "still_improving", "plateau_step", "n_spikes", "diverged", "step_to_90",
    "step_to_95", "step_to_99", "seconds_to_90", "seconds_to_95", "seconds_to_99",
)  # fmt: skip

_METRICS = """-- One row per metric: how many of the task's runs have a curve of it.
SELECT metric, count(*) FROM curve_names SEMI JOIN wanted USING (run_id) GROUP BY metric ORDER BY metric"""

_FEATURES_OF = """-- One row per run and metric.
SELECT w.run, f.* FROM curve_features f JOIN wanted w USING (run_id) WHERE list_contains($metrics, f.metric)"""

_WANTED_CURVES = """-- One row per curve: the place of its run, its metric, and how many points it has.
SELECT n.curve, w.run, n.metric, f.n_points, epoch_ms(r.started_at) / 1000 AS started
FROM curve_names n JOIN wanted w USING (run_id) JOIN runs r USING (run_id)
JOIN curve_features f ON f.run_id = n.run_id AND f.metric = n.metric
WHERE list_contains($metrics, n.metric) ORDER BY n.curve"""

_POINTS = """-- One row per point, those of a curve together and in order, as they are stored.
SELECT curve, step, epoch_ms(timestamp) / 1000 AS seconds, value FROM curve_points
WHERE curve BETWEEN $first AND $last AND curve IN (SELECT curve FROM wanted_curves)"""

_PAIR = """-- One row: the pair of metrics that most runs' gap is taken from; none where no run has one.
SELECT training_metric, validation_metric FROM generalization_gaps SEMI JOIN wanted USING (run_id)
GROUP BY ALL ORDER BY count(*) DESC, training_metric, validation_metric LIMIT 1"""

_NUMBERS = """-- One row per run and number.
SELECT w.run, v.name, v.value
FROM runs r JOIN wanted w USING (run_id) LEFT JOIN generalization_gaps g USING (run_id),
LATERAL (VALUES
    ('run_seconds', epoch_ms(r.ended_at) / 1000 - epoch_ms(r.started_at) / 1000),
    ('started_at', epoch_ms(r.started_at) / 1000), ('gap', g.gap), ('gap_slope', g.gap_slope),
    ('gap_slope_error', g.gap_slope_error), ('is_widening', CAST(g.is_widening AS DOUBLE))) AS v (name, value)
WHERE v.value IS NOT NULL
UNION ALL
SELECT w.run, 'n_examples.' || s.role, s.n_examples FROM splits s JOIN wanted w USING (run_id)
WHERE s.n_examples IS NOT NULL
UNION ALL
SELECT w.run, h.name, h.value_number FROM hyperparameters h JOIN wanted w USING (run_id)
WHERE list_contains($measured, h.name) AND h.value_number IS NOT NULL
UNION ALL
SELECT w.run, h.name, TRY_CAST(h.value AS DOUBLE) FROM hardware h JOIN wanted w USING (run_id)
WHERE TRY_CAST(h.value AS DOUBLE) IS NOT NULL"""

_TEXTS = """-- One row per run and fact.
SELECT w.run, h.name, h.value FROM hardware h JOIN wanted w USING (run_id) WHERE h.value IS NOT NULL
UNION ALL
SELECT w.run, v.name, v.value FROM runs r JOIN wanted w USING (run_id),
LATERAL (VALUES ('status', r.status), ('infeasible_reason', r.infeasible_reason), ('end_reason', r.end_reason))
    AS v (name, value)
WHERE v.value IS NOT NULL"""

_DIGESTS = """-- One row per run and data split.
SELECT w.run, s.role AS name, s.digest AS value FROM splits s JOIN wanted w USING (run_id) WHERE s.digest IS NOT NULL"""


def with_records(
    connection: duckdb.DuckDBPyConnection, sweeps: Sequence[Sweep], without_curves: Container[str] = ()
) -> list[Sweep]:
    """Returns the sweeps with the records of their runs; of the tasks named, without the points of the curves."""
    return [
        replace(sweep, recorded=_records(connection, sweep, sweep.task not in without_curves)) for sweep in sweeps
    ]


def _records(connection: duckdb.DuckDBPyConnection, sweep: Sweep, curves: bool) -> Records:
    n = sweep.n_runs
    wanted = pa.table({"run": pa.array(range(n), pa.int32()), "run_id": pa.array(sweep.run_ids, pa.string())})
    with registered(connection, "wanted", wanted):
        pair = connection.execute(_PAIR).fetchall()
        training, validation = pair[0] if pair else (None, None)
        metrics = _metrics(connection, {metric_of(sweep), training, validation}, n)
        facts = Facts(
            curves=_curves(connection, metrics, n) if curves else {},
            features=_features(connection, metrics, n),
            texts=_by_name(connection, _TEXTS, n),
            splits=_by_name(connection, _DIGESTS, n),
            numbers=_numbers(connection, n),
            training=training,
            validation=validation,
        )
    return Records(np.arange(n, dtype=np.int64), facts)


def _metrics(connection: duckdb.DuckDBPyConnection, first: set[str | None], n_runs: int) -> list[str]:
    """The metrics that a miner may ask for: the objective's, what capture records, and those that judge a run."""
    counts = dict(connection.execute(_METRICS).fetchall())
    judging = {m for m, n in counts.items() if 10 * n >= n_runs and (read := read_metric(m)) and read.kind}
    rank = Counter({m: n + n_runs * ((m in OWN_CURVES) + 2 * (m in first)) for m, n in counts.items()})
    known = [m for m in counts if m in first or m in OWN_CURVES or m in judging]
    return sorted(known, key=lambda m: (-rank[m], m))[:_MOST_METRICS]


def _features(
    connection: duckdb.DuckDBPyConnection, metrics: Sequence[str], n_runs: int
) -> dict[str, dict[str, FloatArray]]:
    rows = connection.sql(_FEATURES_OF, params={"metrics": metrics}).to_arrow_table()
    of_metric = np.array(rows["metric"].to_pylist(), dtype=object)
    run = rows["run"].to_numpy()
    columns = {name: rows[name].cast(pa.float64()).fill_null(np.nan).to_numpy() for name in _FEATURES}
    found: dict[str, dict[str, FloatArray]] = {}
    for metric in metrics:
        here = np.flatnonzero(of_metric == metric)
        found[metric] = {name: _placed(run[here], column[here], n_runs) for name, column in columns.items()}
    return found


def _placed(runs: IntArray, values: FloatArray, n_runs: int) -> FloatArray:
    placed = np.full(n_runs, np.nan)
    placed[runs] = values
    return placed


def _curves(
    connection: duckdb.DuckDBPyConnection, metrics: Sequence[str], n_runs: int
) -> dict[str, list[Curve | None]]:
    found: dict[str, list[Curve | None]] = {metric: [None] * n_runs for metric in metrics}
    wanted = connection.sql(_WANTED_CURVES, params={"metrics": metrics}).to_arrow_table()
    if not wanted.num_rows:
        return found
    limit = int(np.clip(_MOST_POINTS // wanted.num_rows, _FEWEST_POINTS, POINTS_OF_A_CURVE))
    numbers = wanted["curve"].to_numpy()
    sizes = np.zeros(int(numbers[-1] - numbers[0]) + 1, np.int64)
    sizes[numbers - numbers[0]] = wanted["n_points"].to_numpy()
    with registered(connection, "wanted_curves", wanted.select(["curve"])):
        ends = {"first": int(numbers[0]), "last": int(numbers[-1])}
        batches = connection.sql(_POINTS, params=ends).to_arrow_reader(_BATCH)
        points = pa.Table.from_batches(_thinned(batches, int(numbers[0]), sizes, limit), batches.schema)
    for place, curve in zip(wanted.to_pylist(), _split(points, numbers), strict=True):
        started = np.nan if place["started"] is None else place["started"]
        found[place["metric"]][place["run"]] = replace(curve, seconds=curve.seconds - started)
    return found


def _thinned(
    batches: Iterable[pa.RecordBatch], first: int, sizes: IntArray, limit: int
) -> Iterator[pa.RecordBatch]:
    """The batches with at most `limit` points of each curve: the last of each of as many equal parts."""
    seen = np.zeros_like(sizes)
    for batch in batches:
        curve = batch["curve"].to_numpy() - first
        starts = np.flatnonzero(np.diff(curve, prepend=-1))
        lengths = np.diff(starts, append=curve.size)
        place = np.arange(curve.size) - np.repeat(starts - seen[curve[starts]], lengths)
        np.add.at(seen, curve[starts], lengths)
        parts, size = np.minimum(sizes[curve], limit), sizes[curve]
        kept = (place + 1) * parts // size > place * parts // size
        yield batch.filter(pa.array(kept))


def _split(points: pa.Table, numbers: IntArray) -> Iterator[Curve]:
    """The curves of these numbers, which ascend, from all points."""
    curve = points["curve"].to_numpy()
    order = np.argsort(curve, kind="stable")
    ends = np.searchsorted(curve[order], numbers, side="right")
    begins = np.searchsorted(curve[order], numbers, side="left")
    reals = (points[name].cast(pa.float64()).fill_null(np.nan) for name in ("step", "value", "seconds"))
    columns = [real.to_numpy()[order] for real in reals]
    for begin, end in zip(begins, ends, strict=True):
        yield Curve(*(column[begin:end] for column in columns))


def _by_name(connection: duckdb.DuckDBPyConnection, query: str, n_runs: int) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for run, name, value in connection.execute(query).fetchall():
        found.setdefault(name, [None] * n_runs)[run] = value
    return found


def _numbers(connection: duckdb.DuckDBPyConnection, n_runs: int) -> dict[str, FloatArray]:
    found: dict[str, FloatArray] = {}
    for run, name, value in connection.execute(_NUMBERS, {"measured": list(_MEASURED)}).fetchall():
        found.setdefault(name, np.full(n_runs, np.nan))[run] = value
    return found
