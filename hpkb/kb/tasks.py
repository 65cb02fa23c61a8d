"""The task of each run: what a person says of it, else what its store says, else what `grouping` makes of its facts.

All tasks that nobody gave are made anew at every ingest, from all such runs of the knowledge base: a run that comes
later may show that earlier ones are two tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from hpkb.corrections import FILE, Corrections
from hpkb.kb.grouping import Evidence, group
from hpkb.kb.same_data import Split
from hpkb.kb.staging import registered
from hpkb.sources.objectives import Objective, choose
from hpkb.vocabulary import words

#: What says of a run which task it is, by the kind of its source.
_SAID_BY = {"table": "task column", "optuna_sqlite": "study"}
_OBJECTIVES_BY = {"table": "the import", "optuna_sqlite": "the study"}
_TAG = "tag hpkb.task"

# Recorded names without what only says that they are settings, those that say it best first.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "dataset": (
        "dataset", "dataset_name", "data_name", "data_set", "dataset_id", "data_dataset", "datamodule",
        "datamodule_name", "data_class_path", "data_target", "datamodule_target", "dataset_target", "corpus",
        "benchmark", "data", "train_data", "training_data", "train_file", "dataset_path", "dataset_dir", "data_path",
        "data_dir",
    ),
    "problem": (
        "task", "task_name", "problem", "env_id", "env_name", "dataset_config", "dataset_config_name", "target_column",
        "label_column",
    ),
    "model": (
        "model", "arch", "architecture", "model_name", "model_class", "model_class_path", "model_target",
        "model_name_or_path", "pretrained_model_name_or_path", "name_or_path", "base_model", "backbone", "network",
        "net", "model_type", "architectures",
    ),
    "draw": (
        "seed", "random_state", "split_seed", "data_seed", "dataset_seed", "fold", "fold_idx", "fold_index", "cv_fold",
        "kfold",
    ),
}  # fmt: skip
_GENERAL = frozenset("ambiguous cli config cfg conf params hparams hp args hyperparameters".split())

_STATE = """-- One row per run that was read: what its source says of it.
UPDATE runs SET stated_task = CASE WHEN $sure OR s.task <> s.experiment THEN s.task END,
    stated_by = CASE WHEN $sure AND s.task IS NOT NULL OR s.task <> s.experiment THEN $said_by END,
    stated_objectives = o.objectives, objectives_by = CASE WHEN o.objectives IS NOT NULL THEN $objectives_by END
FROM staged_runs s LEFT JOIN source_objectives o ON o.task = coalesce(s.task, s.experiment)
WHERE runs.run_id = s.run_id"""

_CORRECT = """-- One row per run that a correction says something of.
UPDATE runs SET stated_task = coalesce(c.task, stated_task),
    stated_by = CASE WHEN c.task IS NOT NULL THEN $file ELSE stated_by END,
    stated_objectives = coalesce(c.objectives, stated_objectives),
    objectives_by = CASE WHEN c.objectives IS NOT NULL THEN $file ELSE objectives_by END
FROM corrected c WHERE runs.run_id = c.run_id"""

_PARAMS_OF_RUNS = """-- One row per run that was read: its experiment and those of its recorded parameters.
SELECT r.run_id, r.experiment, map_from_entries(list({'k': p.name, 'v': p.value}) FILTER (p.name IS NOT NULL))
FROM runs r JOIN changes c USING (run_id)
LEFT JOIN staged_parameters p ON p.run_id = r.run_id AND list_contains($names, p.name)
WHERE c.change IN ('new', 'changed') GROUP BY ALL"""

_NAMES = """-- One row per parameter that is recorded.
SELECT DISTINCT name FROM hyperparameters ORDER BY name"""

# A digest of a data set's class and length alone would make one task of any two data sets of one length.
_EVIDENCE = """-- One row per run of which nobody says what its task is.
CREATE OR REPLACE TEMP TABLE evidence AS
WITH unstated AS (SELECT run_id, coalesce(experiment, '') AS experiment FROM runs WHERE stated_task IS NULL),
facts AS (
    SELECT h.run_id, m.field, arg_min(h.value_text, (m.rank, h.name)) AS value
    FROM hyperparameters h JOIN markers m USING (name) JOIN unstated USING (run_id)
    WHERE m.field <> 'draw' AND lower(trim(h.value_text)) NOT IN ('', 'none', 'null', 'nan') GROUP BY ALL),
