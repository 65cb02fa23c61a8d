"""What the next experiments of a task start from: its runs, findings, space, and the configuration to compare with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hpkb.findings import Finding
from hpkb.recommend import candidates
from hpkb.recommend.candidates import Key, Value
from hpkb.recommend.regret import configuration_means
from hpkb.recommend.task_model import Regressor, TaskModel
from hpkb.suggest.space import Knob, Space
from hpkb.sweep import FloatArray, Sweep, direction_of, metric_of

FEWEST_TO_PREDICT = 8  # configurations with a result
ROUNDING = 0.01  # of the range: two values that differ by less are the same experiment


@dataclass(frozen=True)
class Experiment:
    """One run to make: its values, the seed where the design needs one, and what the run would settle.

    `finding_id` names the finding whose interval it narrows; `is_repeat` says that the configuration ran before.
    """

    values: Mapping[str, Value]
    design: str
    settles: str
    seed: int | None = None
    finding_id: str | None = None
    is_repeat: bool = False

    @property
    def key(self) -> tuple[Key, int | None]:
        """What makes two experiments the same run."""
        return candidates.key(self.values), self.seed if self.is_repeat else None


@dataclass(frozen=True)
class Known:
    """What is known of a task. `origin` says what the baseline is."""

    sweep: Sweep
    space: Space
    findings: Sequence[Finding]
    baseline: Mapping[str, Value]
    origin: str
    seed: int
    overall: Mapping[str, Any] | None = None  # the recommendation over all tasks, as JSON
    forest: Regressor | None = None  # fitted to the task before

    @property
    def names(self) -> list[str]:
        """The hyperparameters that were varied, those that decide most first."""
        return sorted((k.name for k in self.space.knobs), key=lambda name: (-self.importance(name), name))

    @property
    def metric(self) -> str:
        """The objective's metric."""
        return metric_of(self.sweep)

    def find(self, quantity: str, *names: str) -> Finding | None:
        """The finding of that quantity on these hyperparameters, without a condition; None where there is none."""
        return next(self.all(quantity, *names), None)

    def all(self, quantity: str, *names: str) -> Iterator[Finding]:
        """All findings of that quantity on these hyperparameters, without a condition."""
        for f in self.findings:
            if f.quantity == quantity and f.hyperparameters == names and not f.condition:
                yield f

    def importance(self, name: str) -> float:
        """The share of variance that a hyperparameter explains; 0 where that is not known."""
        found = self.find("variance_share", name)
        return found.estimate if found and isinstance(found.estimate, float) else 0.0

    def differs(self) -> str:
        """By how much a result has to differ to mean something, as a clause."""
        found = self.find("minimum_detectable_difference")
        if found is None or found.verdict != "supported" or not isinstance(found.estimate, float):
            return "by more than seeds do, which is not known yet"
        return f"by more than {found.estimate:.2g} with three seeds each"

    @cached_property
    def ran(self) -> Mapping[Key, list[int]]:
        """The rows of each configuration that was run, by its values."""
        names = [k.name for k in self.space.knobs]
        order = np.argsort(self.sweep.configuration, kind="stable")
        members = np.split(order, np.flatnonzero(np.diff(self.sweep.configuration[order])) + 1)
        there = [m.tolist() for m in members if m.size]
        configurations = candidates.read_all(self.sweep, names, [rows[0] for rows in there])
        return {candidates.key(c): rows for c, rows in zip(configurations, there, strict=True)}

    @cached_property
    def places(self) -> FloatArray:
        """Where each configuration that was run lies in the space, (configurations, knobs); see `place`."""
        first = candidates.first_rows(self.sweep)
        columns = [_shares(self.sweep, knob)[first] for knob in self.space.knobs]
        return np.stack(columns, axis=1) if columns else np.empty((len(first), 0))

    def place(self, values: Mapping[str, Value]) -> FloatArray:
        """Where a configuration lies, (knobs,): 0 to 1 of each range; NaN for what it has no value of."""
        return np.array([k.share(values[k.name]) if k.name in values else np.nan for k in self.space.knobs])

    def rows_of(self, values: Mapping[str, Value]) -> list[int]:
        """The runs of that configuration; none where a value that never changed is now another."""
        moved = [n for n, v in values.items() if self.space.knob(n) is None and not self._is_fixed_at(n, v)]
        own = {n: v for n, v in values.items() if self.space.knob(n) is not None}
        return [] if moved else self.ran.get(candidates.key(own), [])

    def has_run(self, values: Mapping[str, Value]) -> bool:
        """Whether the configuration was run, or one that differs from it by no more than rounding does."""
        if self.rows_of(values):
            return True
        if any(self.space.knob(n) is None and not self._is_fixed_at(n, v) for n, v in values.items()):
            return False
        if not self.space.knobs:
            return False
        asked = self.place(values)
        there = ~np.isnan(asked)  # a value that is not named, or does not belong to it, says nothing
        return bool(np.any(np.all(np.abs(self.places[:, there] - asked[there]) <= ROUNDING, axis=1)))

    def _is_fixed_at(self, name: str, value: Value) -> bool:
        if name not in self.space.fixed:
            return False
        held = candidates.number(self.space.fixed[name])
        return candidates.key({name: held}) == candidates.key({name: value})

    def free_seeds(self, values: Mapping[str, Value]) -> Iterator[int]:
        """Seeds that the configuration was not run with, the smallest first."""
        used = {int(s) for s in self.sweep.seed[self.rows_of(values)] if not np.isnan(s)}
        unknown = any(np.isnan(self.sweep.seed[row]) for row in self.rows_of(values))
        seed = 1 if unknown else 0
        while True:
            if seed not in used:
                yield seed
            seed += 1

    @cached_property
    def best(self) -> list[dict[str, Value]]:
        """The configurations with a result, the best mean over seeds first."""
        means = configuration_means(self.sweep, self.sweep.y)
        names = [k.name for k in self.space.knobs]
        first = candidates.first_rows(self.sweep)
        order = [int(i) for i in np.argsort(means, kind="stable") if np.isfinite(means[i])]
        return [candidates.read(self.sweep, first[i], names) for i in order]

    def result(self, values: Mapping[str, Value]) -> float | None:
        """The mean result of a configuration, as it was logged; None where it has none."""
        rows = self.rows_of(values)
        mean = float(np.mean(self.sweep.y[rows])) if rows else float("nan")
        return direction_of(self.sweep) * mean if np.isfinite(mean) else None

    @cached_property
    def _model(self) -> TaskModel | None:
        if not self.space.knobs or len(self.best) < FEWEST_TO_PREDICT:
            return None
        return TaskModel.fit(self.sweep, [k.name for k in self.space.knobs], self.seed, self.forest)

    @property
    def can_predict(self) -> bool:
        """Whether there are enough runs for a forest."""
        return self._model is not None

    def predicted(self, configurations: Sequence[Mapping[str, Value]]) -> FloatArray:
        """The predicted normalised regret of each configuration, (n,); 1, the median's, where nothing is known."""
        if self._model is None or not configurations:
            return np.ones(len(configurations))
        return self._model.predict(configurations)


def _shares(sweep: Sweep, knob: Knob) -> FloatArray:
    """Where each run lies in the range of a hyperparameter, (runs,), as `Knob.share` has it."""
    parameter = sweep.hyperparameter(knob.name)
    assert parameter is not None
    if knob.scale == "category":
        return (parameter.values + 0.5) / len(knob.levels)
    low, high = (math.log(x) if knob.scale == "log" else x for x in (knob.low, knob.high))
    return (
        (parameter.transformed - low) / (high - low)
        if low < high
        else 0.5 + np.sign(parameter.values - knob.low)
    )


def evidence_of(found: Finding | None) -> dict[str, Any]:
    """Returns the field of an experiment that names the finding it is about."""
    return {"finding_id": found.id if found else None}
