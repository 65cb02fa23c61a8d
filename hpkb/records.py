"""What is recorded of each run beside its hyperparameters and its outcome: curves, costs, machine, data splits.

A sweep carries its records in the order of its own rows, so that a miner reads both side by side and a subset of the
sweep has those of its runs. What was not recorded is absent: None, or NaN among numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
T = TypeVar("T")

POINTS_OF_A_CURVE = 512


@dataclass(frozen=True)
class Curve:
    """One metric of one run, (n,) each, in the order of the steps; at most `POINTS_OF_A_CURVE` points, the last kept.

    `value` is as logged, NaN and infinities included; `seconds` count from the run's start, NaN where unknown.
    """

    step: FloatArray
    value: FloatArray
    seconds: FloatArray


class Elsewhere(Protocol):
    """Curves that were not read with the rest, to be fetched where they are needed; picklable."""

    def read(self) -> Sequence[tuple[str, int, Curve]]:
        """Returns metric, place of the run and curve of each."""


@dataclass(frozen=True)
class Facts:
    """The records of a task's runs as they were read; `Records` gives them in the order of a sweep's rows.

    `curves` by metric, `features` by metric and name (see `curve_features` in `kb/schema.sql`), `texts` by the fact's
    name, `splits` by role as digest, `numbers` by name. Every sequence has one entry a run.
    """

    curves: Mapping[str, Sequence[Curve | None]] = field(default_factory=dict)
    features: Mapping[str, Mapping[str, FloatArray]] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    splits: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    numbers: Mapping[str, FloatArray] = field(default_factory=dict)
    training: str | None = None
    validation: str | None = None
    elsewhere: Elsewhere | None = None


@dataclass(frozen=True)
class Records:
    """The records of the runs of a sweep, one entry a run everywhere.

    `rows` are the places of the sweep's runs among the facts. `training` and `validation` name the pair of metrics
    that tells most runs' generalisation gap, if any.
    """

    rows: IntArray
    facts: Facts = field(default_factory=Facts)

    @property
    def training(self) -> str | None:
        """The metric of training that the generalisation gap is taken from, in most of the task's runs."""
        return self.facts.training

    @property
    def validation(self) -> str | None:
        """The metric of validation that it is compared with."""
        return self.facts.validation

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that have curves, in the order of the alphabet."""
        return tuple(sorted(self.facts.curves))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the facts that `texts` knows, in the order of the alphabet."""
        return tuple(sorted(self.facts.texts))

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the data splits, in the order of the alphabet."""
        return tuple(sorted(self.facts.splits))

    def fetched(self) -> Records:
        """Returns the same with the curves that are elsewhere among the others."""
        if self.facts.elsewhere is None:
            return self
        curves = {metric: list(of_metric) for metric, of_metric in self.facts.curves.items()}
        for metric, place, curve in self.facts.elsewhere.read():
            curves[metric][place] = curve
        return replace(self, facts=replace(self.facts, curves=curves, elsewhere=None))

    def curves(self, metric: str) -> list[Curve | None]:
        """Returns a metric's curve of each run."""
        return self._of(self.facts.curves.get(metric))

    def feature(self, metric: str, name: str) -> FloatArray:
        """Returns a feature of a metric's curve for each run, (n,); what is true or false as 1 or 0."""
        return self._numbers(self.facts.features.get(metric, {}).get(name))

    def texts(self, name: str) -> list[str | None]:
        """Returns a fact of each run: `hpkb.hw.gpu.name`, `hpkb.split.overlap`, `status`, `infeasible_reason`, …"""
        return self._of(self.facts.texts.get(name))

    def digests(self, role: str) -> list[str | None]:
        """Returns the digest of the data that each run had in a role (training, validation, test)."""
        return self._of(self.facts.splits.get(role))

    def numbers(self, name: str) -> FloatArray:
        """Returns a number of each run, (n,).

        `run_seconds`, `started_at` (seconds since 1970), `gap`, `gap_slope`, `gap_slope_error`, `is_widening`,
        `n_examples.ROLE`, and what capture measures of a run: `dead_unit_share`, `hpkb.energy_joules`, …
        """
        return self._numbers(self.facts.numbers.get(name))

    def take(self, index: IntArray) -> Records:
        """Returns the records of some of the runs."""
        return replace(self, rows=self.rows[index])

    def _of(self, values: Sequence[T | None] | None) -> list[T | None]:
        return [None] * self.rows.size if values is None else [values[i] for i in self.rows]

    def _numbers(self, values: FloatArray | None) -> FloatArray:
        return np.full(self.rows.size, np.nan) if values is None else values[self.rows]


def nothing_recorded(n_runs: int) -> Records:
    """Returns the records of runs of which nothing is known."""
    return Records(np.arange(n_runs, dtype=np.int64))
