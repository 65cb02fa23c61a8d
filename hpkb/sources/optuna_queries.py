"""The questions that `optuna_sqlite` asks of a file, for the schemas of Optuna 0.9 to 5.

What changed over the years: 1.3 numbers the trials in a column; 2.4 has several directions a study, and keeps final
and intermediate values in tables of their own; 3.0 says beside a value whether it is infinite or NaN. Before that,
NaN is NULL, and an infinity is itself or the largest single-precision number.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from hpkb.sources import INTEGER, REAL, TEXT, schema

# What comes out, as types have to be stated: a column without a value has none of its own.
STUDY_ROWS = schema(study_id=INTEGER, study_name=TEXT, study_state=TEXT)
METRIC_ROWS = schema(study_id=INTEGER, objective=INTEGER, metric=TEXT)
TRIAL_ROWS = schema(
    trial_id=INTEGER,
    study_id=INTEGER,
    number=INTEGER,
    state=TEXT,
    started_at=TEXT,
    ended_at=TEXT,
    diverged=TEXT,
)
ID_ROWS = schema(trial_id=INTEGER, run_id=TEXT, study_id=INTEGER)
STATE_ROWS = schema(trial_id=INTEGER, state_text=TEXT)
SETTING_ROWS = schema(trial_id=INTEGER, kind=TEXT, name=TEXT, value=TEXT)
MEANING_ROWS = schema(name=TEXT, canonical=TEXT)
POINT_ROWS = schema(trial_id=INTEGER, step=INTEGER, value=REAL)
VALUE_ROWS = schema(trial_id=INTEGER, objective=INTEGER, value=REAL)
LAST_STEP_ROWS = schema(trial_id=INTEGER, step=INTEGER)
RESULT_ROWS = schema(trial_id=INTEGER, metric=TEXT, value=REAL)

TABLES = """-- One row per column of the tables of the file.
SELECT m.name AS table_name, c.name AS column_name FROM sqlite_master m, pragma_table_info(m.name) c
WHERE m.type = 'table'"""

COUNT_TRIALS = """-- One row: how many trials there are.
SELECT count(*) FROM trials"""

STUDY_ATTRIBUTES = """-- One row per study and attribute that somebody gave it, or that names its objectives.
SELECT study_id, 'study' AS kind, key, value_json FROM study_user_attributes
UNION ALL
SELECT study_id, 'metric_names', key, value_json FROM study_system_attributes WHERE key = 'study:metric_names'"""

_STUDIES = """-- One row per study and objective.
SELECT s.study_id, s.study_name, coalesce(d.objective, 0) AS objective, d.direction FROM studies s
LEFT JOIN study_directions d ON d.study_id = s.study_id ORDER BY s.study_id, objective"""
_STUDIES_OF_ONE = """-- One row per study, in a schema of one objective a study.
SELECT study_id, study_name, 0 AS objective, direction FROM studies ORDER BY study_id"""

TRIALS_END = "SELECT max(rowid) FROM trials"
_TRIALS = """-- One row per trial; of one that failed, what became of its intermediate values.
SELECT t.trial_id, t.study_id, {number} AS number, t.state, CAST(t.datetime_start AS TEXT) AS started_at,
    CAST(t.datetime_complete AS TEXT) AS ended_at,
    CASE WHEN t.state = 'FAIL' THEN (
        SELECT CASE WHEN {point} IS NULL THEN 'NaN' WHEN abs({point}) = 9e999 THEN 'infinite' END
        FROM {points} i WHERE i.trial_id = t.trial_id ORDER BY i.step DESC LIMIT 1) END AS diverged
FROM trials t WHERE t.rowid > ? AND t.rowid <= ?"""

# Optuna lets nobody change a trial that has ended, so counts are enough there; of another one all is compared.
_STATES = """-- One row per trial: a text that is another one when something of the trial is.
SELECT t.trial_id,
    (SELECT count(*) || ' ' || coalesce(max(p.param_id), 0) FROM trial_params p WHERE p.trial_id = t.trial_id)
    || '|' || coalesce((SELECT max(i.step) FROM {points} i WHERE i.trial_id = t.trial_id), '')
    || '|' || {value_state}
    || '|' || (SELECT count(*) FROM trial_user_attributes a WHERE a.trial_id = t.trial_id)
    || '|' || (SELECT count(*) FROM trial_system_attributes a WHERE a.trial_id = t.trial_id)
    || CASE WHEN t.state NOT IN ('RUNNING', 'WAITING') THEN '' ELSE
        coalesce((SELECT count(*) || ' ' || count({point}) || ' ' || total(i.step) || ' ' || quote(total({point}))
            FROM {points} i WHERE i.trial_id = t.trial_id), '')
        || coalesce((SELECT group_concat(a.key || char(31) || a.value_json, char(30))
            FROM trial_user_attributes a WHERE a.trial_id = t.trial_id), '')
        || coalesce((SELECT group_concat(a.key || char(31) || a.value_json, char(30))
            FROM trial_system_attributes a WHERE a.trial_id = t.trial_id), '')
    END AS state_text
