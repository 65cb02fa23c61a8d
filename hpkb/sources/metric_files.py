"""The points in the metric files of an MLflow file store: `timestamp value step` a line, parsed many files at a time.

Lines of the first years have no step; MLflow takes 0 for it. Lines of a metric that belongs to a data set have two more
fields. What is regular goes through Arrow's parser of CSV, several files glued together; a file that is not regular
is parsed alone and, if need be, line by line, so that one bad line costs nothing but itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from hpkb.sources import INTEGER, REAL, TEXT, schema

BLOCK = 4_000_000  # bytes that are parsed at a time, some 100,000 points
_BOUND = 2**63  # of timestamps and steps
_THREADS = 2  # parsing lets go of Python's lock; more of them need more memory and were no faster on two cores

_POINTS = schema(run_id=TEXT, metric=TEXT, step=INTEGER, timestamp=INTEGER, value=REAL)
_WIDTHS = (2, 3, 5)  # the numbers of fields that a line may have
_COLUMNS = schema(timestamp=INTEGER, value=REAL, step=INTEGER, dataset=TEXT, digest=TEXT)


@dataclass(frozen=True, slots=True)
class Piece:
    """The lines that begin within a range of bytes of one metric's file."""

    run_id: str
    metric: str
    path: str
    start: int
    end: int


@dataclass
class Parsed:
    """Points, and what was found that is none, or not as it should be."""

    points: pa.Table
    unfinished_lines: int = 0
    bad_lines: int = 0
    cut_steps: int = 0
    missing_files: int = 0


def parsed(pieces: Iterable[Piece]) -> Iterator[Parsed]:
    """Yields the points of all pieces, in batches of bounded size and in their order; a few batches are read ahead."""
    ahead: deque[Future[Parsed]] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="hpkb-metrics")
    try:
        for batch in _batches(pieces):
            ahead.append(pool.submit(_parse, batch))
            if len(ahead) > _THREADS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def split(run_id: str, metric: str, path: str, size: int) -> Iterator[Piece]:
    """Yields the pieces of a file, none larger than a batch."""
    for start in range(0, size, BLOCK):
        yield Piece(run_id, metric, path, start, min(start + BLOCK, size))


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        if batch and size + piece.end - piece.start > BLOCK:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.end - piece.start
    if batch:
        yield batch


def _parse(pieces: Sequence[Piece]) -> Parsed:
    result = Parsed(_POINTS.empty_table())
    by_width: dict[int, list[tuple[Piece, bytes]]] = {}
    for piece in pieces:
        try:
            lines, unfinished = _whole_lines(piece)
        except OSError:
            result.missing_files += 1
            continue
        result.unfinished_lines += unfinished
        if lines:
            by_width.setdefault(_width(lines), []).append((piece, lines))
    tables = [table for width, members in by_width.items() for table in _tables(width, members, result)]
    if tables:
        result.points = pa.concat_tables(tables)
    return result


def _whole_lines(piece: Piece) -> tuple[bytes, bool]:
    """The lines that begin in the piece, and whether one more was left because its end has not been written."""
    with Path(piece.path).open("rb") as file:
        before = min(piece.start, 1)
        file.seek(piece.start - before)
        content = file.read(piece.end - piece.start + before)
        tail = b"" if content.endswith(b"\n") else file.readline()
    if before:
        content = content.partition(b"\n")[2]
        if not content:  # the line before fills the whole piece, its own piece has it
            return b"", False
    whole = content + tail
    if whole.endswith(b"\n") or not whole:
        return whole, False
    return whole[: whole.rfind(b"\n") + 1], True


def _width(lines: bytes) -> int:
    """How many fields the first line has."""
    return lines[: lines.find(b"\n")].count(b" ") + 1


def _tables(width: int, members: Sequence[tuple[Piece, bytes]], result: Parsed) -> Iterator[pa.Table]:
    table = _regular(width, members)
    if table is not None:
        yield table
    elif len(members) > 1:
        for member in members:
            yield from _tables(width, [member], result)
    else:
        yield _line_by_line(*members[0], result)


def _regular(width: int, members: Sequence[tuple[Piece, bytes]]) -> pa.Table | None:
    """The points, or None where any line is not as the others are."""
    if width not in _WIDTHS:
        return None
    names = _COLUMNS.names[:width]
    counts = [lines.count(b"\n") for _, lines in members]
    try:
        columns = pa.csv.read_csv(
            pa.py_buffer(b"".join(lines for _, lines in members)),
            pa.csv.ReadOptions(column_names=names, use_threads=False, block_size=2 * BLOCK),
            pa.csv.ParseOptions(delimiter=" ", quote_char=False, ignore_empty_lines=False),
            pa.csv.ConvertOptions(
                column_types=_COLUMNS, null_values=[], strings_can_be_null=False, include_columns=names[:3]
            ),
        )
    except pa.ArrowInvalid:
        return None
    if columns.num_rows != sum(counts):  # a lone carriage return ends a line too, for Arrow
        return None
    step = columns["step"] if width > 2 else pa.repeat(pa.scalar(0, INTEGER), columns.num_rows)
    return _table([piece for piece, _ in members], counts, step, columns["timestamp"], columns["value"])


def _line_by_line(piece: Piece, lines: bytes, result: Parsed) -> pa.Table:
    steps, times, values = [], [], []
    for line in lines.splitlines():
        try:
            time, value, step = _point(line.decode("utf-8", "replace").strip().split(" "))
        except (ValueError, OverflowError):
            result.bad_lines += 1
            continue
        steps.append(int(step))
        times.append(time)
        values.append(value)
        result.cut_steps += step != int(step)
    arrays = pa.array(steps, INTEGER), pa.array(times, INTEGER), pa.array(values, REAL)
    return _table([piece], [len(steps)], *arrays)


def _point(fields: Sequence[str]) -> tuple[int, float, float]:
    """Timestamp, value and step; raises ValueError or OverflowError where they are none that can be kept."""
    if len(fields) not in _WIDTHS:
        raise ValueError
    time, step = int(fields[0]), fields[2] if len(fields) > 2 else "0"
    number = int(step) if step.removeprefix("-").isdecimal() else float(step)
    if not (-_BOUND <= time < _BOUND and -_BOUND <= number < _BOUND):
        raise OverflowError
    return time, float(fields[1]), number


def _table(
    pieces: Sequence[Piece], counts: Sequence[int], step: pa.Array, timestamp: pa.Array, value: pa.Array
) -> pa.Table:
    names = [pa.array([getattr(piece, name) for piece in pieces], TEXT) for name in ("run_id", "metric")]
    which = np.repeat(np.arange(len(pieces)), counts)
    return pa.Table.from_arrays([*(name.take(which) for name in names), step, timestamp, value], schema=_POINTS)
