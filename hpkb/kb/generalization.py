"""How much worse validation is than training, run by run, and whether the distance grows."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from hpkb.kb.metric_words import pairs
from hpkb.kb.staging import registered
from hpkb.sources import INTEGER, TEXT, schema

_TOGETHER = 1_000  # runs; what they take in memory does not grow with the store
_PAIRS = schema(training=TEXT, validation=TEXT, rank=INTEGER, direction=TEXT)

_CHANGED = """-- One row: how many runs are new or changed.
SELECT count(*) FROM changes WHERE change IN ('new', 'changed')"""

_METRICS = """-- One row per metric.
SELECT DISTINCT metric FROM curve_names"""

# Training is logged at every step, validation once an epoch: both are averaged over twenty windows of the steps that
# they have in common, so that neither need have points where the other has.
_ADD = """-- One row per run with a training and a validation curve of one kind. Sums are exact, as in `curve_features`.
INSERT INTO generalization_gaps BY NAME
WITH changed AS (SELECT run_id FROM changes WHERE change IN ('new', 'changed') ORDER BY run_id LIMIT $n OFFSET $after),
paired AS (
    SELECT t.run_id, arg_min({'training': t.metric, 'validation': v.metric, 'direction': p.direction},
        (p.rank, t.metric, v.metric)) AS pair
    FROM metric_pairs p JOIN curve_features t ON t.metric = p.training
    JOIN curve_features v ON v.metric = p.validation AND v.run_id = t.run_id
    SEMI JOIN changed ON changed.run_id = t.run_id
    GROUP BY t.run_id),
sides AS (
    SELECT run_id, n.curve, f.metric = pair.validation AS is_validation,
        max(f.first_step) OVER both_sides AS first_step, min(f.last_step) OVER both_sides AS last_step,
        coalesce(nullif(max(greatest(abs(f.minimum), abs(f.maximum))) OVER both_sides, 0), 1) AS scale
    FROM paired JOIN curve_features f USING (run_id) JOIN curve_names n USING (run_id, metric)
    WHERE f.metric IN (pair.training, pair.validation) WINDOW both_sides AS (PARTITION BY run_id)),
windows AS (
    SELECT run_id, any_value(scale) AS scale,
        any_value(CAST(last_step AS DOUBLE) - CAST(first_step AS DOUBLE)) AS width,
        coalesce(least(19, floor(20 * ((CAST(step AS DOUBLE) - first_step)
            / nullif(CAST(last_step AS DOUBLE) - first_step, 0)))), 0) AS number,
        sum(CAST(value / scale * pow(2, 60) AS BIGINT)) FILTER (is_validation) / pow(2, 60)
            / count(*) FILTER (is_validation) AS validation,
        sum(CAST(value / scale * pow(2, 60) AS BIGINT)) FILTER (NOT is_validation) / pow(2, 60)
            / count(*) FILTER (NOT is_validation) AS training
    FROM curve_points JOIN sides USING (curve)
    WHERE isfinite(value) AND step BETWEEN first_step AND last_step GROUP BY run_id, number),
listed AS (
    SELECT run_id, pair, any_value(scale) AS scale, any_value(width) / 20 AS width,
        count(*) AS n_windows, IF(pair.direction = 'min', 1, -1) AS sign,
        list({'x': number, 'y': sign * (validation - training)} ORDER BY number) AS points
    FROM windows JOIN paired USING (run_id) WHERE validation - training IS NOT NULL GROUP BY run_id, pair),
centred AS (
    SELECT *, list_avg([p.x FOR p IN points]) AS mean_x, list_avg([p.y FOR p IN points]) AS mean_y,
        [p.x - mean_x FOR p IN points] AS xs, [p.y - mean_y FOR p IN points] AS ys
    FROM listed),
fitted AS (
    SELECT *, nullif(list_inner_product(xs, xs), 0) AS sxx, list_inner_product(xs, ys) / sxx AS slope,
        CASE WHEN n_windows > 2 THEN sqrt(greatest(0,
            list_inner_product(ys, ys) - slope * list_inner_product(xs, ys)) / (n_windows - 2) / sxx) END AS error
    FROM centred)
SELECT run_id, pair.training AS training_metric, pair.validation AS validation_metric, n_windows,
    points[-1].y * scale AS gap, slope / width * scale AS gap_slope, error / width * scale AS gap_slope_error,
    slope > 2 * error AS is_widening
FROM fitted"""


def add_gaps(connection: duckdb.DuckDBPyConnection) -> None:
    """Adds the generalisation gaps of the runs that the temporary table `changes` calls new or changed."""
    metrics = [str(name) for (name,) in connection.execute(_METRICS).fetchall()]
    ((changed,),) = connection.execute(_CHANGED).fetchall()
    names = ["training", "validation", "rank", "direction"]
    rows = [dict(zip(names, pair, strict=True)) for pair in pairs(metrics)]
    with registered(connection, "metric_pairs", pa.Table.from_pylist(rows, _PAIRS)):
        for after in range(0, changed, _TOGETHER):
            connection.execute(_ADD, {"n": _TOGETHER, "after": after})
