"""Where a chart's axis begins and ends and which values it names: few, round, as a person would write them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from hpkb.pages.formats import number, plain, spoken

Scale = Literal["log", "linear", "category"]
_FEW, _MANY = 3, 6


@dataclass(frozen=True)
class Axis:
    """One axis of a chart, with the domain that holds all that is drawn.

    `zero_at` is where an exact 0 stands on a log axis: one decade below the smallest positive value. `named` holds the
    values themselves where there are so few that each can be named.
    """

    label: str
    scale: Scale
    domain: tuple[float, float] = (0.0, 1.0)
    levels: tuple[str, ...] = ()
    zero_at: float | None = None
    named: tuple[float, ...] = ()

    def place(self, value: Any) -> Any:
        """Returns where a value stands: a 0 on a log axis at its own mark, everything else where it is."""
        if self.scale == "category":
            return plain(value, 40)
        if self.scale == "log" and value is not None and value <= 0:
            return self.domain[0] if self.zero_at is None else self.zero_at
        return value

    def at(self, value: Any) -> float:
        """Returns where a value that `place` has placed stands: 0 at the axis' beginning, 1 at its end."""
        if self.scale == "category":
            return (self.levels.index(value) + 0.5) / len(self.levels)
        first, width = self._span
        return float(((math.log(value) if self.scale == "log" else value) - first) / width)

    @cached_property
    def _span(self) -> tuple[float, float]:
        """Where the domain begins and how wide it is, of logarithms where the axis is one of them."""
        first, last = map(math.log, self.domain) if self.scale == "log" else self.domain
        return first, last - first

    def ticks(self) -> list[tuple[Any, str]]:
        """Returns the values that the axis names, and what it calls them."""
        if self.scale == "category":
            return [(level, level) for level in self.levels]
        values = list(self.named) or ticks(*self.domain, self.scale)
        if self.zero_at is not None:
            zero = self.zero_at
            values = [zero, *(value for value in values if value > 3 * zero)]
        return [(value, "0" if value == self.zero_at else number(value)) for value in values]


def axis(
    description: dict[str, Any], values: Iterable[Any], label: str = "", named: Iterable[Any] = ()
) -> Axis:
    """Returns the axis for what a figure says of it and for the values that it must hold.

    `named` are the values to name where they are few, such as the batch sizes that were run.
    """
    scale: Scale = description.get("scale", "linear")
    name = label or spoken(str(description.get("label", "")))
    present = [value for value in values if value is not None]
    if scale == "category":
        found = sorted({plain(value, 40) for value in present})
        levels = [plain(level, 40) for level in description.get("levels") or found]
        return Axis(name, scale, levels=tuple(dict.fromkeys([*levels, *found])))
    numbers = [float(v) for v in present if isinstance(v, int | float) and math.isfinite(v)]
    if scale == "log" and any(v > 0 for v in numbers):
        return _log_axis(name, numbers, named)
    return Axis(name, "linear", _padded(numbers))


def _log_axis(name: str, numbers: Sequence[float], named: Iterable[Any]) -> Axis:
    positive = [v for v in numbers if v > 0]
    zero_at = min(positive) / 10 if len(positive) < len(numbers) else None
    low, high = math.log10(zero_at or min(positive)), math.log10(max(positive))
    pad = max(0.04 * (high - low), 0.02)
    distinct = tuple(sorted({float(v) for v in named if v > 0}))
    shown = distinct if _FEW <= len(distinct) <= _MANY else ()
    return Axis(name, "log", (10 ** (low - pad), 10 ** (high + pad)), zero_at=zero_at, named=shown)


def _padded(numbers: Sequence[float]) -> tuple[float, float]:
    if not numbers:
        return (0.0, 1.0)
    low, high = min(numbers), max(numbers)
    pad = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
    return (low - pad, high + pad)


def ticks(low: float, high: float, scale: Scale) -> list[float]:
    """Returns two to six round values between `low` and `high`."""
    if scale == "linear":
        return _round_steps(low, high, 6)
    for multiples in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = _decades(low, high, multiples)
        if len(found) >= _FEW:
            return found[:: math.ceil(len(found) / _MANY)]
    return [value for value in _round_steps(low, high, 4) if value > 0]


def _decades(low: float, high: float, multiples: Sequence[float]) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    values = [float(f"{m}e{e}") for e in range(first, last + 1) for m in multiples]
    return [value for value in values if low <= value <= high]


def _round_steps(low: float, high: float, parts: int) -> list[float]:
    least = (high - low) / parts
    if least <= 0 or not math.isfinite(least):
        return [low]
    power = math.floor(math.log10(least))
    step = next(m * 10.0**power for m in (1, 2, 2.5, 5, 10) if m * 10.0**power >= least * 0.999)
    first = math.ceil(low / step)
    return [float(f"{i * step:.12g}") for i in range(first, math.floor(high / step) + 1)]
