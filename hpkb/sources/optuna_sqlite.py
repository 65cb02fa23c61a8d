"""Optuna's studies in a SQLite file, read without Optuna; schemas of Optuna 0.9 to 5.

- A study is an experiment and a task, and its directions are the task's objectives. Their metrics have the names that
  the study gives them (`set_metric_names`), else those of Optuna's data frames: `value`, or `values_0`, `values_1`….
- A trial is a run. A complete one is FINISHED; its values are points at the step of its last intermediate value. A
  pruned one is KILLED for the reason "pruned" and has no value: Optuna writes a copy of its last intermediate value,
  which is not what the others are judged by. One that failed is FAILED; where its last intermediate value is NaN or
  infinite, it diverged. Optuna's waiting trials are SCHEDULED.
- Intermediate values are the curve `intermediate_value`.
- An attribute of a trial that is a number and named as a known metric ("val_acc") is a metric; one named as a known
  hyperparameter ("seed") is a parameter, unless the trial has it already, and so are those of its study. All others
  are kept as `hpkb.optuna.user.NAME`, `hpkb.optuna.system.NAME` and `hpkb.optuna.study.NAME`, which explain nothing.

A run's id is a digest of the study's name and of the time when it began, and the trial's number: the same when the
file is moved, and another one than in somebody else's study of that name. Times are taken as the store has them:
Optuna wrote local time until version 5, and UTC since.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpkb.errors import SourceError
from hpkb.names import lookup
from hpkb.sources import (
    CURVES,
    FINGERPRINTS,
    HARDWARE,
    INTEGER,
    PARAMETERS,
    RUNS,
    SPLITS,
    TEXT,
    TIME,
)  # fmt: skip
from hpkb.sources import optuna_queries as ask
from hpkb.sources.objectives import Direction, Objective
from hpkb.sources.optuna_values import attribute_texts, metric_values, parameter_texts
from hpkb.sources.sqlite_file import SqliteFile

_NEEDED = frozenset(
    {"studies", "trials", "trial_params", "trial_values", "trial_user_attributes", "version_info"}
)
_INTERMEDIATE = "intermediate_value"
_DIRECTIONS: Mapping[str, Direction] = {"MINIMIZE": "min", "MAXIMIZE": "max"}
_FEW = 3  # below one trial in three, an index lookup a trial is faster than windows over the whole table


def is_optuna(path: Path) -> bool:
    """Whether a SQLite file has Optuna's tables; raises SourceError where it cannot be read."""
    with closing(SqliteFile(path)) as file:
        return _columns(file).keys() >= _NEEDED


