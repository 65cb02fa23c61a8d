"""What sources have in common whose runs lie in files of their own: W&B's and TensorBoard's.

A source finds the files of each run, reads what they say of it, and yields the points in them; the tables are made
here. A run is described once, however many of its tables are asked for.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hpkb.sources import CURVES, FINGERPRINTS, HARDWARE, INTEGER, PARAMETERS, RUNS, SPLITS
from hpkb.sources.objectives import Objective

BATCH = 100_000  # points


@dataclass(frozen=True)
class RunFiles:
    """The files of a run, in the order of time, and what else makes its fingerprint."""

    run_id: str
    experiment: str
    files: tuple[Path, ...]
    name: str | None = None
    state: str = ""

    def fingerprint(self) -> str:
        """Returns a digest of the files' sizes and times of change, and of what else is known."""
        digest = hashlib.blake2b(f"{self.experiment}|{self.name}|{self.state}".encode(), digest_size=16)
        for file in self.files:
            status = os.stat(file)
            digest.update(f"|{file.name}|{status.st_size}|{status.st_mtime_ns}".encode())
        return digest.hexdigest()


@dataclass
class Described:
    """What the files say of a run besides its curves. Times are in seconds since 1970, UTC."""

    run_name: str | None = None
    status: str = "RUNNING"
    started_at: float | None = None
    ended_at: float | None = None
    end_reason: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)


class RunFilesSource(ABC):
    """The runs whose files lie in a folder; every experiment is a task."""

    kind: str

    def __init__(self, folder: Path) -> None:
        self._root = folder.absolute()
        self.name = str(self._root)
        self._found: dict[str, RunFiles] = {}
        self._described: dict[str, Described] = {}
        self._counts: Counter[str] = Counter()

    @abstractmethod
    def find(self) -> Iterator[RunFiles]:
        """Yields the runs that are in the folder now, each id once."""

    @abstractmethod
    def describe(self, run: RunFiles) -> Described:
        """Returns what a run's files say of it."""

    @abstractmethod
    def points(self, run: RunFiles) -> Iterator[pa.RecordBatch]:
        """Yields the points of a run, in batches of bounded size."""

    def experiments(self) -> list[str]:
        """Returns the names of the experiments."""
        return sorted({run.experiment for run in self._runs().values()})

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        """Returns the fingerprints, of the files that are in the folder now."""
        self._found = {}
        self._described = {}
        wanted = [run for run in self._runs().values() if not experiments or run.experiment in experiments]
        return _table([(run.run_id, run.fingerprint()) for run in wanted], FINGERPRINTS)

    def runs(self, ids: pa.Array) -> pa.Table:
        """Returns the runs."""
        return _table([_row(run, said) for run, said in self._descriptions(ids)], RUNS)

    def parameters(self, ids: pa.Array) -> pa.Table:
        """Returns the parameters."""
        rows = [
            (run.run_id, name, value, "param")
            for run, said in self._descriptions(ids)
            for name, value in said.parameters.items()
        ]
        return _table(rows, PARAMETERS)

    def hardware(self, ids: pa.Array) -> pa.Table:
        """Returns the facts about machine, code and environment."""
        rows = [
            (run.run_id, name, value)
            for run, said in self._descriptions(ids)
            for name, value in said.hardware.items()
        ]
        return _table(rows, HARDWARE)

    def splits(self, ids: pa.Array) -> pa.Table:
        """Returns nothing: these files say nothing of data splits."""
        return SPLITS.empty_table()

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        """Yields the points of all curves, run by run."""
        runs = self._runs()
        for run_id in ids.to_pylist():
            yield from self.points(runs[run_id])

    def notes(self) -> Mapping[str, int]:
        """Returns what had to be left out, and how often."""
        return {what: count for what, count in self._counts.items() if count}

    def objectives(self) -> Mapping[str, Sequence[Objective]]:
        """Returns nothing: these files state no objective."""
        return {}

    def close(self) -> None:
        """Forgets what was read; no file stays open."""
        self._found = {}
        self._described = {}

    def described(self, run: RunFiles) -> Described:
        """Returns what a run's files say of it, read once."""
        if run.run_id not in self._described:
            self._described[run.run_id] = self.describe(run)
        return self._described[run.run_id]

    def _runs(self) -> dict[str, RunFiles]:
        if not self._found:
            self._found = {run.run_id: run for run in self.find()}
        return self._found

    def _descriptions(self, ids: pa.Array) -> list[tuple[RunFiles, Described]]:
        runs = self._runs()
        return [(runs[run_id], self.described(runs[run_id])) for run_id in ids.to_pylist()]


def curve_batch(
    run_id: str, metrics: pa.Array, steps: np.ndarray, seconds: np.ndarray, values: np.ndarray
) -> pa.RecordBatch:
    """Returns points as rows of `CURVES`; a time that is NaN is not known."""
    known = np.isfinite(seconds)
    times = pa.array(np.rint(np.where(known, seconds, 0) * 1000).astype(np.int64), INTEGER, mask=~known)
    columns = [pa.repeat(run_id, len(values)), metrics, pa.array(steps, INTEGER), times, pa.array(values)]
    arrays = [column.cast(kind) for column, kind in zip(columns, CURVES.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=CURVES)


def _row(run: RunFiles, said: Described) -> tuple[Any, ...]:
    times = (_milliseconds(said.started_at), _milliseconds(said.ended_at))
    return run.run_id, run.experiment, said.run_name, said.status, *times, run.experiment, said.end_reason


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _table(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
