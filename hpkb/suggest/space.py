"""Where a task's next experiments may lie: the range of each hyperparameter, and what rules a configuration out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hpkb.findings import Finding
from hpkb.names import lookup
from hpkb.recommend.candidates import Value
from hpkb.recommend.typed import (
    FINE,
    SHARES,
    is_power_of_two,
    is_whole,
    near_one,
    on_log,
    power_of_two,
    significant,
)
from hpkb.sweep import BoolArray, Hyperparameter, Scale, Sweep

_DIGITS = 2  # of a number on a linear scale


@dataclass(frozen=True)
class Knob:
    """One hyperparameter as experiments set it: `low` and `high` in its own unit, or the `levels` of a category.

    `is_whole` says that only whole numbers were tried, `is_power_of_two` that only powers of two were. `only_with` has
    the name of a category and those of its levels with which the hyperparameter exists (a momentum with SGD alone).
    """

    name: str
    scale: Scale
    low: float = 0.0
    high: float = 0.0
    levels: tuple[str, ...] = ()
    is_whole: bool = False
    is_power_of_two: bool = False
    has_zero: bool = False
    only_with: tuple[str, frozenset[str]] | None = None

    def typed(self, value: float) -> float:
        """The value as a person would type it: 3e-4, 0.1, 256. May leave the range by the rounding."""
        if self.is_power_of_two:
            return power_of_two(value)
        if self.is_whole:
            return float(round(value)) if abs(value) < 10 else float(round(significant(value, _DIGITS)))
        if self.scale != "log" or value <= 0:
            return near_one(value) if self.name in SHARES else significant(value, _DIGITS)
        return on_log(value, FINE)

    def at(self, share: float) -> Value:
        """The value at a share of the range from 0 to 1 on the hyperparameter's own scale, or that level."""
        if self.scale == "category":
            return self.levels[min(int(share * len(self.levels)), len(self.levels) - 1)]
        if self.scale == "log":
            return self.within(
                math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
            )
        return self.within(self.low + share * (self.high - self.low))

    def within(self, value: float) -> float:
        """The value as a person would type it, or as it is where that would leave the range."""
        typed = self.typed(value)
        if self.low <= typed <= self.high:
            return typed
        lower = self.typed(value / 1.4) if self.scale == "log" else typed
        return (
            lower if self.low <= lower <= self.high else float(f"{min(max(value, self.low), self.high):.3g}")
        )

    def share(self, value: Value) -> float:
        """Where a value lies: 0 at the low end, 1 at the high one; for a category its place among the levels."""
        if isinstance(value, str) or self.scale == "category":
            text = value if isinstance(value, str) else f"{value:g}"
            return (self.levels.index(text) + 0.5) / len(self.levels) if text in self.levels else math.nan
        if not self.low < self.high:
            return 0.5 + float(np.sign(value - self.low))
        if self.scale == "log":
            floor = self.low / 10  # where an exact 0 stands
            return math.log(max(value, floor) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def step(self, value: float, way: int, size: float = 3.0) -> float | None:
        """The value a step further on: `size` times it on a log scale, a quarter of the range on a linear one.

        None where there is no such value: below 0, or a probability of 1.
        """
        if self.scale == "log":
            moved = value * (2.0 if self.is_power_of_two or self.is_whole else size) ** way
        else:
            moved = value + way * max((self.high - self.low) / 4, 1.0 if self.is_whole else 0.0)
        moved = self.typed(moved)
        if self.name in SHARES and moved >= 1:
            return None
        least = 1.0 if self.is_whole and self.low >= 1 else 0.0
        is_outside = moved < least or (self.scale == "log" and moved <= 0)
        return None if is_outside or moved == value else moved

    def belongs(self, values: Mapping[str, Value]) -> bool:
        """Whether a configuration has this hyperparameter at all."""
        return self.only_with is None or values.get(self.only_with[0]) in self.only_with[1]


@dataclass(frozen=True)
class Limit:
    """Up to where a hyperparameter is safe, with one level of a category or in all (`condition` is None)."""

    name: str
    high: float
    finding_id: str
    condition: tuple[str, str] | None = None

    def rules_out(self, values: Mapping[str, Value]) -> bool:
        """Whether the configuration lies beyond the limit."""
        value = values.get(self.name)
        concerns = self.condition is None or values.get(self.condition[0]) == self.condition[1]
        return concerns and isinstance(value, float) and value > self.high


@dataclass(frozen=True)
class Space:
    """The hyperparameters of a task that experiments may set, those that never changed, and the limits."""

    knobs: tuple[Knob, ...]
    fixed: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()

    def knob(self, name: str) -> Knob | None:
        """The hyperparameter of that name, or None."""
        return next((k for k in self.knobs if k.name == name), None)

    def is_safe(self, values: Mapping[str, Value]) -> bool:
        """Whether no limit rules the configuration out."""
        return not any(limit.rules_out(values) for limit in self.limits)

    def safe(self, knob: Knob) -> Knob:
        """The hyperparameter with its range cut at the lowest limit that may concern it."""
        high = min((limit.high for limit in self.limits if limit.name == knob.name), default=math.inf)
        return replace(knob, high=high) if knob.low < high < knob.high else knob

    def consistent(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The configuration without what does not belong to it (momentum, with an optimizer that has none)."""
        kept = {}
        for name, value in values.items():
            knob = self.knob(name)
            if knob is None or knob.belongs(values):
                kept[name] = value
        return kept


def space_of(sweep: Sweep, findings: Sequence[Finding] = ()) -> Space:
    """Returns the space of a task, with the limits that its supported findings of *divergence* set."""
    knobs = tuple(_knob(sweep, h) for h in sweep.hyperparameters)
    return Space(knobs, sweep.fixed, limits_of(findings))


def limits_of(findings: Sequence[Finding]) -> tuple[Limit, ...]:
    """Returns up to where training is safe, as the supported findings of *divergence* have it."""
    limits = []
    for f in findings:
        if f.quantity == "safe_upper_bound" and f.verdict == "supported" and isinstance(f.estimate, float):
            name, equals, level = f.condition.partition("=")
            limits.append(Limit(f.hyperparameters[0], f.estimate, f.id, (name, level) if equals else None))
    return tuple(limits)


def fixed_knob(name: str, text: str) -> Knob | None:
    """Returns a hyperparameter that never changed as one that could be: three steps to either side; None for others.

    Only what an experiment would vary is returned: a known number whose role is scientific or conditional.
    """
    known = lookup(name)
    try:
        value = float(text)
    except ValueError:
        return None
    if known is None or known.scale == "category" or known.role not in ("scientific", "conditional"):
        return None
    whole = bool(known.unit) and value == int(value)
    if known.scale == "log":
        if value <= 0:
            return None
        return Knob(
            name, "log", value / 10, value * 10, is_whole=whole, is_power_of_two=whole and is_power_of_two(value)
        )
    span = 0.2 if name in SHARES else max(abs(value), 1.0)
    return Knob(name, "linear", max(0.0, value - span), value + span, is_whole=whole)


def scale_of(name: str) -> Scale:
    """Returns the scale of a known hyperparameter, linear for another one."""
    known = lookup(name)
    return known.scale if known else "linear"


def plain(value: Value) -> Value | int:
    """Returns the value as a script takes it: a whole number as an int, another one without the dust of rounding."""
    if isinstance(value, str):
        return value
    return int(value) if value == int(value) and abs(value) < 1e15 else float(f"{value:.12g}")


def _knob(sweep: Sweep, h: Hyperparameter) -> Knob:
    tried = h.values[~np.isnan(h.values)]
    only_with = _only_with(sweep, h)
    if h.scale == "category":
        return Knob(h.name, "category", levels=h.levels, only_with=only_with)
    positive = tried[tried > 0] if h.scale == "log" else tried
    whole = is_whole(tried)
    return Knob(
        h.name, h.scale, float(positive.min()), float(positive.max()), is_whole=whole,
        is_power_of_two=whole and h.scale == "log" and all(is_power_of_two(v) for v in tried),
        has_zero=bool((tried == 0).any()), only_with=only_with,
    )  # fmt: skip


def _only_with(sweep: Sweep, h: Hyperparameter) -> tuple[str, frozenset[str]] | None:
    """The category whose levels say whether a run has this hyperparameter, where there is such a one."""
    there: BoolArray = ~np.isnan(h.values)
    if there.all():
        return None
    for other in sweep.hyperparameters:
        if other.scale != "category" or other.name == h.name or np.isnan(other.values).any():
            continue
        having = set(other.values[there].astype(int))
        if not having & set(other.values[~there].astype(int)):
            return other.name, frozenset(other.levels[level] for level in having)
    return None

