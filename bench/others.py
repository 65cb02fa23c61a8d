"""Sweeps that others ran, as `Sweep` objects, for the benchmarks: tidy Parquet tables outside this repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from hpkb.sweep import Hyperparameter, Sweep

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Table:
    """How to read one table: the hyperparameters with their scale, the objective and its direction."""

    file: str
    objective: str
    direction: str
    parameters: dict[str, tuple[str, str]]  # canonical name: (column, scale)


HPOBENCH = Table(
    "hpobench_mlp.parquet", "val_acc", "max",
    {"learning_rate": ("learning_rate_init", "log"), "weight_decay": ("alpha", "log"),
     "batch_size": ("batch_size", "log"), "depth": ("depth", "linear"), "width": ("width", "log")},
)  # fmt: skip
TASKSET = Table(
    "taskset_rnn.parquet", "valid_loss", "min",
    {n: (n, s) for n, s in [("learning_rate", "log"), ("beta1", "linear"), ("beta2", "linear"), ("epsilon", "log"),
                            ("l1", "log"), ("l2", "log"), ("linear_decay", "log"), ("exponential_decay", "log")]},
)  # fmt: skip


def load(table: Table) -> list[Sweep]:
    """Returns one sweep a task with every run of the table."""
    whole = parquet.read_table(DATA / table.file)
    return [
        _sweep(table, task, whole.filter(pc.equal(whole["task"], task)))
        for task in sorted(set(whole["task"].to_pylist()))
    ]


def sample(sweep: Sweep, n_configurations: int, rng: np.random.Generator) -> Sweep:
    """Returns n random configurations of the sweep, one random seed each."""
    rows = np.flatnonzero(
        np.isin(sweep.configuration, rng.choice(sweep.n_configurations, n_configurations, replace=False))
    )
    shuffled = rng.permutation(rows)
    _, first = np.unique(sweep.configuration[shuffled], return_index=True)
    return sweep.subset(np.sort(shuffled[first]))


def _sweep(table, task, rows) -> Sweep:
    raw = {name: rows[column].to_numpy().astype(float) for name, (column, _) in table.parameters.items()}
    sign = -1.0 if table.direction == "max" else 1.0
    y = sign * rows[table.objective].to_numpy().astype(float)
    infeasible = ~np.isfinite(y)
    _, configuration = np.unique(np.column_stack(list(raw.values())), axis=0, return_inverse=True)
    parameters = tuple(
        Hyperparameter(n, table.parameters[n][1], v) for n, v in raw.items() if np.unique(v).size > 1
    )
    seeds = rows["seed"].to_numpy().astype(float) if "seed" in rows.column_names else np.zeros(len(y))
    ids = tuple(rows["run_id"].to_pylist())
    return Sweep(task, f"{table.objective}:{table.direction}", ids, configuration.reshape(-1).astype(np.int64), seeds,
                 np.where(infeasible, np.nan, y), infeasible, parameters)  # fmt: skip
