"""Hyperparameters as the columns of a forest, and the levels over which its predictions are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpkb.sweep import BoolArray, FloatArray, Hyperparameter

CELLS = 16  # into how many equal cells a number's range is cut where it took more values than that


@dataclass(frozen=True)
class Levels:
    """The levels of one hyperparameter on a product grid.

    `low` and `high` (levels, columns owned) bound each level in the encoded columns, alike where a level is a point;
    `weight` (levels,) sums to 1; `centre` (levels,) is the level on the own scale, NaN for "absent".
    """

    low: FloatArray
    high: FloatArray
    weight: FloatArray
    centre: FloatArray


@dataclass(frozen=True)
class Column:
    """How one hyperparameter is encoded.

    A number is its own scale brought to 0 to 1; a category of two levels 0 or 1; of more, one column a level.
    Where a hyperparameter is absent it stands at `filler` (its median, or its commonest level): whoever decides
    that it is absent, mostly the optimizer, then carries the difference. Where nothing else says so, absence is a
    level of its own with a column of its own (`absent_share` > 0).
    """

    category: bool
    low: float
    high: float
    filler: float
    n_levels: int
    distinct: FloatArray
    absent_share: float

    @property
    def width(self) -> int:
        """How many columns of the forest it takes."""
        return (self.n_levels if self.n_levels > 2 else 1) + (self.absent_share > 0)

    def encode(self, values: FloatArray) -> FloatArray:
        """The columns of values on the own scale, (n,) to (n, width)."""
        absent = np.isnan(values)
        filled = np.where(absent, self.filler, values)
        if self.n_levels > 2:
            columns = (filled[:, None] == np.arange(self.n_levels)).astype(float)
        else:
            columns = ((filled - self.low) / (self.high - self.low))[:, None]
        return np.hstack([columns, absent[:, None]]) if self.absent_share else columns

    def levels(self) -> Levels:
        """The levels of the product grid: all values that were tried, or equal cells of their range."""
        if self.category or self.distinct.size <= CELLS:
            centre, half = np.asarray(self.distinct, dtype=np.float64), 0.0
        else:
            half = (self.high - self.low) / CELLS / 2
            centre = np.asarray(self.low + half * (2 * np.arange(CELLS) + 1))
        weight = np.full(centre.size, (1 - self.absent_share) / centre.size)
        if self.absent_share:
            centre, weight = np.append(centre, np.nan), np.append(weight, self.absent_share)
        absent = np.isnan(centre)
        low, high = self.encode(np.where(absent, centre, centre - half)), self.encode(centre + half)
        return Levels(low, high, weight, centre)


@dataclass(frozen=True)
class Encoding:
    """The columns of all hyperparameters of a sweep; `owner` (n_columns,) says whose each is."""

    columns: tuple[Column, ...]
    owner: NDArray[np.int64]

    @classmethod
    def of(cls, hyperparameters: Sequence[Hyperparameter]) -> Encoding:
        """The encoding for the values that a sweep's hyperparameters take."""
        columns = tuple(_column(h, hyperparameters) for h in hyperparameters)
        return cls(columns, np.repeat(np.arange(len(columns)), [c.width for c in columns]))

    @property
    def n_columns(self) -> int:
        """How many columns the forest sees."""
        return int(self.owner.size)

    def encode(self, rows: FloatArray) -> NDArray[np.float32]:
        """The forest's columns, (n, d) on the own scales to (n, n_columns)."""
        parts = [column.encode(rows[:, i]) for i, column in enumerate(self.columns)]
        return np.ascontiguousarray(np.hstack(parts), dtype=np.float32)


def explained_absence(hyperparameter: Hyperparameter, others: Sequence[Hyperparameter]) -> bool:
    """Whether some category decides when the hyperparameter is absent, as the optimizer does for momentum."""
    absent = np.isnan(hyperparameter.values)
    return any(
        _constant_within(absent, other.values)
        for other in others
        if other.scale == "category" and other.name != hyperparameter.name
    )


def _constant_within(absent: BoolArray, groups: FloatArray) -> bool:
    if np.isnan(groups).any():
        return False
    member = groups.astype(np.int64)
    share = np.bincount(member, weights=absent) / np.maximum(np.bincount(member), 1)
    return bool(np.isin(share, (0.0, 1.0)).all())


def _column(h: Hyperparameter, others: Sequence[Hyperparameter]) -> Column:
    values = h.transformed
    present = values[~np.isnan(values)]
    absent_share = 0.0 if explained_absence(h, others) else 1 - present.size / max(values.size, 1)
    distinct = np.unique(present) if present.size else np.zeros(1)
    if h.scale != "category":
        low, high = float(distinct[0]), float(distinct[-1])
        filler = float(np.median(present)) if present.size else 0.0
        return Column(False, low, high if high > low else low + 1.0, filler, 0, distinct, absent_share)
    counts = np.bincount(present.astype(np.int64), minlength=max(len(h.levels), 2))
    return Column(True, 0.0, 1.0, float(np.argmax(counts)), counts.size, distinct, absent_share)
