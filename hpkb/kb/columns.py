"""The hyperparameters of a task as columns, and which of them say something.

Left out are: what does not vary (it is *fixed*); text that names a run rather than a setting (more than 20 levels, or
another one for each run); a column that repeats another one (`micro_batch_size` without accumulation), but not one of
two settings of their own that always changed together; a setting of one optimizer that takes a single value there,
because the optimizer says it already; and the number of parameters where depth, width and the like say it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hpkb.names import lookup, rank_of
from hpkb.sweep import BoolArray, FloatArray, IntArray, Scale

_MOST_LEVELS = 20
_WIDE = 20.0  # a positive number of unknown meaning whose largest value is this many times its smallest is logarithmic
_DIGITS = 7  # what single precision keeps: 0.1 and 0.10000000149 are one setting
_ABSENT = frozenset({"", "none", "null", "nan", "n/a", "auto", "default"})
_ARCHITECTURE = frozenset({"depth", "width", "normalization", "residual", "activation", "model"})


@dataclass(frozen=True)
class Column:
    """A hyperparameter in all runs of a task: `values` as in `Hyperparameter`; `codes` number its values in order.

    `codes` is (n,), 0 where the run has no such hyperparameter; `n_levels` counts the values.
    """

    name: str
    scale: Scale
    values: FloatArray
    levels: tuple[str, ...]
    codes: IntArray
    n_levels: int

    @property
    def rank(self) -> tuple[int, str]:
        """Where the column stands among those that say the same: known names first."""
        return rank_of(self.name)


def column(name: str, n_runs: int, runs: IntArray, numbers: FloatArray, texts: pa.ChunkedArray) -> Column:
    """Returns the column of one hyperparameter from the `runs` (row numbers) that have it.

    It is a category where its name is one, or where it holds text; a "none" among numbers counts as absent.
    """
    known = lookup(name)
    is_text = np.isnan(numbers)
    words = {text.strip().lower() for text in _texts_of(texts, is_text)} if is_text.any() else set()
    if (known and known.scale == "category") or not words <= _ABSENT or is_text.all():
        return _category(name, n_runs, runs, texts)
    values = np.full(n_runs, np.nan)
    values[runs] = numbers
    codes, n_levels = _codes(values)
    return Column(name, _scale(known.scale if known else None, values), values, (), codes, n_levels)


def _texts_of(texts: pa.ChunkedArray, rows: BoolArray) -> list[str]:
    """The distinct texts of some rows, but for absent ones. Made of an array, a filter of pyarrow's imports pandas."""
    known = rows & np.from_dlpack(texts.is_valid().cast(pa.uint8()).combine_chunks()).astype(np.bool_)
    encoded = _filled(texts).combine_chunks().dictionary_encode()
    return [encoded.dictionary[int(i)].as_py() for i in np.unique(np.from_dlpack(encoded.indices)[known])]


