"""The points of curves, put into the knowledge base: sorted, under the number of their curve instead of two names.

`curve_points` keeps the points of a curve together, in the order of step, time and value; the features rely on that.
A batch that comes in is sorted by curve, which is all that is needed for one that has its points together. The points
of one that comes in pieces or out of order are put together at the end.

Points come in slices of some millions. Whatever is to be made of a slice's curves is made while the source is being
read on, since reading keeps one core busy and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hpkb.kb.read_ahead import read_ahead
from hpkb.kb.staging import registered
from hpkb.sources import INTEGER, REAL, TIME, schema

_POINTS = schema(curve=pa.int32(), step=INTEGER, timestamp=TIME, value=REAL)
_SLICE = 2_000_000  # points that a statement holds at once, if no single curve has more
_AHEAD = 10  # batches that are read while those before are being put away, some megabytes each

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
    """Curves whose numbers follow each other, first and last included; `points` that came in with them now.

    `again`: they, or some of them, were in an earlier slice, before all of their points were there.
    """

    first: int
    last: int
    points: int
    again: bool = False


def add_curves(connection: duckdb.DuckDBPyConnection, batches: Iterator[pa.RecordBatch]) -> Iterator[Slice]:
    """Puts points as a source yields them into the knowledge base, and yields the curves that are complete by then."""
    numbers = _Numbers(int(connection.execute(_NEXT).fetchall()[0][0]))
    begin = numbers.first
    with read_ahead(numbers.batches(batches), _AHEAD) as numbered:
        for part in _parts(numbered):
            reached = _Reached(begin)
            points = pa.RecordBatchReader.from_batches(_POINTS, reached.batches(part))
            with registered(connection, "staged_points", points):
                connection.execute(_ADD_POINTS)
            _add_names(connection, numbers)
            if not numbers.scattered:  # else some of these may not be complete
                yield from _slices({n: numbers.counts[n] for n in range(begin, reached.newest)})
                begin = reached.newest
    _add_names(connection, numbers)
    _put_in_order(connection, numbers)
    seen = {n: 0 for n in sorted(numbers.scattered) if n < begin}
    yield from (Slice(n, n, 0, again=True) for n in seen)
    yield from _slices({n: numbers.counts[n] for n in range(begin, numbers.first + len(numbers.counts))})


def _parts(batches: Iterator[pa.RecordBatch]) -> Iterator[Iterator[pa.RecordBatch]]:
    """The batches in turns of at least as many points as a slice has, each turn an iterator to be used up."""
    for batch in batches:
        yield chain([batch], _turn(batches, _SLICE - batch.num_rows))


def _turn(batches: Iterator[pa.RecordBatch], missing: int) -> Iterator[pa.RecordBatch]:
    while missing > 0 and (batch := next(batches, None)) is not None:
        missing -= batch.num_rows
        yield batch


class _Reached:
    """Which is the newest curve among the batches that went by: the next batch may go on with it."""

    def __init__(self, newest: int) -> None:
        self.newest = newest

    def batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields the batches as they are."""
        for batch in batches:
            self.newest = max(self.newest, batch["curve"][-1].as_py())
            yield batch


def _add_names(connection: duckdb.DuckDBPyConnection, numbers: _Numbers) -> None:
    with registered(connection, "staged_names", numbers.new_names()):
        connection.execute(_ADD_NAMES)


def forget_curves(connection: duckdb.DuckDBPyConnection) -> None:
    """Deletes the curves of the runs that the temporary table `changes` calls changed or removed."""
    for statement in _FORGET:
        connection.execute(statement)


class _Numbers:
    """Numbers curves in the order in which they come, from `first` on, and sorts batches by them."""

    def __init__(self, first: int) -> None:
        self.first = first
        self._known: dict[tuple[str, str], int] = {}
        self._names: list[tuple[str, str]] = []  # in the order of the numbers; grows while another thread reads it
        self._given = 0
        self.counts: dict[int, int] = {}  # points by curve
        self.scattered: set[int] = set()  # curves that came in pieces or out of order

    def new_names(self) -> pa.Table:
        """Returns a row per curve that no earlier call gave: its number, run and metric."""
        names = self._names[self._given :]
        numbers = range(self.first + self._given, self.first + self._given + len(names))
        self._given += len(names)
        runs, metrics = zip(*names, strict=True) if names else ((), ())
        columns = [pa.array(numbers, pa.int32()), pa.array(runs, pa.string()), pa.array(metrics, pa.string())]
        return pa.table(columns, ["curve", "run_id", "metric"])

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
        number = self._known.setdefault(name, self.first + len(self._names))
        if number == self.first + len(self._names):
            self.counts[number] = count
            self._names.append(name)
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
            yield Slice(first, last, points)
            first, points = -1, 0
        first = number if first < 0 else first
        last, points = number, points + count
    if first >= 0:
        yield Slice(first, last, points)
