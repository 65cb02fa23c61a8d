"""Numbers as a person types them: 3e-4, 0.1, 256."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from hpkb.sweep import FloatArray, Hyperparameter, Sweep

SHARES = frozenset("dropout label_smoothing momentum beta1 beta2 stochastic_depth ema_decay weight_decay_share".split())
COARSE = (1.0, 2.0, 3.0, 5.0, 10.0)
FINE = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)
REPEATED = 2  # configurations a distinct value on average, from which on values were chosen and not drawn


def on_log(value: float, digits: Sequence[float] = COARSE) -> float:
    """Returns the nearest digit times a power of ten, by ratio; the value itself where it is not positive."""
    if value <= 0:
        return value
    decade = 10.0 ** math.floor(math.log10(value))
    nearest = min(digits, key=lambda digit: abs(math.log(value / (digit * decade))))
    return significant(nearest * decade, 6)


def significant(value: float, digits: int) -> float:
    """Returns the value to so many significant digits."""
    return float(f"{value:.{digits}g}")


def near_one(value: float, digits: int = 2) -> float:
    """Returns a share to so many digits, above 0.9 to one fewer of its distance to 1: 0.9987 stays apart from 1."""
    return 1 - significant(1 - value, max(digits - 1, 1)) if 0.9 < value < 1 else significant(value, digits)


def power_of_two(value: float) -> float:
    """Returns the nearest power of two, at least 1."""
    return float(2 ** max(0, round(math.log2(max(value, 1.0)))))


def is_power_of_two(value: float) -> bool:
    """Whether the value is 1, 2, 4, ..."""
    return value >= 1 and power_of_two(value) == value


def is_whole(tried: FloatArray) -> bool:
    """Whether only whole numbers were tried, and not only 0 and 1."""
    return bool(tried.size) and bool(np.all(tried == np.round(tried))) and float(tried.max()) > 1


def ladder(value: float, name: str, sweeps: Sequence[Sweep]) -> list[float]:
    """Returns the value ever less rounded, at last as it is; what the tasks tried of the hyperparameter says how.

    A number of one or two digits that somebody chose, so that many configurations of a task have it, stays as it is.
    Nothing outside of what was tried is returned but the value itself; nothing but that where no task varies it.
    """
    varied = [s for s in sweeps if (h := s.hyperparameter(name)) is not None and h.scale != "category"]
    if not varied or value == 0 or (value == significant(value, 2) and any(_chose(s, name, value) for s in varied)):
        return [value]
    parameters = [h for s in varied if (h := s.hyperparameter(name)) is not None]
    tried = np.concatenate([h.values[~np.isnan(h.values)] for h in parameters])
    inside = (v for v in _coarser(value, parameters[0], tried) if tried.min() <= v <= tried.max())
    return list(dict.fromkeys([*inside, value]))


def _chose(sweep: Sweep, name: str, value: float) -> bool:
    """Whether a task tried the value, and few values beside it: somebody wrote them down."""
    parameter = sweep.hyperparameter(name)
    _, first = np.unique(sweep.configuration, return_index=True)
    values = np.empty(0) if parameter is None else parameter.values[first]
    values = values[~np.isnan(values)]
    return bool(value in values and values.size >= REPEATED * np.unique(values).size)


def _coarser(value: float, parameter: Hyperparameter, tried: FloatArray) -> Iterator[float]:
    whole = is_whole(tried)
    if whole and all(is_power_of_two(v) for v in np.unique(tried)):
        yield power_of_two(value)
    elif parameter.scale == "log":
        rounded = [on_log(value), on_log(value, FINE), *(significant(value, digits) for digits in (2, 3))]
        yield from ([float(round(v)) for v in rounded] if whole else rounded)
    elif whole:
        yield from (float(round(significant(value, digits))) for digits in (1, 2, 3))
    else:
        to_digits = near_one if parameter.name in SHARES else significant
        yield from (to_digits(value, digits) for digits in (1, 2, 3))
