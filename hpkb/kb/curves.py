"""The points of curves, put into the knowledge base: sorted, under the number of their curve instead of two names.

`curve_points` keeps the points of a curve together, in the order of step, time and value; the features rely on that.
A batch that comes in is sorted by curve, which is all that is needed for one that has its points together. The points
of one that comes in pieces or out of order are put together at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hpkb.kb.read_ahead import read_ahead
from hpkb.kb.staging import registered
from hpkb.sources import INTEGER, REAL, TIME, schema

_POINTS = schema(curve=pa.int32(), step=INTEGER, timestamp=TIME, value=REAL)
_SLICE = 4_000_000  # points that a statement holds at once, if no single curve has more

_NEXT = """-- One row: the number of the next curve.
SELECT coalesce(max(curve), -1) + 1 FROM curve_names"""

_ADD_POINTS = """-- One row per point.
INSERT INTO curve_points SELECT curve, step, timestamp, value FROM staged_points"""

_ADD_NAMES = """-- One row per curve.
INSERT INTO curve_names SELECT curve, run_id, metric FROM staged_names"""

_GATHER = """-- One row per point of the scattered curves of a slice.
CREATE OR REPLACE TEMP TABLE gathered AS
SELECT p.* FROM curve_points p SEMI JOIN scattered USING (curve) WHERE curve BETWEEN $first AND $last"""
_TAKE_OUT = """-- One row less per point that is gathered.
DELETE FROM curve_points WHERE curve IN (SELECT curve FROM scattered WHERE curve BETWEEN $first AND $last)"""
_PUT_BACK = """-- One row per point that was gathered, in order.
INSERT INTO curve_points SELECT curve, step, timestamp, value FROM gathered ORDER BY curve, step, timestamp, value"""

_FORGET = (
    """-- One row less per point of a run that is gone, or about to be read again.
DELETE FROM curve_points WHERE curve IN (
    SELECT curve FROM curve_names JOIN changes USING (run_id) WHERE change IN ('changed', 'removed'))""",
    """-- One row less per curve of a run that is gone, or about to be read again.
