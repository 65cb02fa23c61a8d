"""Configurations as mappings of names to values, and as rows of a task's surrogate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hpkb.sweep import FloatArray, Hyperparameter, Sweep

Value = float | str
Configuration = Mapping[str, Value]
Key = tuple[tuple[str, Value], ...]
ENOUGH_TO_AGREE = 8  # configurations


def observed(sweeps: Sequence[Sweep], names: Sequence[str]) -> list[dict[str, Value]]:
    """Returns the distinct configurations of the sweeps over `names`, in a fixed order.

    A hyperparameter that a run does not have (or that its task never varied) is absent from its configuration.
    """
    found: dict[Key, dict[str, Value]] = {}
    for sweep in sweeps:
        for configuration in read_all(sweep, names):
            found.setdefault(key(configuration), configuration)
    complete = max((len(c) for c in found.values()), default=0)
    chosen = [c for c in found.values() if len(c) == complete]
    return sorted(chosen, key=lambda c: str(key(c)))


def recombined(configurations: Sequence[Configuration], n: int, seed: int) -> list[dict[str, Value]]:
    """Returns up to n more configurations whose every value was tried, drawn value by value, in a fixed order.

    Each value comes from a configuration drawn at random; those that are among the given ones are left out.
    """
    rng = np.random.default_rng([seed, 6])
    known = {key(c) for c in configurations}
    names = sorted({name for c in configurations for name in c})
    found: dict[Key, dict[str, Value]] = {}
    for sources in rng.integers(len(configurations), size=(n, len(names))):
        drawn = {name: configurations[i] for name, i in zip(names, sources, strict=True)}
        configuration = {name: c[name] for name, c in drawn.items() if name in c}
        if key(configuration) not in known:
            found.setdefault(key(configuration), configuration)
    return list(found.values())


def read(sweep: Sweep, row: int, names: Sequence[str]) -> dict[str, Value]:
    """Returns the configuration of one run of a sweep."""
    return read_all(sweep, names, [row])[0]


def read_all(sweep: Sweep, names: Sequence[str], rows: Sequence[int] | None = None) -> list[dict[str, Value]]:
    """Returns the configurations of some rows of a sweep, or of all configurations in the order of their numbers."""
    rows = first_rows(sweep) if rows is None else rows
    found: list[dict[str, Value]] = [{} for _ in rows]
    for name in names:
        parameter = sweep.hyperparameter(name)
        if parameter is None:
            column: list[Value | None] = [number(sweep.fixed[name]) if name in sweep.fixed else None] * len(found)
        else:
            levels = parameter.levels if parameter.scale == "category" else ()
            numbers = (None if v != v else v for v in parameter.values[rows].tolist())  # NaN: the run has none
            column = [levels[int(v)] if levels and v is not None else v for v in numbers]
        for configuration, value in zip(found, column, strict=True):
            if value is not None:
                configuration[name] = value
    return found


def key(configuration: Configuration) -> Key:
    """Returns what makes two configurations the same: their values to six digits, in the order of their names."""
    return tuple((n, f"{v:.6g}" if isinstance(v, float) else v) for n, v in sorted(configuration.items()))


def encode(sweep: Sweep, configurations: Sequence[Configuration]) -> FloatArray:
    """Returns the configurations as rows of the sweep's surrogate, (n, d).

    What a configuration does not name stands at the sweep's median (a category: its most frequent level).
    A row is all NaN where a value lies outside what the sweep tried: nothing is known there.
    """
    rows = np.empty((len(configurations), len(sweep.hyperparameters)))
    for column, parameter in enumerate(sweep.hyperparameters):
        there = [parameter.name in c for c in configurations]
        rows[:, column] = _usual(parameter)
        rows[there, column] = places(parameter, [c[parameter.name] for c in configurations if parameter.name in c])
    rows[np.isnan(rows).any(axis=1)] = np.nan
    return rows


def placed(sweep: Sweep) -> FloatArray:
    """Returns the sweep's own runs as such rows, (runs, d); NaN where a run has no such hyperparameter."""
    return np.column_stack([h.transformed for h in sweep.hyperparameters])