class OptunaSqlite:
    """The trials of Optuna's studies in a SQLite file; raises SourceError where there are none."""

    kind = "optuna_sqlite"

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path)
        self.name = f"sqlite:///{self._file.path}"
        columns = _columns(self._file)
        if missing := _NEEDED - columns.keys():
            self._file.close()
            raise SourceError(f"'{path}' is no Optuna storage: it has no table {', '.join(sorted(missing))}.")
        self._ask = ask.queries(columns)
        self._undecoded = 0

    def experiments(self) -> list[str]:
        """Returns the names of the studies."""
        return sorted({name for name, _, _ in self._studies().values()})

    def objectives(self) -> Mapping[str, Sequence[Objective]]:
        """Returns each study's objectives that have a direction, in their order."""
        found = {}
        for name, metrics, directions in self._studies().values():
            pairs = zip(metrics, directions, strict=True)
            if objectives := tuple(Objective(m, _DIRECTIONS[d]) for m, d in pairs if d in _DIRECTIONS):
                found[name] = objectives
        return found

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        """Returns run_id and fingerprint of the trials; of the studies named, or of all."""
        tables = {"states": self._windows(ask.TRIALS_END, self._ask.states, ask.STATE_ROWS)}
        return self._join(ask.FINGERPRINTS, FINGERPRINTS, tables, experiments=list(experiments))

    def runs(self, ids: pa.Array) -> pa.Table:
        """Returns the trials."""
        return self._join(ask.WANTED_RUNS, RUNS, {"wanted": pa.table({"run_id": ids})})

    def parameters(self, ids: pa.Array) -> pa.Table:
        """Returns the parameters as the script had them, and the attributes."""
        trials = self._trial_ids(ids)
        parts = [*self._parameters(trials), *self._attributes(trials), self._study_attributes(trials)]
        settings = pa.concat_tables(parts)
        names = settings["name"].unique().to_pylist()
        known = {name: found.name for name in names if (found := lookup(name))}
        meanings = _table(list(known.items()), ask.MEANING_ROWS)
        tables = {"wanted": pa.table({"run_id": ids}), "settings": settings, "meanings": meanings}
        return self._join(ask.JOINED_PARAMETERS, PARAMETERS, tables)

    def hardware(self, ids: pa.Array) -> pa.Table:
        """Returns nothing: Optuna says nothing of machines."""
        return HARDWARE.empty_table()

    def splits(self, ids: pa.Array) -> pa.Table:
        """Returns nothing: Optuna says nothing of data."""
        return SPLITS.empty_table()

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        """Yields the points; raises SourceError where the file is rewritten meanwhile."""
        before = self._file.layout()
        trials = self._trial_ids(ids)
        yield from self._results(ids, trials).to_batches()
        for points in self._points(trials["trial_id"]):
            rows = pc.index_in(points["trial_id"], value_set=trials["trial_id"])
            n = len(rows)
            metric, time = pa.repeat(_INTERMEDIATE, n), pa.nulls(n, TIME)
            value = points["value"].fill_null(np.nan)
            columns = [trials["run_id"].take(rows), metric, points["step"], time, value]
            yield from pa.Table.from_arrays(columns, schema=CURVES).to_batches()
        if self._file.layout() != before:
            raise SourceError(
                f"'{self._file.path}' was rewritten (VACUUM, upgrade) while it was read. Run it again."
            )

    def notes(self) -> Mapping[str, int]:
        """Returns how many parameters could not be decoded."""
        return (
            {"parameters that their distribution does not explain": self._undecoded}
            if self._undecoded
            else {}
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _studies(self) -> dict[int, tuple[str, list[str], list[str]]]:
        """The name of each study, its metrics and its directions."""
        names, directions = {}, defaultdict(list)
        for row in self._file.query(self._ask.studies).to_pylist():
            names[row["study_id"]] = str(row["study_name"])
            directions[row["study_id"]].append(str(row["direction"]))
        given = {
            row["study_id"]: row["value_json"] for row in self._of_studies() if row["kind"] == "metric_names"
        }
        return {
            s: (name, _metrics(given.get(s), len(directions[s])), directions[s]) for s, name in names.items()
        }

    def _of_studies(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._file.query(ask.STUDY_ATTRIBUTES).to_pylist()
        return rows

    def _join(
        self, sql: str, result: pa.Schema, tables: Mapping[str, pa.Table], **parameters: object
    ) -> pa.Table:
        """The query's rows over these tables and those of studies and runs, joined in DuckDB."""
        studies = self._studies()
        attributes = defaultdict(list)
        for row in self._of_studies():
            attributes[row["study_id"]].append((row["kind"], row["key"], row["value_json"]))
        states = [
            (s, name, str((metrics, sorted(attributes[s])))) for s, (name, metrics, _) in studies.items()
        ]
        metrics = [(s, i, metric) for s, (_, names, _) in studies.items() for i, metric in enumerate(names)]
        with duckdb.connect(config={"threads": 2}) as scratch:
            scratch.register("studies", _table(states, ask.STUDY_ROWS))
            scratch.register("metrics", _table(metrics, ask.METRIC_ROWS))
            scratch.register("trials", self._windows(ask.TRIALS_END, self._ask.trials, ask.TRIAL_ROWS))
            scratch.execute(f"CREATE TEMP TABLE runs AS {ask.RUNS}")
            for name, table in tables.items():
                scratch.register(name, table)
            return scratch.sql(sql, params=parameters).to_arrow_table().cast(result)

    def _windows(self, highest: str, sql: str, result: pa.Schema) -> pa.Table:
        parts = [window.cast(result) for window in self._file.windows(highest, sql)]
        return pa.concat_tables(parts) if parts else result.empty_table()

    def _trial_ids(self, ids: pa.Array) -> pa.Table:
        found = self._join(ask.TRIAL_IDS, ask.ID_ROWS, {"wanted": pa.table({"run_id": ids})})
        return found.combine_chunks()

    def _parameters(self, trials: pa.Table) -> Iterator[pa.Table]:
        for window in self._file.windows(ask.PARAMETERS_END, ask.PARAMETERS):
            rows = _of(window, trials)
            texts, failed = parameter_texts(rows["value"], rows["distribution"])
            self._undecoded += failed
            yield _settings(rows, "param", texts)

    def _attributes(self, trials: pa.Table) -> Iterator[pa.Table]:
        for window in self._file.windows(ask.USER_ATTRIBUTES_END, ask.USER_ATTRIBUTES):
            rows = _of(window, trials)
            rows = rows.filter(pc.is_null(metric_values(rows["name"], rows["value"])))
            yield _settings(rows, "user", attribute_texts(rows["value"]))
        for window in self._file.windows(ask.SYSTEM_ATTRIBUTES_END, ask.SYSTEM_ATTRIBUTES):
            rows = _of(window, trials)
            yield _settings(rows, "system", attribute_texts(rows["value"]))

    def _study_attributes(self, trials: pa.Table) -> pa.Table:
        """What somebody noted of a study, for each of its trials."""
        noted = [row for row in self._of_studies() if row["kind"] == "study"]
        columns = {name: [row[name] for row in noted] for name in ("study_id", "key", "value_json")}
        texts = attribute_texts(pa.chunked_array([pa.array(columns["value_json"], TEXT)]))
        attributes = pa.table(
            {
                "study_id": pa.array(columns["study_id"], INTEGER),
                "name": pa.array(columns["key"], TEXT),
                "value": texts,
            }
        )
        joined = trials.join(attributes, "study_id", join_type="inner")
        return _settings(joined, "study", joined["value"])

    def _results(self, ids: pa.Array, trials: pa.Table) -> pa.Table:
        """The values of the objectives, and the metrics among the attributes, at the trials' last steps."""
        metrics = [ask.RESULT_ROWS.empty_table()]
        for window in self._file.windows(ask.USER_ATTRIBUTES_END, ask.USER_ATTRIBUTES):
            rows = _of(window, trials)
            columns = [rows["trial_id"], rows["name"], metric_values(rows["name"], rows["value"])]
            metrics.append(_made(columns, ask.RESULT_ROWS).filter(pc.is_valid(pc.field("value"))))
        tables = {
            "wanted": pa.table({"run_id": ids}),
            "attribute_metrics": pa.concat_tables(metrics),
            "final_values": self._windows(self._ask.values_end, self._ask.values, ask.VALUE_ROWS),
            "last_steps": self._windows(ask.TRIALS_END, self._ask.last_steps, ask.LAST_STEP_ROWS),
        }
        return self._join(ask.RESULT_POINTS, CURVES, tables)

    def _points(self, trial_ids: pa.ChunkedArray) -> Iterator[pa.Table]:
        """Yields the intermediate values of these trials, window by window or, of a few trials, trial by trial."""
        total = self._file.query(ask.COUNT_TRIALS).column(0)[0].as_py()
        if len(trial_ids) * _FEW < total:
            keys = [str(trial) for trial in trial_ids.to_pylist()]
            for points in self._file.by_key(self._ask.points_of_trial, keys):
                yield points.cast(ask.POINT_ROWS)
            return
        for window in self._file.windows(self._ask.points_end, self._ask.points):
            yield window.cast(ask.POINT_ROWS).filter(
                pc.is_in(window["trial_id"], value_set=trial_ids.combine_chunks())
            )


def _columns(file: SqliteFile) -> dict[str, set[str]]:
    """The columns of each table."""
    columns: dict[str, set[str]] = defaultdict(set)
    for row in file.query(ask.TABLES).to_pylist():
        columns[row["table_name"]].add(row["column_name"])
    return dict(columns)


def _metrics(given: str | None, n_objectives: int) -> list[str]:
    """The names of a study's metrics: those given, if they tell its objectives apart, else those of data frames."""
    try:
        names = [str(name) for name in json.loads(given or "[]")]
    except (TypeError, ValueError):
        names = []
    if len(names) == n_objectives == len({*names, _INTERMEDIATE}) - 1:
        return names
    return ["value"] if n_objectives == 1 else [f"values_{i}" for i in range(n_objectives)]


def _of(window: pa.Table, trials: pa.Table) -> pa.Table:
    """The rows that belong to these trials."""
    return window.filter(pc.is_in(window["trial_id"], value_set=trials["trial_id"].combine_chunks()))


def _settings(rows: pa.Table, kind: str, values: pa.Array) -> pa.Table:
    return _made([rows["trial_id"], pa.repeat(kind, rows.num_rows), rows["name"], values], ask.SETTING_ROWS)


def _made(columns: Sequence[Any], result: pa.Schema) -> pa.Table:
    arrays = [column.cast(kind) for column, kind in zip(columns, result.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=result)


def _table(rows: Sequence[Sequence[Any]], result: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(result)
    return pa.table([pa.array(c, t) for c, t in zip(columns, result.types, strict=True)], schema=result)