def _filled(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return texts.fill_null("") if texts.null_count else texts


def varying(columns: Sequence[Column]) -> tuple[list[Column], dict[str, str]]:
    """Returns the columns that say something of their own, in the order of NAMES, and what is the same in all runs."""
    fixed = {c.name: _only_value(c) for c in columns if c.n_levels == 1 and _is_everywhere(c)}
    kept: list[Column] = []
    for candidate in sorted((c for c in columns if c.n_levels > 1 and not _names_runs(c)), key=lambda c: c.rank):
        if not any(_repeats(candidate, c) and not _both_scientific(candidate, c) for c in kept):
            kept.append(candidate)
    return [c for c in kept if not (_follows_from_category(c, kept) or _follows_from_architecture(c, kept))], fixed


def _both_scientific(candidate: Column, other: Column) -> bool:
    """Whether each is a known setting that may have an effect of its own: then the two are aliased, not the same."""
    entries = [lookup(c.name) for c in (candidate, other)]
    return candidate.name != other.name and all(e is not None and e.role == "scientific" for e in entries)


def _category(name: str, n_runs: int, runs: IntArray, texts: pa.ChunkedArray) -> Column:
    encoded = _filled(texts).combine_chunks().dictionary_encode()
    plain = [_plain(text) for text in encoded.dictionary.to_pylist()]
    levels = sorted(set(plain), key=_natural)
    number = {level: index for index, level in enumerate(levels)}
    values = np.full(n_runs, np.nan)
    values[runs] = np.array([number[level] for level in plain], dtype=float)[np.from_dlpack(encoded.indices)]
    codes, n_levels = _codes(values)
    return Column(name, "category", values, tuple(levels), codes, n_levels)


def _plain(text: str) -> str:
    """A level's text: numbers and truth values in one spelling."""
    stripped = text.strip()
    if stripped.lower() in ("true", "false"):
        return stripped.capitalize()
    try:
        return f"{float(stripped):.{_DIGITS}g}"
    except ValueError:
        return stripped


def _natural(level: str) -> tuple[float, str]:
    try:
        return float(level), level
    except ValueError:
        return np.inf, level


def _scale(known: Scale | None, values: FloatArray) -> Scale:
    present = values[~np.isnan(values)]
    if known == "linear" or (present < 0).any() or not (present > 0).any():
        return "linear"
    if known == "log":
        return "log"
    return "log" if present.min() > 0 and present.max() >= _WIDE * present.min() else "linear"


def _codes(values: FloatArray) -> tuple[IntArray, int]:
    """The rank of each value from 1, 0 for NaN, and how many values there are; equal to seven digits is equal."""
    present = ~np.isnan(values)
    distinct, inverse = np.unique(_rounded(values[present]), return_inverse=True)
    codes = np.zeros(values.size, dtype=np.int64)
    codes[present] = inverse + 1
    return codes, int(distinct.size)


def _rounded(values: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        magnitude = np.where(values == 0, 0.0, np.floor(np.log10(np.abs(values))))
    unit = 10.0 ** (_DIGITS - 1 - np.clip(magnitude, -290, 290))
    return np.asarray(np.round(values * unit) / unit, dtype=np.float64)


def _only_value(only: Column) -> str:
    value = only.values[~np.isnan(only.values)][0]
    return only.levels[int(value)] if only.scale == "category" else f"{value:.6g}"


def _is_everywhere(only: Column) -> bool:
    """Whether all runs have the setting, or it is one that only some optimizers can have."""
    known = lookup(only.name)
    return bool(only.codes.all()) or (known is not None and known.role == "conditional")


def _names_runs(text: Column) -> bool:
    """Whether a category tells runs apart rather than settings."""
    unique = lookup(text.name) is None and text.n_levels == np.count_nonzero(text.codes)
    return text.scale == "category" and (text.n_levels > _MOST_LEVELS or unique)


def _repeats(candidate: Column, other: Column) -> bool:
    """Whether two columns are the same up to their unit: the same values, or one a monotone function of the other.

    A few values may stand in the same order by chance; so there have to be eight, or four runs to each.
    """
    if (candidate.scale == "category") != (other.scale == "category") or candidate.n_levels != other.n_levels:
        return False
    if np.array_equal(candidate.values, other.values, equal_nan=True) and candidate.levels == other.levels:
        return True
    enough = candidate.n_levels >= 8 or candidate.codes.size >= 4 * candidate.n_levels
    if candidate.scale == "category":
        return enough and _function_of(candidate.codes, other.codes)
    reverse = np.where(candidate.codes > 0, candidate.n_levels + 1 - candidate.codes, 0)
    return enough and any(np.array_equal(codes, other.codes) for codes in (candidate.codes, reverse))


def _follows_from_category(candidate: Column, columns: Sequence[Column]) -> bool:
    """Whether a setting that only some optimizers have takes one value with each level of a category."""
    known = lookup(candidate.name)
    if known is None or known.role != "conditional":
        return False
    categories = (c for c in columns if c.scale == "category" and c.name != candidate.name)
    return any(_is_scientific(c) and _function_of(candidate.codes, c.codes) for c in categories)


def _follows_from_architecture(candidate: Column, columns: Sequence[Column]) -> bool:
    """Whether it is the number of parameters, and one and the same wherever the model is built alike."""
    shape = [c.codes for c in columns if c.name in _ARCHITECTURE]
    if candidate.name != "parameter_count" or not shape:
        return False
    shapes = np.unique(np.column_stack(shape), axis=0, return_inverse=True)[1].reshape(-1)
    return _function_of(candidate.codes, shapes.astype(np.int64))


def _is_scientific(category: Column) -> bool:
    known = lookup(category.name)
    return known is not None and known.role != "conditional"


def _function_of(codes: IntArray, others: IntArray) -> bool:
    pairs = np.unique(np.stack([others, codes]), axis=1)
    return bool(np.unique(pairs[0]).size == pairs.shape[1])
