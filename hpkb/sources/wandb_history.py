"""History records of W&B's as points: decoded by wandb's own protobufs, put together in columns.

A record is what one `wandb.log` (or several of one step) gave: keys, nested ones joined with dots, and their values as
JSON. Numbers are values, truth values 1 and 0; texts, tables and pictures are no points. The step is W&B's own, or the
metric that `define_metric` calls the step metric, where the record has it and it is a whole number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpkb.sources.run_files import curve_batch

_NUMBER = r"^-?(\d[0-9.eE+-]*|Infinity)$|^NaN$|^true$|^false$"
_TRUTH = {"true": "1", "false": "0"}
_EXACT = 2.0**53


@dataclass(frozen=True)
class StepMetrics:
    """Which metric is another one's step: by name, and by pattern (`val/*`)."""

    by_name: dict[str, str] = field(default_factory=dict)
    by_pattern: dict[str, str] = field(default_factory=dict)

    def of(self, metric: str) -> str | None:
        """Returns the name of the metric that this one is drawn over, None for W&B's own step."""
        if metric in self.by_name:
            return self.by_name[metric]
        return next((step for glob, step in self.by_pattern.items() if fnmatchcase(metric, glob)), None)


class History:
    """The points of some history records of one run."""

    def __init__(self, parse: Callable[[bytes], Any]) -> None:
        self._parse = parse
        self._keys: list[str] = []
        self._values: list[str] = []
        self._counts: list[int] = []
        self._steps: list[int] = []

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, record: bytes) -> None:
        """Takes a history record's keys and values."""
        history = self._parse(record).history
        keys, values = self._keys, self._values
        before = len(keys)
        for item in history.item:
            nested = item.nested_key
            keys.append((nested[0] if len(nested) == 1 else ".".join(nested)) if nested else item.key)
            values.append(item.value_json)
        self._counts.append(len(keys) - before)
        self._steps.append(history.step.num)

    def points(self, run_id: str, steps: StepMetrics) -> pa.RecordBatch:
        """Returns the points, as rows of `CURVES`."""
        keys, rows, values = self._numbers()
        own = _Columns(keys, rows, values, len(self._counts))
        step = own.step(self._steps)
        metrics = np.array([not name.startswith("_") for name in keys.dictionary.to_pylist()], bool)
        codes = keys.indices.to_numpy()
        wanted = metrics[codes] if len(codes) else np.zeros(0, bool)
        over = self._over(keys.dictionary.to_pylist(), steps, own, step)
        chosen = over[codes, rows][wanted] if over is not None else step[rows][wanted]
        names = keys.dictionary.take(pa.array(codes[wanted]))
        return curve_batch(run_id, names, chosen, own.of("_timestamp")[rows][wanted], values[wanted])

    def _numbers(self) -> tuple[pa.DictionaryArray, np.ndarray, np.ndarray]:
        """Keys, rows and values of what is a number."""
        texts = pa.array(self._values, pa.string())
        numeric = pc.match_substring_regex(texts, _NUMBER)
        texts = texts.filter(numeric)
        for word, number in _TRUTH.items():
            texts = pc.if_else(pc.equal(texts, word), number, texts)
        rows = np.repeat(np.arange(len(self._counts)), self._counts)[numeric.to_numpy(zero_copy_only=False)]
        keys = pa.array(self._keys, pa.string()).filter(numeric).dictionary_encode()
        return keys, rows, texts.cast(pa.float64()).to_numpy(zero_copy_only=False)

    @staticmethod
    def _over(names: list[str], steps: StepMetrics, own: _Columns, step: np.ndarray) -> np.ndarray | None:
        """The steps by metric and row, None where every metric is drawn over W&B's own."""
        wanted = [steps.of(name) for name in names]
        if not any(wanted):
            return None
        return np.stack([step if name is None else own.whole(name, step) for name in wanted])


@dataclass(frozen=True)
class _Columns:
    """Values of single keys by record."""

    keys: pa.DictionaryArray
    rows: np.ndarray
    values: np.ndarray
    n: int

    def of(self, name: str) -> np.ndarray:
        """Returns a key's value in every record, NaN where the record has it not."""
        column = np.full(self.n, np.nan)
        code = pc.index(self.keys.dictionary, name).as_py()
        if code >= 0:
            chosen = self.keys.indices.to_numpy() == code
            column[self.rows[chosen]] = self.values[chosen]
        return column

    def whole(self, name: str, otherwise: np.ndarray) -> np.ndarray:
        """Returns a key's value in every record where it is a whole number, else `otherwise`."""
        column = self.of(name)
        with np.errstate(invalid="ignore"):
            is_whole = (np.abs(column) < _EXACT) & (column == np.trunc(column))
        return np.where(is_whole, np.where(is_whole, column, 0).astype(np.int64), otherwise)

    def step(self, recorded: list[int]) -> np.ndarray:
        """Returns W&B's step of every record: the key `_step`, which wandb has always written."""
        return self.whole("_step", np.array(recorded, np.int64))


def number(text: str) -> float | None:
    """Returns the number that a JSON text is, None where it is none."""
    return float(_TRUTH.get(text, text)) if re.search(_NUMBER, text) else None


def step_metrics(definitions: Iterable[Any]) -> StepMetrics:
    """Returns what `define_metric` said of steps."""
    found = StepMetrics()
    for metric in definitions:
        if metric.step_metric in ("", "_step"):
            continue
        if metric.name:
            found.by_name[metric.name] = metric.step_metric
        else:
            found.by_pattern[metric.glob_name] = metric.step_metric
    return found
