"""Features of curves: what the rest needs of a curve without reading its points again, in SQL over all curves at once.

The definitions stand in `schema.sql` beside the columns. Points of a curve are read in the order in which
`hpkb.kb.curves` keeps them: step, time, value. All sums are of values divided by the curve's largest, or those of a
diverged curve would overflow.

*Windows.* A curve is cut into twenty windows of as many points each (fewer points: each its own). Their means are the
smoothed curve; being disjoint, they err independently where the noise does.

*Noise.* The scatter of one point is that of the change from point to point over √2 (von Neumann et al. 1941, The mean
square successive difference). The scatter of a change is taken from the median over the windows of their mean absolute
change, so that spikes in fewer than half of them do not count; a normal variable's mean absolute value is 0.7979 of its
standard deviation, its median one 0.6745. Where most windows are constant it is the mean of all changes.

A *plateau* is five windows long at least: what falls by as much from each point to the next may be within the errors of
its last three.

*Spikes* are changes for the worse of at least seven times that; seven is what OLMo 2 (2025, arXiv:2501.00656) takes
from a rolling mean.

*Exactness.* A sum of doubles depends on their order, and so on which thread read what. For a knowledge base that grew
to equal one built anew, sums are of integers, which no order changes: terms of at most 1, in multiples of 2^-60.
Comparisons leave 1e-12 of the largest value to rounding.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from hpkb.kb.curves import Slice
from hpkb.kb.metric_words import direction_of
from hpkb.kb.staging import registered

_METRICS = """-- One row per metric of the slice.
SELECT DISTINCT metric FROM curve_names WHERE curve BETWEEN $first AND $last"""

_EXTENTS = """-- One row per curve of the slice. A place is the number of a point's row; a curve's follow each other.
CREATE OR REPLACE TEMP TABLE extents AS
WITH counted AS (
    SELECT curve, count(*) AS n_points, count(*) FILTER (NOT isfinite(value)) AS n_nonfinite,
        min(step) AS first_step, max(step) AS last_step, min(rowid) AS first_place, max(rowid) AS last_place,
        min(rowid) FILTER (isfinite(value)) AS first_finite_place,
        min(value) FILTER (isfinite(value)) AS minimum, max(value) FILTER (isfinite(value)) AS maximum
    FROM curve_points WHERE curve BETWEEN $first AND $last GROUP BY curve)
SELECT *, coalesce(nullif(greatest(abs(minimum), abs(maximum)), 0), 1) AS scale, least(20, n_points) AS n_windows,
    greatest(CAST(last_step AS DOUBLE) - CAST(first_step AS DOUBLE), 1) AS span
