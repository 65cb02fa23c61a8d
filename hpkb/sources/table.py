"""Other people's sweeps: a Parquet or CSV table with one row a run, and beside it perhaps one with their curves.

Which column is what:

- the task is `task_column`, else a column "task", else what the rest of the row says (see `hpkb.kb.grouping`);
- the run's id is `run_column`, else a column "run_id", else the row's number; numbers get the file's name before them;
- the seed is `seed_column`, else whatever is an alias of `seed`;
- a hyperparameter is every column that `mapping` names, every column whose name or alias `hpkb.names` knows, and every
  column with one of PREFIXES ("params." of an MLflow export, "config." of a W&B one, "hp_"), known or not;
- a metric is every column that the objective names, every one that `hpkb.sources.objectives` knows ("val_loss"), and
  every column with the prefix "metrics."; its value is a curve of one point, unless the curves have it of that run;
- everything else is left alone, and `ignored` lists it.

pandas writes NaN as NULL. So a run without a value of a metric that other runs of its task have counts as NaN there:
it diverged. To say it outright, map a column of truth values or reasons to `infeasible`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpkb.errors import SourceError, UsageError
from hpkb.names import lookup
from hpkb.sources import CURVES, FINGERPRINTS, HARDWARE, PARAMETERS, RUNS, SPLITS, TEXT
from hpkb.sources.objectives import Direction, Objective, is_objective, parse_objective
from hpkb.sources.table_file import curve_points, relation

PREFIXES = ("params.", "param.", "config.", "config/", "hparams.", "hparam_", "hp_", "hp.")
_METRICS_PREFIX = "metrics."
_INFEASIBLE = "infeasible"  # a name of the mapping that is no hyperparameter
_NO = ("", "false", "no", "0", "0.0", "none", "nan", "ok")
_ROW = "hpkb run"  # the run ids beside the table's own columns
_BATCH = 200_000

_FINGERPRINTS = """-- One row per run: a digest of its row, of its curves and of how they are read.
WITH c AS (
    SELECT run_id, count(*) AS n, bit_xor(hash(metric, step, value)) AS digest FROM curve_points GROUP BY run_id)
SELECT r."hpkb run" AS run_id, md5(concat_ws('|', $layout, hash(r), coalesce(c.n, 0), c.digest)) AS fingerprint
FROM given_rows r LEFT JOIN c ON c.run_id = r."hpkb run\""""

_CURVES = """-- One row per point.
SELECT run_id, metric, CAST(trunc(coalesce(step, 0)) AS BIGINT) AS step, CAST(NULL AS TIMESTAMP_MS) AS timestamp,
    coalesce(value, CAST('nan' AS DOUBLE)) AS value
FROM curve_points SEMI JOIN wanted USING (run_id)
UNION ALL
SELECT s.run_id, s.metric, 0, NULL, s.value
FROM scalars s SEMI JOIN wanted USING (run_id)
ANTI JOIN (SELECT DISTINCT run_id, metric FROM curve_points) c ON c.run_id = s.run_id AND c.metric = s.metric"""

_STRANGERS = """-- One row: how many points belong to no run of the table.
SELECT count(*) FROM curve_points c ANTI JOIN given_rows r ON r."hpkb run" = c.run_id"""


@dataclass(frozen=True)
class Layout:
    """What the columns of a table mean; see the module for what is assumed where nothing is said.

    `mapping` leads from a hyperparameter's name to its column; `fixed` gives every run a value. `objective` reads
    "val_loss:min", several in order of preference with commas, or "best_val:COLUMN", where a column of truth values
    says for each row whether higher is better.
    """

    task_column: str | None = None
    run_column: str | None = None
    seed_column: str | None = None
    objective: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)


