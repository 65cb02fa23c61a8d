"""The runs of one task as arrays: what every miner and every default starts from.

Rows stand in an order that depends on their content alone (configuration, seed, objective), never on run ids or
on the order of ingest, so that a renamed or shuffled store yields the same findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from hpkb.records import FloatArray as FloatArray
from hpkb.records import IntArray as IntArray
from hpkb.records import Records, nothing_recorded

if TYPE_CHECKING:
    from hpkb.stats.aliasing import Aliases

BoolArray = NDArray[np.bool_]
Scale = Literal["log", "linear", "category"]


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter that varies within a task.

    `values` has one entry a run, in the hyperparameter's own unit; for a category the index into `levels`; NaN
    where the run has no such hyperparameter. On a log scale all values are positive, but for an exact 0 (no weight
    decay, say), which `transformed` places one decade below the smallest positive value.
    """

    name: str
    scale: Scale
    values: FloatArray
    levels: tuple[str, ...] = ()

    @cached_property
    def transformed(self) -> FloatArray:
        """The values on their own scale, (n,): natural logarithm for log, as they are otherwise."""
        if self.scale != "log":
            return self.values
        positive = self.values[self.values > 0]
        floor = float(positive.min()) / 10 if positive.size else 1.0
        return np.log(np.where(self.values > 0, self.values, np.where(np.isnan(self.values), np.nan, floor)))

    @cached_property
    def reach(self) -> tuple[float, float]:
        """The smallest and the largest of them; NaN where no run has the hyperparameter."""
        present = self.transformed[~np.isnan(self.transformed)]
        return (float(present.min()), float(present.max())) if present.size else (np.nan, np.nan)

    def label(self, value: float) -> str:
        """The value as a person would type it."""
        return self.levels[int(value)] if self.scale == "category" else f"{value:.4g}"


@dataclass(frozen=True)
class Sweep:
    """The finished runs of one task.

    `y` is the objective with lower as better, (n,), NaN where the run is infeasible; `configuration` numbers the
    configurations from 0; `seed` is NaN where unknown. `hyperparameters` holds those that vary, `fixed` the others.
    `objective` reads like "val_loss:min".
    """

    task: str
    objective: str
    run_ids: tuple[str, ...]
    configuration: IntArray
    seed: FloatArray
    y: FloatArray
    infeasible: BoolArray
    hyperparameters: tuple[Hyperparameter, ...]
    fixed: Mapping[str, str] = field(default_factory=dict)
    recorded: Records | None = None

    @cached_property
    def records(self) -> Records:
        """What is recorded of the runs beside all this, in the same order; nothing where nothing was read."""
        return self.recorded or nothing_recorded(self.n_runs)

    @cached_property
    def aliases(self) -> Aliases:
        """Which of the hyperparameters the design cannot tell apart; see `hpkb.stats.aliasing`."""
        from hpkb.stats.aliasing import aliases_of

        return aliases_of(self)

    @property
    def n_runs(self) -> int:
        """How many runs there are, infeasible ones counted in."""
        return len(self.run_ids)

    @cached_property
    def n_configurations(self) -> int:
        """How many distinct configurations there are."""
        return int(np.unique(self.configuration).size)

    @cached_property
    def n_seeds(self) -> int:
        """The largest number of runs that share one configuration."""
        return int(np.bincount(self.configuration).max()) if self.n_runs else 0

    @cached_property
    def infeasible_share(self) -> float:
        """The share of runs that diverged, ran out of memory or were killed by their own settings."""
        return float(self.infeasible.mean()) if self.n_runs else 0.0

    def hyperparameter(self, name: str) -> Hyperparameter | None:
        """The varying hyperparameter of that name, or None."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Hyperparameter]:
        return {h.name: h for h in self.hyperparameters}

    def subset(self, rows: BoolArray | IntArray) -> Sweep:
        """The same task with some of its rows; configurations are numbered anew."""
        index: IntArray = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        parameters = tuple(
            Hyperparameter(h.name, h.scale, h.values[index], h.levels) for h in self.hyperparameters
        )
        _, configuration = np.unique(self.configuration[index], return_inverse=True)
        return Sweep(
            self.task, self.objective, tuple(self.run_ids[i] for i in index), configuration.astype(np.int64),
            self.seed[index], self.y[index], self.infeasible[index], parameters, self.fixed,
            self.recorded and self.recorded.take(index),
        )  # fmt: skip


def metric_of(sweep: Sweep) -> str:
    """The objective's metric without its direction: "val_loss" of "val_loss:min"."""
    return sweep.objective.rpartition(":")[0] or sweep.objective


def direction_of(sweep: Sweep) -> float:
    """What to multiply `y` by to have the objective as it was logged: -1 where higher is better, else 1."""
    return -1.0 if sweep.objective.endswith(":max") else 1.0
