"""Segments of a spool that MLflow has whole give their points to a Parquet file, so that long runs stay small on disk.

The points go into `SEGMENT.parquet`, for the whole curves at the end of the run. What remains of the segment is its
other records, of which a shipper that takes over judges the run, and a head that says how many steps there were and
which positions the segment had. Putting that in the segment's place is one rename; a crash before it leaves the segment
as it was and a Parquet file that is written again.

The supervisor's spool has no segments: it is small, and it is read whole by all who ask whether the job has ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpkb import curve_file
from hpkb.capture.spool import MAGIC, Points, framed, json_payload, segment, segments, write_all
from hpkb.capture.spool_reader import SegmentReader, SpoolReader, head
from hpkb.ship.curves import write_file
from hpkb.ship.durability import to_disk

_PART = ".parquet"


def compact(reader: SpoolReader, acknowledged: int, keep_points: bool) -> None:
    """Compacts the segments that the reader has left behind and the store has acknowledged whole.

    A disk that is full leaves them as they are. A damaged stream is not touched: it is put aside at the end.
    """
    if reader.damage:
        return
    with suppress(OSError):
        for number, follows in enumerate(reader.begins[1:]):
            if not reader.compacted[number] and acknowledged >= follows:
                _compact(Path(segment(reader.path, number)), reader.begins[number], keep_points)
                reader.compacted[number] = True


def waits(reader: SpoolReader, acknowledged: int) -> bool:
    """Whether there is a segment that can be compacted."""
    ready = (not done and acknowledged >= at for done, at in zip(reader.compacted, reader.begins[1:], strict=False))
    return not reader.damage and any(ready)


def contents(spool: Path) -> Iterator[Points | pa.RecordBatch]:
    """Yields the points of a stream in their order, those of compacted segments as they are in their files."""
    for path in map(Path, segments(str(spool))):
        part = path.with_name(path.name + _PART)
        if _is_compacted(path):
            if part.exists():
                yield from curve_file.read(part)
            continue
        for record in SegmentReader(str(path)).read():
            if isinstance(record, Points):
                yield record


def remove(spool: Path) -> None:
    """Removes a stream, its last segments first, so that what a crash leaves is a stream."""
    for path in reversed(segments(str(spool))):
        Path(path + _PART).unlink(missing_ok=True)
        Path(path).unlink()


def put_aside(spool: Path) -> None:
    """Renames a damaged stream, so that nobody takes it for one to be shipped."""
    for path in reversed(segments(str(spool))):
        os.rename(path, f"{path}.damaged")


def _compact(path: Path, begins: int, keep_points: bool) -> None:
    if keep_points:
        part = write_file(path.parent, _steps(path), path.name + _PART + ".new")
        to_disk(part)
        part.rename(path.with_name(path.name + _PART))
    told: dict[str, Any] = {"type": "segment", "begins": begins, "size": path.stat().st_size, "points": 0, "until": 0.0}
    others = []
    for record in SegmentReader(str(path)).read():
        if isinstance(record, Points):
            told["points"] += 1
            told["until"] = max(told["until"], record.time)
        elif record.get("type") != "segment":
            others.append(framed(json_payload(record)))
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, b"".join((MAGIC, framed(json_payload(told)), *others)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.rename(path)


def _steps(path: Path) -> Iterator[Points]:
    return (record for record in SegmentReader(str(path)).read() if isinstance(record, Points))


def _is_compacted(path: Path) -> bool:
    return "size" in head(str(path))