class TableSource:
    """The runs of a table. Raises SourceError where it cannot be read, UsageError for a column that it has not."""

    kind = "table"

    def __init__(self, path: str | Path, layout: Layout | None = None, curves: str | Path | None = None) -> None:
        self._path, self._layout = Path(path).absolute(), layout or Layout()
        self.name = str(self._path)
        self._stem = self._path.name.partition(".")[0]
        self._database = duckdb.connect(config={"threads": 2, "autoinstall_known_extensions": False})
        self._table = relation(self._database, self._path).to_arrow_table()
        self._check_columns()
        self._run_ids, self._numbered = self._read_run_ids()
        self._tasks = self._read_tasks()
        self._metrics = [c for c in self._table.column_names if self._is_metric(c)]
        self._parameters = self._choose_parameters()
        self._register(Path(curves).absolute() if curves else None)

    @property
    def ignored(self) -> tuple[str, ...]:
        """The columns that are neither hyperparameter nor metric nor anything else that was asked for."""
        layout = self._layout
        used = {*self._metrics, *self._parameters.values(), *layout.mapping.values(), self._column_of_task()}
        used |= {self._column_of_run(), layout.seed_column, self._direction_column()}
        return tuple(name for name in self._table.column_names if name not in used)

    def experiments(self) -> list[str]:
        """Returns the table's name: all its runs are one experiment."""
        return [self._stem]

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        """Returns run_id and a digest of the run's row and curves; `experiments` makes no difference."""
        layout = {"layout": repr(self._layout)}
        return self._database.sql(_FINGERPRINTS, params=layout).to_arrow_table().cast(FINGERPRINTS)

    def runs(self, ids: pa.Array) -> pa.Table:
        """Returns the runs, each of them finished."""
        n = len(self._run_ids)
        nothing = pa.nulls(n)
        experiment, status = pa.repeat(self._stem, n), pa.repeat("FINISHED", n)
        tasks = self._tasks if self._column_of_task() else nothing
        columns = [self._run_ids, experiment, nothing, status, nothing, nothing, tasks, self._end_reasons()]
        return self._of(ids, _cast(columns, RUNS))

    def parameters(self, ids: pa.Array) -> pa.Table:
        """Returns the hyperparameters that have a value, and the fixed ones."""
        parts = [self._parameter(name, self._table[column]) for name, column in self._parameters.items()]
        parts += [self._parameter(name, value, "fixed") for name, value in self._layout.fixed.items()]
        return self._of(ids, pa.concat_tables(parts) if parts else PARAMETERS.empty_table())

    def hardware(self, ids: pa.Array) -> pa.Table:
        """Returns nothing: a table says nothing of machines."""
        return HARDWARE.empty_table()

    def splits(self, ids: pa.Array) -> pa.Table:
        """Returns nothing: a table says nothing of splits."""
        return SPLITS.empty_table()

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        """Yields the points of the curves, and the metrics of the table as curves of one point."""
        self._database.register("wanted", pa.table({"run_id": ids}))
        self._database.register("scalars", self._scalars())
        for batch in self._database.sql(_CURVES).to_arrow_reader(_BATCH):
            yield batch.cast(CURVES)

    def notes(self) -> Mapping[str, int]:
        """Returns how many curve points belong to no run of the table."""
        strangers = self._database.sql(_STRANGERS).fetchall()[0][0]
        return {f"curve points of runs that '{self._path.name}' does not have": strangers} if strangers else {}

    def objectives(self) -> Mapping[str, Sequence[Objective]]:
        """Returns the layout's objective for every task."""
        if not self._layout.objective:
            return {}
        tasks = self._tasks.unique().to_pylist()
        if self._direction_column() is None:
            return dict.fromkeys(tasks, parse_objective(self._layout.objective))
        metric = self._layout.objective.rpartition(":")[0]
        return {task: (Objective(metric, self._direction(task)),) for task in tasks}

    def close(self) -> None:
        """Closes the table."""
        self._database.close()

    def _check_columns(self) -> None:
        layout, known = self._layout, self._table.column_names
        for column in (layout.task_column, layout.run_column, layout.seed_column, *layout.mapping.values()):
            if column is not None and column not in known:
                raise UsageError(f"No column '{column}' in '{self._path.name}'. There are: {', '.join(known)}.")
        if not self._table.num_rows:
            raise SourceError(f"No runs in '{self._path}': the table has no rows.")

    def _column_of_run(self) -> str | None:
        return self._layout.run_column or ("run_id" if "run_id" in self._table.column_names else None)

    def _column_of_task(self) -> str | None:
        return self._layout.task_column or ("task" if "task" in self._table.column_names else None)

    def _read_run_ids(self) -> tuple[pa.Array, bool]:
        """The run ids, and whether they are mere numbers, which other tables have as well."""
        column = self._column_of_run()
        numbers = pa.array(np.arange(self._table.num_rows))
        ids = (self._table[column] if column else numbers).cast(TEXT)
        if ids.null_count or pc.count_distinct(ids).as_py() < len(ids):
            raise SourceError(f"The column '{column}' of '{self._path.name}' does not tell the runs apart.")
        numbered = bool(pc.all(pc.utf8_is_decimal(ids)).as_py())
        return _flat(self._prefixed(ids) if numbered else ids), numbered

    def _prefixed(self, ids: pa.Array) -> pa.Array:
        return pc.binary_join_element_wise(pa.scalar(self._stem, TEXT), ids, "/")

    def _read_tasks(self) -> pa.Array:
        column = self._column_of_task()
        tasks = self._table[column].cast(TEXT) if column else pa.nulls(self._table.num_rows, TEXT)
        return _flat(tasks.fill_null(self._stem))

    def _is_metric(self, column: str) -> bool:
        objective = self._layout.objective or ""
        wanted = {part.strip().rpartition(":")[0] for part in objective.split(",")}
        if column not in wanted and not column.startswith(_METRICS_PREFIX) and not is_objective(column):
            return False
        kind = self._table.schema.field(column).type
        return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))

    def _choose_parameters(self) -> dict[str, str]:
        """The hyperparameters: from their name, as it is to be recorded, to their column."""
        mapped = {name: column for name, column in self._layout.mapping.items() if name != _INFEASIBLE}
        if self._layout.seed_column:
            mapped["seed"] = self._layout.seed_column
        taken = {*self._layout.mapping.values(), *mapped.values(), *self._metrics}
        taken |= {column for column in (self._column_of_run(), self._column_of_task()) if column}
        for column in self._table.column_names:
            prefix = next((p for p in PREFIXES if column.startswith(p)), "")
            name = column.removeprefix(prefix)
            if column not in taken and name and name not in mapped and (prefix or lookup(name)):
                mapped[name] = column
        fixed = {_meaning(name): (name, value) for name, value in self._layout.fixed.items()}
        for name in [name for name in mapped if _meaning(name) in fixed]:
            self._check_fixed(*fixed[_meaning(name)], mapped.pop(name))
        return mapped

    def _check_fixed(self, name: str, value: str, column: str) -> None:
        """Raises UsageError where a column has another value than the one that every run is said to have."""
        found = self._table[column].drop_null().unique().cast(TEXT).to_pylist()
        if other := [text for text in found if not _is_same(text, value)]:
            said = f"'{name}' is given as {value} for every run, but the column '{column}' has {', '.join(other[:3])}"
            raise UsageError(f"{said}{', …' if len(other) > 3 else ''}. Leave --fixed {name} out.")

    def _parameter(self, name: str, value: pa.ChunkedArray | str, origin: str = "imported") -> pa.Table:
        n = len(self._run_ids)
        texts = pa.repeat(value, n) if isinstance(value, str) else _flat(value.cast(TEXT))
        rows = _cast([self._run_ids, pa.repeat(name, n), texts, pa.repeat(origin, n)], PARAMETERS)
        missing = ("", "nan", "NaN")
        return _only(rows, pc.and_(pc.is_valid(texts), pc.invert(pc.is_in(texts, pa.array(missing)))))

    def _end_reasons(self) -> pa.Array:
        """A reason for each run that the column mapped to `infeasible` says is so."""
        column = self._layout.mapping.get(_INFEASIBLE)
        if column is None:
            return pa.nulls(len(self._run_ids), TEXT)
        said = _flat(self._table[column].cast(TEXT)).fill_null("")
        reason = pc.if_else(pc.is_in(pc.utf8_lower(said), pa.array(["true", "1", "yes"])), column, said)
        text = pc.binary_join_element_wise(pa.scalar("infeasible:", TEXT), reason, " ")
        return pc.if_else(pc.is_in(pc.utf8_lower(said), pa.array(_NO)), None, text)

    def _scalars(self) -> pa.Table:
        """The table's metrics: one row per run and metric that any run of its task has."""
        schema = pa.schema([("run_id", TEXT), ("metric", TEXT), ("value", pa.float64())])
        parts = [schema.empty_table()]
        for column in self._metrics:
            value = _flat(self._table[column].cast(pa.float64()))
            measured = pc.is_in(self._tasks, self._tasks.filter(pc.is_valid(value)).unique())
            name = pa.repeat(column.removeprefix(_METRICS_PREFIX), len(value))
            parts.append(_only(_cast([self._run_ids, name, value.fill_null(np.nan)], schema), measured))
        return pa.concat_tables(parts)

    def _direction_column(self) -> str | None:
        metric, _, column = (self._layout.objective or "").rpartition(":")
        return column if metric and column in self._table.column_names and column not in ("min", "max") else None

    def _direction(self, task: str) -> Direction:
        column = self._direction_column()
        higher = self._table[column].filter(pc.equal(self._tasks, task)).cast(pa.bool_()).unique().to_pylist()
        if len(higher) != 1 or higher[0] is None:
            raise UsageError(f"The column '{column}' does not say one direction for the task '{task}'.")
        return "max" if higher[0] else "min"

    def _register(self, curves: Path | None) -> None:
        self._database.register("given_rows", self._table.append_column(_ROW, self._run_ids))
        if curves is None:
            self._database.register("curve_points", CURVES.empty_table())
            return
        before = f"{self._stem}/" if self._numbered else ""
        curve_points(self._database, curves, self._layout.run_column, before).create_view("curve_points")

    def _of(self, ids: pa.Array, table: pa.Table) -> pa.Table:
        return table if len(ids) == len(self._run_ids) else table.filter(pc.is_in(table["run_id"], value_set=ids))


def _meaning(name: str) -> str:
    """The canonical name where there is one."""
    return found.name if (found := lookup(name)) else name


def _is_same(text: str, other: str) -> bool:
    try:
        return float(text) == float(other)
    except ValueError:
        return text.strip() == other.strip()


def _only(rows: pa.Table, wanted: pa.Array) -> pa.Table:
    """The rows that are wanted; where that is all of them, they are not copied."""
    return rows if pc.all(wanted).as_py() else rows.filter(wanted)


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _cast(columns: Sequence[pa.Array], schema: pa.Schema) -> pa.Table:
    arrays = [column.cast(kind) for column, kind in zip(columns, schema.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
