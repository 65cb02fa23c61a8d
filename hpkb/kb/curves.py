"""Features of curves: what the rest needs of a curve without reading its points again."""

from __future__ import annotations

import duckdb

# Points of one step stand in the order of their time, then of their value, so that the last one does not depend on
# the order of reading. Sums are of values divided by the largest, or those of a diverged curve would overflow.
_ADD = """-- One row per run and metric.
INSERT INTO curve_features
WITH points AS (
    SELECT run_id, metric, count(*) AS n_points, count(*) FILTER (NOT isfinite(value)) AS n_nonfinite,
        min(step) AS first_step, max(step) AS last_step,
        list(value ORDER BY step, timestamp, value) AS ordered,
        min(value) FILTER (isfinite(value)) AS minimum, max(value) FILTER (isfinite(value)) AS maximum,
        min({'value': value, 'step': step}) FILTER (isfinite(value)) AS lowest,
        min({'value': -value, 'step': step}) FILTER (isfinite(value)) AS highest
    FROM curves WHERE run_id IN (SELECT run_id FROM changes WHERE change IN ('new', 'changed'))
    GROUP BY run_id, metric),
tails AS (
    SELECT *, coalesce(nullif(greatest(abs(minimum), abs(maximum)), 0), 1) AS scale,
        list_filter(ordered[-CAST(greatest(1, n_points // 10) AS INTEGER):], lambda v: isfinite(v)) AS tail
    FROM points),
scaled AS (SELECT *, list_transform(tail, lambda v: v / scale) AS unit_tail FROM tails)
SELECT run_id, metric, n_points, n_nonfinite, first_step, last_step, ordered[1], ordered[-1],
    minimum, lowest.step, maximum, highest.step,
    list_aggregate(unit_tail, 'avg') * scale, list_aggregate(unit_tail, 'stddev_samp') * scale
FROM scaled"""


def add_features(connection: duckdb.DuckDBPyConnection) -> None:
    """Adds the features of the runs that the temporary table `changes` calls new or changed."""
    connection.execute(_ADD)