def features(parameters: Sequence[Hyperparameter], rows: FloatArray) -> FloatArray:
    """Returns rows as a forest splits them: numbers as they are, one column a level for a category."""
    columns = []
    for parameter, column in zip(parameters, rows.T, strict=True):
        if parameter.scale == "category":
            columns += [(column == level).astype(np.float64) for level in range(len(parameter.levels))]
        else:
            columns.append(column)
    return np.column_stack(columns)


def numeric_grid(sweeps: Sequence[Sweep], name: str, points: int = 33) -> FloatArray:
    """Returns values of a numeric hyperparameter over what all the sweeps that vary it have tried, on its own scale."""
    parameters = [h for s in sweeps if (h := s.hyperparameter(name)) is not None and h.scale != "category"]
    if not parameters:
        return np.empty(0)
    positive = [
        h.values[h.values > 0] if h.scale == "log" else h.values[~np.isnan(h.values)] for h in parameters
    ]
    low, high = max(float(v.min()) for v in positive), min(float(v.max()) for v in positive)
    if not low < high:
        return np.empty(0)
    spaced = np.geomspace if parameters[0].scale == "log" else np.linspace
    return np.asarray(spaced(low, high, points), dtype=np.float64)


def shared_names(sweeps: Sequence[Sweep], weights: Sequence[float] | None = None) -> list[str]:
    """Returns the hyperparameters that at least half of the tasks vary, by weight if given, and two of them at least.

    What only one task has cannot be tested on another.
    """
    counts: dict[str, int] = {}
    weight: dict[str, float] = {}
    for sweep, own in zip(sweeps, weights or [1.0] * len(sweeps), strict=True):
        for parameter in sweep.hyperparameters:
            counts[parameter.name] = counts.get(parameter.name, 0) + 1
            weight[parameter.name] = weight.get(parameter.name, 0.0) + own
    half = sum(weights or [1.0] * len(sweeps)) / 2
    return sorted(name for name in counts if counts[name] >= 2 and weight[name] >= half)


def first_rows(sweep: Sweep) -> list[int]:
    """Returns a row of each configuration, in the order of their numbers."""
    _, rows = np.unique(sweep.configuration, return_index=True)
    return [int(row) for row in rows]


def _usual(parameter: Hyperparameter) -> float:
    present = parameter.transformed[~np.isnan(parameter.transformed)]
    if parameter.scale == "category":
        return float(np.bincount(present.astype(np.int64)).argmax())
    return float(np.median(present))


def place(parameter: Hyperparameter, value: Value) -> float:
    """Returns the value on the parameter's own scale; NaN where it lies outside what was tried."""
    return float(places(parameter, [value])[0])


def places(parameter: Hyperparameter, values: Sequence[Value]) -> FloatArray:
    """Returns the values on the parameter's own scale, (n,); NaN where one lies outside what was tried."""
    if parameter.scale == "category":
        index = {level: float(i) for i, level in enumerate(parameter.levels)}
        texts = (value if isinstance(value, str) else f"{value:g}" for value in values)
        return np.array([index.get(text, np.nan) for text in texts], dtype=np.float64)
    placed = np.array([np.nan if isinstance(value, str) else value for value in values], dtype=np.float64)
    low, high = parameter.reach
    if parameter.scale == "log":  # what is not positive stands with the smallest
        logs = np.log(np.where(placed > 0, placed, 1.0))
        placed = np.where(placed > 0, logs, np.where(np.isnan(placed), np.nan, low))
    slack = 0.02 * (high - low)
    return np.where((low - slack <= placed) & (placed <= high + slack), placed, np.nan)


def number(text: str | float) -> Value:
    """Returns the number that a value is or spells, else its text."""
    try:
        return float(text)
    except ValueError:
        return str(text)