FROM trials t WHERE t.rowid > ? AND t.rowid <= ?"""
_VALUE_STATE = """coalesce((SELECT group_concat(v.objective || ' ' || coalesce(quote({value}), '')) FROM trial_values v
        WHERE v.trial_id = t.trial_id), '')"""

PARAMETERS_END = "SELECT max(rowid) FROM trial_params"
PARAMETERS = """-- One row per trial and parameter; of a category the value is the choice's number.
SELECT trial_id, param_name AS name, param_value AS value, coalesce(distribution_json, '') AS distribution
FROM trial_params WHERE rowid > ? AND rowid <= ?"""

USER_ATTRIBUTES_END = "SELECT max(rowid) FROM trial_user_attributes"
USER_ATTRIBUTES = """-- One row per trial and attribute that somebody gave it.
SELECT trial_id, key AS name, coalesce(value_json, '') AS value FROM trial_user_attributes
WHERE rowid > ? AND rowid <= ?"""

# Samplers keep their own state here, in pieces of 2,045 characters (CMA-ES); that says nothing of a trial.
SYSTEM_ATTRIBUTES_END = "SELECT max(rowid) FROM trial_system_attributes"
SYSTEM_ATTRIBUTES = """-- One row per trial and attribute that Optuna gave it.
SELECT trial_id, key AS name, coalesce(value_json, '') AS value FROM trial_system_attributes
WHERE rowid > ? AND rowid <= ? AND key <> '_number' AND instr(key, 'cma') = 0 AND length(value_json) < 2000"""

_POINTS_END = "SELECT max(rowid) FROM {points}"
_POINTS = """-- One row per intermediate value.
SELECT i.trial_id, i.step, {point} AS value FROM {points} i WHERE i.rowid > ? AND i.rowid <= ?"""
_POINTS_OF_TRIAL = """-- One row per intermediate value of a trial.
SELECT i.trial_id, i.step, {point} AS value, i.rowid FROM {points} i
WHERE i.trial_id = ? AND i.rowid > ? ORDER BY i.rowid LIMIT ?"""

_LAST_STEPS = """-- One row per trial with intermediate values.
SELECT t.trial_id, (SELECT max(i.step) FROM {points} i WHERE i.trial_id = t.trial_id) AS step FROM trials t
WHERE t.rowid > ? AND t.rowid <= ?"""

# What Optuna writes as the value of a pruned trial is a copy of its last intermediate value.
_VALUES_END = "SELECT max(rowid) FROM trial_values"
_VALUES = """-- One row per complete trial and objective.
SELECT v.trial_id, v.objective, {value} AS value FROM trial_values v
JOIN trials t ON t.trial_id = v.trial_id
WHERE v.rowid > ? AND v.rowid <= ? AND t.state = 'COMPLETE'"""
_VALUES_OF_ONE = """-- One row per complete trial, in a schema of one objective a study.
SELECT v.trial_id, 0 AS objective, {value} AS value FROM trials v
WHERE v.rowid > ? AND v.rowid <= ? AND v.state = 'COMPLETE'"""

# These are asked in DuckDB, of what the others yielded.
RUNS = """-- One row per trial, with its run id.
WITH numbered AS (
    SELECT *, coalesce(number, row_number() OVER (PARTITION BY study_id ORDER BY trial_id) - 1) AS trial_number,
        coalesce(arg_min(started_at, trial_id) OVER (PARTITION BY study_id), '') AS began
    FROM trials)
SELECT 'optuna-' || left(md5(study_name || chr(31) || began), 12) || '-' || trial_number AS run_id,
    trial_id, study_id, study_name AS experiment, 'trial ' || trial_number AS run_name,
    CASE state WHEN 'COMPLETE' THEN 'FINISHED' WHEN 'PRUNED' THEN 'KILLED' WHEN 'FAIL' THEN 'FAILED'
        WHEN 'WAITING' THEN 'SCHEDULED' ELSE state END AS status,
    CAST(date_trunc('milliseconds', TRY_CAST(started_at AS TIMESTAMP)) AS TIMESTAMP_MS) AS started_at,
    CAST(date_trunc('milliseconds', TRY_CAST(ended_at AS TIMESTAMP)) AS TIMESTAMP_MS) AS ended_at,
    study_name AS task,
    CASE WHEN state = 'PRUNED' THEN 'pruned'
         WHEN diverged IS NOT NULL THEN 'infeasible: intermediate_value is ' || diverged END AS end_reason, state