FROM counted"""

# A window over all rows runs in one thread: two of them, each over half of the curves, use two.
_FOLLOWED = """-- One row per finite point of the curves, with what the point before it was.
CREATE OR REPLACE TEMP MACRO followed(first_curve, last_curve) AS TABLE
WITH halves AS (
    SELECT curve, step, timestamp, value, rowid AS place, lag(curve) OVER () AS curve_before,
        lag(step) OVER () AS step_before, lag(value) OVER () AS value_before
    FROM curve_points WHERE curve BETWEEN first_curve AND (first_curve + last_curve) // 2 AND isfinite(value)
    UNION ALL
    SELECT curve, step, timestamp, value, rowid AS place, lag(curve) OVER () AS curve_before,
        lag(step) OVER () AS step_before, lag(value) OVER () AS value_before
    FROM curve_points WHERE curve BETWEEN (first_curve + last_curve) // 2 + 1 AND last_curve AND isfinite(value))
SELECT * FROM halves"""

_WINDOWS = """-- One row per curve and window with a finite value.
CREATE OR REPLACE TEMP TABLE windows AS
WITH changes AS (
    SELECT curve, (place - first_place) * n_windows // n_points AS number, step, value / scale AS unit,
        CASE WHEN curve = curve_before THEN value_before / scale END AS unit_before,
        CAST(step AS DOUBLE) - CAST(step_before AS DOUBLE) AS width, span
    FROM followed($first, $last) JOIN extents USING (curve))
SELECT curve, number, count(*) AS n, sum(CAST(unit * pow(2, 60) AS BIGINT)) AS total, total / n / pow(2, 60) AS mean,
    min(step) AS first_step, max(step) AS last_step, count(unit_before) AS n_changes,
    sum(CAST(abs(unit - unit_before) * pow(2, 60) AS BIGINT)) AS change,
    sum(CAST((unit + unit_before) / 2 * width / span * pow(2, 60) AS BIGINT)) AS area
FROM changes GROUP BY curve, number"""

# The tail is the last tenth of the points; its slope is that of ten points at least, or few would have an error.
_END_POINTS = """-- One row per point at an end of its curve.
CREATE OR REPLACE TEMP TABLE end_points AS
SELECT curve, p.rowid AS place, timestamp, value, value / scale AS unit, CAST(step AS DOUBLE) AS x,
    isfinite(value) AND p.rowid > last_place - greatest(1, n_points // 10) AS in_tail,
    isfinite(value) AND p.rowid > last_place - greatest(10, n_points // 10) AS in_slope
FROM curve_points p JOIN extents USING (curve) WHERE curve BETWEEN $first AND $last
    AND (p.rowid > last_place - greatest(10, n_points // 10)
        OR p.rowid = first_place OR p.rowid = first_finite_place)"""

_TAILS = """-- One row per curve with a finite value in its tail, or among its last ten.
CREATE OR REPLACE TEMP TABLE tails AS
WITH ranges AS (
    SELECT curve, min(unit) AS low, max(unit) - low AS height, min(x) AS origin, max(x) - origin AS width
    FROM end_points WHERE in_slope GROUP BY curve),
scaled AS (
    SELECT p.curve, in_tail, low, height, width, pow(2, 60) AS one,
        coalesce((p.x - origin) / nullif(width, 0), 0) AS x, coalesce((unit - low) / nullif(height, 0), 0) AS y
    FROM end_points p JOIN ranges USING (curve) WHERE in_slope),
summed AS (
    SELECT curve, low, height, width, count(*) AS n, count(*) FILTER (in_tail) AS n_tail,
        sum(CAST(x * one AS BIGINT)) / any_value(one) AS sum_x, sum(CAST(y * one AS BIGINT)) / any_value(one) AS sum_y,
        sum(CAST(x * x * one AS BIGINT)) / any_value(one) AS sum_xx,
        sum(CAST(y * y * one AS BIGINT)) / any_value(one) AS sum_yy,
        sum(CAST(x * y * one AS BIGINT)) / any_value(one) AS sum_xy,
        sum(CAST(y * one AS BIGINT)) FILTER (in_tail) / any_value(one) AS tail,
        sum(CAST(y * y * one AS BIGINT)) FILTER (in_tail) / any_value(one) AS tail_squared
    FROM scaled GROUP BY curve, low, height, width)
SELECT curve, n, low + height * tail / nullif(n_tail, 0) AS tail_mean,
    CASE WHEN n_tail > 1
        THEN height * sqrt(greatest(0, tail_squared - tail * tail / n_tail) / (n_tail - 1)) END AS tail_sd,
    nullif(sum_xx - sum_x * sum_x / n, 0) * width * width AS sxx, (sum_xy - sum_x * sum_y / n) * width * height AS sxy,
    (sum_yy - sum_y * sum_y / n) * height * height AS syy
FROM summed"""

_SHAPES = """-- One row per curve: its direction, and what follows from the windows.
CREATE OR REPLACE TEMP TABLE shapes AS
WITH bounds AS (
    SELECT curve, any_value(value) FILTER (place = first_place) AS first_value,
        any_value(value) FILTER (place = last_place) AS last_value,
        any_value(timestamp) FILTER (place = first_place) AS first_time,
        any_value(unit) FILTER (place = first_finite_place) AS start
    FROM end_points JOIN extents USING (curve)
    WHERE place = first_place OR place = last_place OR place = first_finite_place GROUP BY curve),
directed AS (
    SELECT e.*, b.* EXCLUDE (curve), t.* EXCLUDE (curve), c.run_id, c.metric,
        coalesce(m.direction, IF(tail_mean > start + 1e-12, 'max', 'min')) AS chosen, IF(chosen = 'max', 1, -1) AS sign,
        IF(sign = 1, maximum, minimum) AS best
    FROM extents e JOIN bounds b USING (curve) LEFT JOIN tails t USING (curve)
    JOIN curve_names c USING (curve) JOIN metric_directions m USING (metric)),
summed AS (
    SELECT d.curve, arg_max(w.mean, w.number) AS end_mean, arg_max(w.n, w.number) AS end_n,
        any_value(span) / nullif(CAST(max(w.last_step) AS DOUBLE) - CAST(min(w.first_step) AS DOUBLE), 0)
            * sum(w.area) / pow(2, 60) AS area,
        sum(w.total) / sum(w.n) / pow(2, 60) AS mean, min({'mean': -sign * w.mean, 'step': w.last_step}) AS smoothed,
        coalesce(nullif(median(w.change / w.n_changes) FILTER (w.n_changes > 0), 0)
                / (0.7979 - 0.1234 * any_value(n_windows / n_points)),
            sum(w.change) / nullif(sum(w.n_changes), 0) / 0.7979) / pow(2, 60) AS change
    FROM directed d JOIN windows w USING (curve) GROUP BY d.curve),
flat AS (
    SELECT curve, min(w.first_step) AS plateau_step
    FROM (SELECT w.*, max(w.number) FILTER (abs(w.mean - end_mean)
            > 3 * coalesce(s.change, 0) * sqrt(0.5 / w.n + 0.5 / end_n) + 1e-12) OVER (PARTITION BY curve) AS unlike
        FROM windows w JOIN summed s USING (curve)) w
    WHERE number > coalesce(unlike, -1) GROUP BY curve HAVING count(*) > 4)
SELECT *, best / scale AS goal, sxy / sxx AS slope,
    CASE WHEN n > 2 THEN sqrt(greatest(0, syy - sxy / sxx * sxy) / (n - 2) / sxx) END AS slope_error
FROM directed LEFT JOIN summed USING (curve) LEFT JOIN flat USING (curve)"""

_ADD = """-- One row per run and metric.
INSERT INTO curve_features BY NAME
WITH reached AS (
    SELECT f.*, minimum, maximum, change, sign * (value / scale) AS unit,
        CASE WHEN curve = curve_before THEN sign * (value_before / scale) END AS unit_before,
        sign * (start + 0.90 * (goal - start)) AS at_90, sign * (start + 0.95 * (goal - start)) AS at_95,
        sign * (start + 0.99 * (goal - start)) AS at_99
    FROM followed($first, $last) f JOIN shapes USING (curve)),
passed AS (
    SELECT curve, min(step) FILTER (value = minimum) AS minimum_step,
        min(step) FILTER (value = maximum) AS maximum_step,
        count(*) FILTER (unit_before - unit >= 7 * change AND change > 0) AS n_spikes,
        min(step) FILTER (unit >= at_90) AS step_to_90,
        arg_min_null(timestamp, place) FILTER (unit >= at_90) AS time_90,
        min(step) FILTER (unit >= at_95) AS step_to_95,
        arg_min_null(timestamp, place) FILTER (unit >= at_95) AS time_95,
        min(step) FILTER (unit >= at_99) AS step_to_99,
        arg_min_null(timestamp, place) FILTER (unit >= at_99) AS time_99
    FROM reached GROUP BY curve)
SELECT run_id, metric, n_points, n_nonfinite, first_step, last_step, first_value, last_value,
    minimum, minimum_step, maximum, maximum_step, tail_mean * scale AS tail_mean, tail_sd * scale AS tail_sd,
    chosen AS direction, best, IF(sign = 1, maximum_step, minimum_step) AS best_step,
    -sign * smoothed.mean * scale AS smoothed_best, smoothed.step AS smoothed_best_step,
    coalesce(area, mean) * scale AS area, slope * scale AS slope, slope_error * scale AS slope_error,
    sign * slope > 2 * slope_error AS still_improving, plateau_step, coalesce(n_spikes, 0) AS n_spikes,
    coalesce(NOT isfinite(last_value), false)
        OR coalesce(chosen = 'min' AND start > 0 AND tail_mean >= 2 * start + 1e-12, false) AS diverged,
    step_to_90, step_to_95, step_to_99, epoch(time_90 - first_time) AS seconds_to_90,
    epoch(time_95 - first_time) AS seconds_to_95, epoch(time_99 - first_time) AS seconds_to_99
FROM shapes LEFT JOIN passed USING (curve)"""

_REACHED = """-- One row per run whose curve got there.
SELECT run_id, min(step) AS step, epoch(arg_min_null(timestamp, (step, timestamp)) - any_value(began)) AS seconds
FROM (SELECT *, min(timestamp) OVER (PARTITION BY run_id) AS began FROM curves WHERE metric = $metric)
WHERE isfinite(value) AND IF($direction = 'min', value <= $threshold, value >= $threshold)
GROUP BY run_id ORDER BY run_id"""


_FORGET = """-- One row less per curve of the slice.
DELETE FROM curve_features f USING curve_names n
WHERE n.curve BETWEEN $first AND $last AND f.run_id = n.run_id AND f.metric = n.metric"""


def add_features(connection: duckdb.DuckDBPyConnection, part: Slice) -> None:
    """Adds the features of the curves of a slice, in place of those that an earlier slice gave them."""
    ends = {"first": part.first, "last": part.last}
    if part.again:
        connection.execute(_FORGET, ends)
    metrics = [str(name) for (name,) in connection.execute(_METRICS, ends).fetchall()]
    columns = [pa.array(metrics, pa.string()), pa.array([*map(direction_of, metrics)], pa.string())]
    with registered(connection, "metric_directions", pa.table(columns, ["metric", "direction"])):
        connection.execute(_FOLLOWED)
        for statement in (_EXTENTS, _WINDOWS, _END_POINTS):
            connection.execute(statement, ends)
        connection.execute(_TAILS)
        connection.execute(_SHAPES)
        connection.execute(_ADD, ends)


def first_reached(
    connection: duckdb.DuckDBPyConnection, metric: str, direction: str, threshold: float
) -> pa.Table:
    """Returns run_id, step and seconds since the run's first point at which a metric first reached a threshold.

    Runs that never did are not in it. `direction` is min where the metric is to fall to the threshold, else max.
    """
    values = {"metric": metric, "direction": direction, "threshold": threshold}
    return connection.sql(_REACHED, params=values).to_arrow_table()