wide AS (
    SELECT run_id, max(value) FILTER (field = 'dataset') AS dataset, max(value) FILTER (field = 'problem') AS problem,
        max(value) FILTER (field = 'model') AS model
    FROM facts GROUP BY run_id),
data AS (
    SELECT run_id, list({'role': role, 'digest': digest, 'n_examples': n_examples} ORDER BY role) AS splits
    FROM splits JOIN unstated USING (run_id) WHERE digest IS NOT NULL AND NOT starts_with(digest, 'shape:')
    GROUP BY run_id),
drawn AS (
    SELECT h.run_id, list({'name': h.name, 'value': h.value_text} ORDER BY h.name) AS draws
    FROM hyperparameters h JOIN markers m USING (name) JOIN data USING (run_id)
    WHERE m.field = 'draw' AND h.value_text IS NOT NULL GROUP BY h.run_id),
joined AS (
    SELECT run_id, {'experiment': experiment, 'dataset': dataset, 'problem': problem, 'model': model, 'splits': splits,
        'draws': draws} AS told
    FROM unstated LEFT JOIN wide USING (run_id) LEFT JOIN data USING (run_id) LEFT JOIN drawn USING (run_id))
SELECT run_id, told, md5(CAST(told AS TEXT)) AS digest FROM joined"""

_PIECES = """-- One row per piece of evidence, and how many runs it is of.
SELECT digest, any_value(told), count(*) FROM evidence GROUP BY digest ORDER BY digest"""

_METRICS = """-- One row per experiment and metric: how many of its ended runs that nobody has given a task have it.
SELECT coalesce(r.experiment, ''), f.metric, count(*) FROM runs r JOIN curve_features f USING (run_id)
WHERE r.stated_task IS NULL AND r.status NOT IN ('RUNNING', 'SCHEDULED') GROUP BY ALL"""

_ENDED = """-- One row per experiment: how many of those runs have any metric.
SELECT coalesce(experiment, ''), count(*) FROM runs
WHERE stated_task IS NULL AND status NOT IN ('RUNNING', 'SCHEDULED')
  AND run_id IN (SELECT run_id FROM curve_features) GROUP BY ALL"""

_STATED = """-- One row per task that somebody has given.
SELECT DISTINCT stated_task FROM runs WHERE stated_task IS NOT NULL"""

_ASSIGNED = """-- One row per run: its task, and what says so.
CREATE OR REPLACE TEMP TABLE assigned AS
SELECT run_id, stated_task AS task_id, stated_by AS grouped_by FROM runs WHERE stated_task IS NOT NULL
UNION ALL
SELECT run_id, g.task_id, g.grouped_by FROM evidence JOIN groupings g USING (digest)"""

_TOUCHED = """-- One row per task with a run that is not as it was.
CREATE TEMP TABLE IF NOT EXISTS touched (task_id TEXT)"""

_TOUCH = """-- One row per task that a run leaves or comes to.
INSERT INTO touched
WITH ends AS (
    SELECT DISTINCT unnest([r.task_id, a.task_id]) AS task_id FROM runs r JOIN assigned a USING (run_id)
    WHERE r.task_id IS DISTINCT FROM a.task_id)