FROM numbered JOIN studies USING (study_id)"""

WANTED_RUNS = """-- One row per run.
SELECT run_id, experiment, run_name, status, started_at, ended_at, task, end_reason
FROM runs JOIN wanted USING (run_id)"""

FINGERPRINTS = """-- One row per run: a digest of all that would change what is read of it.
SELECT run_id, md5(concat_ws('|', study_state, run_name, state, started_at, ended_at, end_reason, state_text))
    AS fingerprint
FROM runs JOIN studies USING (study_id) JOIN states USING (trial_id)
WHERE len($experiments) = 0 OR list_contains($experiments, experiment)"""

# What was searched goes before what somebody noted, and a trial's own note before that of its study.
JOINED_PARAMETERS = """-- One row per run and parameter.
WITH ranked AS (
    SELECT *, row_number() OVER (PARTITION BY trial_id, canonical
        ORDER BY list_position(['param', 'user', 'study'], kind), name) AS rank
    FROM settings LEFT JOIN meanings USING (name))
SELECT run_id, CASE WHEN kind = 'param' OR (canonical IS NOT NULL AND kind <> 'system' AND rank = 1) THEN name
        ELSE 'hpkb.optuna.' || kind || '.' || name END AS name,
    value, CASE WHEN kind = 'param' THEN 'param' ELSE 'tag' END AS origin
FROM ranked JOIN runs USING (trial_id) JOIN wanted USING (run_id)"""

RESULT_POINTS = """-- One row per run and value of an objective, or metric among the attributes.
WITH of_objectives AS (
    SELECT trial_id, metric, coalesce(value, CAST('nan' AS DOUBLE)) AS value
    FROM final_values JOIN runs USING (trial_id) JOIN metrics USING (study_id, objective)),
results AS (
    FROM of_objectives UNION ALL
    SELECT trial_id, metric, value FROM attribute_metrics ANTI JOIN of_objectives USING (trial_id, metric))
SELECT run_id, metric, coalesce(step, 0) AS step, ended_at AS timestamp, value
FROM results JOIN runs USING (trial_id) JOIN wanted USING (run_id) LEFT JOIN last_steps USING (trial_id)"""

TRIAL_IDS = """-- One row per wanted run.
SELECT trial_id, run_id, study_id FROM runs JOIN wanted USING (run_id) ORDER BY trial_id"""

_TYPED = """CASE {column}_type WHEN 'INF_POS' THEN 9e999 WHEN 'INF_NEG' THEN -9e999 WHEN 'NAN' THEN NULL
    ELSE {column} END"""
_UNTYPED = """CASE WHEN {column} BETWEEN 3.40279e38 AND 3.40286e38 THEN 9e999
    WHEN {column} BETWEEN -3.40286e38 AND -3.40279e38 THEN -9e999 ELSE {column} END"""


@dataclass(frozen=True)
class Queries:
    """The queries that depend on a file's schema; those over windows take two rowids."""

    studies: str
    trials: str
    states: str
    points_end: str
    points: str
    points_of_trial: str
    last_steps: str
    values_end: str
    values: str


def queries(columns: Mapping[str, Set[str]]) -> Queries:
    """Returns the queries for a file with these columns by table."""
    separate = "trial_intermediate_values" in columns
    points, name = (
        ("trial_intermediate_values", "intermediate_value") if separate else ("trial_values", "value")
    )
    point = _number("i." + name, typed=f"{name}_type" in columns[points])
    value = _number("v.value", typed=separate and "value_type" in columns["trial_values"])
    parts = {
        "points": points, "point": point, "value": value,
        "number": "t.number" if "number" in columns["trials"] else "NULL",
        "value_state": _VALUE_STATE.format(value=value) if separate else "coalesce(quote(t.value), '')",
    }  # fmt: skip
    return Queries(
        _STUDIES if "study_directions" in columns else _STUDIES_OF_ONE,
        _TRIALS.format(**parts),
        _STATES.format(**parts),
        _POINTS_END.format(**parts),
        _POINTS.format(**parts),
        _POINTS_OF_TRIAL.format(**parts),
        _LAST_STEPS.format(**parts),
        _VALUES_END if separate else TRIALS_END,
        (_VALUES if separate else _VALUES_OF_ONE).format(**parts),
    )


def _number(column: str, typed: bool) -> str:
    return (_TYPED if typed else _UNTYPED).format(column=column)