DELETE FROM curve_names WHERE run_id IN (SELECT run_id FROM changes WHERE change IN ('changed', 'removed'))""",
)


@dataclass(frozen=True)
class Slice:
    """Curves whose numbers follow each other, first and last included."""

    first: int
    last: int


@dataclass(frozen=True)
class Added:
    """What came in: the number of points, and the curves in slices that fit into memory."""

    points: int
    slices: tuple[Slice, ...]


def add_curves(connection: duckdb.DuckDBPyConnection, batches: Iterator[pa.RecordBatch]) -> Added:
    """Puts points as a source yields them into the knowledge base, and returns what came in."""
    numbers = _Numbers(int(connection.execute(_NEXT).fetchall()[0][0]))
    with read_ahead(numbers.batches(batches)) as numbered:
        points = pa.RecordBatchReader.from_batches(_POINTS, numbered)
        with registered(connection, "staged_points", points):
            connection.execute(_ADD_POINTS)
    with registered(connection, "staged_names", numbers.names()):
        connection.execute(_ADD_NAMES)
    _put_in_order(connection, numbers)
    return Added(sum(numbers.counts.values()), tuple(_slices(numbers.counts)))


def forget_curves(connection: duckdb.DuckDBPyConnection) -> None:
    """Deletes the curves of the runs that the temporary table `changes` calls changed or removed."""
    for statement in _FORGET:
        connection.execute(statement)


class _Numbers:
    """Numbers curves in the order in which they come, from `first` on, and sorts batches by them."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._known: dict[tuple[str, str], int] = {}
        self.counts: dict[int, int] = {}  # points by curve
        self.scattered: set[int] = set()  # curves that came in pieces or out of order

    def names(self) -> pa.Table:
        """Returns a row per curve: its number, run and metric."""
        runs, metrics = zip(*self._known, strict=True) if self._known else ((), ())
        numbers = pa.array(self._known.values(), pa.int32())
        names = [numbers, pa.array(runs, pa.string()), pa.array(metrics, pa.string())]
        return pa.table(names, ["curve", "run_id", "metric"])

    def batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields the batches with numbers for names, each sorted by curve."""
        for batch in batches:
            if batch.num_rows:
                yield self._numbered(batch)

    def _numbered(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        curve = self._numbers_of(batch)
        order = _by_curve(curve)
        points = pa.RecordBatch.from_arrays(
            [pa.array(curve), *(batch.column(name) for name in _POINTS.names[1:])], schema=_POINTS
        )
        points = points if order is None else points.take(pa.array(order))
        self.scattered.update(_out_of_order(points))
        return points

    def _numbers_of(self, batch: pa.RecordBatch) -> npt.NDArray[np.int32]:
        run, metric = (batch.column(name).dictionary_encode() for name in ("run_id", "metric"))
        pair = run.indices.to_numpy().astype(np.int64) * len(metric.dictionary) + metric.indices.to_numpy()
        pairs = pa.array(pair).dictionary_encode()
        of_pair, counts = pairs.indices.to_numpy(), np.bincount(pairs.indices.to_numpy())
        runs, metrics = run.dictionary.to_pylist(), metric.dictionary.to_pylist()
        numbers = [
            self._number((runs[code // len(metrics)], metrics[code % len(metrics)]), int(count))
            for code, count in zip(pairs.dictionary.to_pylist(), counts, strict=True)
        ]
        of_row: npt.NDArray[np.int32] = np.array(numbers, np.int32)[of_pair]
        return of_row

    def _number(self, name: tuple[str, str], count: int) -> int:
        number = self._known.setdefault(name, self._next)
        if number == self._next:
            self._next += 1
            self.counts[number] = count
        else:
            self.counts[number] += count
            self.scattered.add(number)
        return number


def _by_curve(curve: npt.NDArray[np.int32]) -> npt.NDArray[np.int64] | None:
    """The order that brings the points of each curve together and else changes nothing; None where they are."""
    if np.all(curve[1:] >= curve[:-1]):
        return None
    offset = curve - curve.min()
    # numpy sorts 16 bits by radix, many times as fast as more bits.
    return np.argsort(offset.astype(np.uint16) if offset.max() < 2**16 else offset, kind="stable")


def _out_of_order(points: pa.RecordBatch) -> set[int]:
    """The curves of a sorted batch whose points do not follow each other in step, time and value."""
    curve, step = points["curve"].to_numpy(), points["step"].to_numpy()
    time = points["timestamp"].to_numpy(zero_copy_only=False)
    # Points of one step and time are so rare that one looks no further.
    follows = (step[1:] > step[:-1]) | ((step[1:] == step[:-1]) & (time[1:] > time[:-1]))
    return set(curve[1:][(curve[1:] == curve[:-1]) & ~follows].tolist())


def _put_in_order(connection: duckdb.DuckDBPyConnection, numbers: _Numbers) -> None:
    scattered = {number: numbers.counts[number] for number in sorted(numbers.scattered)}
    if not scattered:
        return
    with registered(connection, "scattered", pa.table({"curve": pa.array(scattered, pa.int32())})):
        for part in _slices(scattered):
            ends = {"first": part.first, "last": part.last}
            connection.execute(_GATHER, ends)
            connection.execute(_TAKE_OUT, ends)
            connection.execute(_PUT_BACK)
        connection.execute("DROP TABLE gathered")


def _slices(counts: Mapping[int, int]) -> Iterator[Slice]:
    """Slices of curves with at most `_SLICE` points in all, or of one curve."""
    first, last, points = -1, -1, 0
    for number, count in counts.items():
        if first >= 0 and points + count > _SLICE:
            yield Slice(first, last)
            first, points = -1, 0
        first = number if first < 0 else first
        last, points = number, points + count
    if first >= 0:
        yield Slice(first, last)