SELECT task_id FROM ends WHERE task_id IS NOT NULL"""

_MOVE = """-- One row per run that has another task than before.
UPDATE runs SET task_id = a.task_id FROM assigned a
WHERE runs.run_id = a.run_id AND runs.task_id IS DISTINCT FROM a.task_id"""

_GROUPED_BY = """-- One row per task: what put its runs together.
SELECT task_id, string_agg(DISTINCT grouped_by, '; ' ORDER BY grouped_by) FROM assigned GROUP BY task_id"""


@dataclass(frozen=True)
class FromStore:
    """Runs that were read, rows of `sources.RUNS`, with the kind of their store and the objectives that it states."""

    kind: str
    objectives: Mapping[str, Sequence[Objective]]
    runs: pa.Table


def state(
    connection: duckdb.DuckDBPyConnection,
    read: Sequence[FromStore],
    parameters: pa.Table,
    corrections: Corrections,
) -> None:
    """Notes what the stores and the corrections say of the tasks and objectives of the runs that were read.

    `parameters` are rows of `sources.PARAMETERS`.
    """
    for part in read:
        _state(connection, part)
    if any(rule.task or rule.objective for rule in corrections.runs):
        with registered(connection, "staged_parameters", parameters):
            _correct(connection, corrections)


def _state(connection: duckdb.DuckDBPyConnection, read: FromStore) -> None:
    is_mlflow = read.kind.startswith("mlflow")
    said_by = _SAID_BY.get(read.kind, _TAG if is_mlflow else "its source")
    stated = {"said_by": said_by, "sure": is_mlflow or read.kind in _SAID_BY}
    objectives = {task: list(map(str, found)) for task, found in read.objectives.items()}
    table = _texts(task=objectives.keys(), objectives=objectives.values())
    with registered(connection, "staged_runs", read.runs), registered(connection, "source_objectives", table):
        connection.execute(_STATE, stated | {"objectives_by": _OBJECTIVES_BY.get(read.kind, "the source")})


def _correct(connection: duckdb.DuckDBPyConnection, corrections: Corrections) -> None:
    """Of the corrections that fit a run, the first that says a task, and the first that says an objective, hold."""
    names = sorted({name for rule in corrections.runs for name in rule.params})
    ids, tasks, objectives = [], [], []
    for run_id, experiment, params in connection.execute(_PARAMS_OF_RUNS, {"names": names}).fetchall():
        rules = [rule for rule in corrections.runs if rule.fits(experiment, params or {})]
        ids.append(run_id)
        tasks.append(next((rule.task for rule in rules if rule.task), None))
        objectives.append(next((list(map(str, rule.objective)) for rule in rules if rule.objective), None))
    with registered(connection, "corrected", _texts(run_id=ids, task=tasks, objectives=objectives)):
        connection.execute(_CORRECT, {"file": str(FILE)})


def assign(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Gives every run its task, and returns of each task what put its runs together.

    The temporary table `touched` gets the tasks that runs leave or come to.
    """
    with registered(connection, "markers", _markers(connection)):
        connection.execute(_EVIDENCE)
    pieces = connection.execute(_PIECES).fetchall()
    objectives = _objectives(connection) if pieces else {}
    evidence = [_evidence(told, n_runs, objectives) for _, told, n_runs in pieces]
    stated = frozenset(task for (task,) in connection.execute(_STATED).fetchall())
    found = group(evidence, stated)
    digests = [digest for digest, _, _ in pieces]
    table = _texts(digest=digests, task_id=[g.task for g in found], grouped_by=[g.grouped_by for g in found])
    with registered(connection, "groupings", table):
        connection.execute(_ASSIGNED)
    for statement in (_TOUCHED, _TOUCH, _MOVE):
        connection.execute(statement)
    return dict(connection.execute(_GROUPED_BY).fetchall())


def _markers(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The recorded names that tell a task: which field of the evidence each is of, and how well it tells it."""
    rows = []
    for (name,) in connection.execute(_NAMES).fetchall():
        plain = "_".join(word for word in words(name) if word not in _GENERAL)
        rows += [(name, field, names.index(plain)) for field, names in _FIELDS.items() if plain in names]
    fields = [field for _, field, _ in rows]
    table = _texts(name=[name for name, _, _ in rows], field=fields)
    return table.append_column("rank", pa.array([rank for _, _, rank in rows], pa.int64()))


def _objectives(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """What each experiment would be judged by."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for experiment, metric, count in connection.execute(_METRICS).fetchall():
        counts[experiment][metric] = count
    n_runs = dict(connection.execute(_ENDED).fetchall())
    chosen = {experiment: choose(counts[experiment], n).objective for experiment, n in n_runs.items()}
    return {experiment: str(objective) for experiment, objective in chosen.items() if objective}


def _evidence(told: Mapping[str, Any], n_runs: int, objectives: Mapping[str, str]) -> Evidence:
    return Evidence(
        told["experiment"], told["dataset"], told["problem"], told["model"],
        tuple(Split(split["role"], split["digest"], split["n_examples"]) for split in told["splits"] or ()),
        tuple((draw["name"], draw["value"]) for draw in told["draws"] or ()),
        n_runs, objectives.get(told["experiment"]),
    )  # fmt: skip


def _texts(**columns: Iterable[object]) -> pa.Table:
    """A table of texts; `objectives` are lists of them."""
    types = {name: pa.list_(pa.string()) if name == "objectives" else pa.string() for name in columns}
    return pa.table({name: pa.array(list(column), types[name]) for name, column in columns.items()})
