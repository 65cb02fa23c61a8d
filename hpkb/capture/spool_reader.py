"""Reads spools back, while they are written and afterwards; `hpkb.capture.spool` has the format.

What lies behind the last intact record may be a record that is being written. It is damage, and told, where that cannot
be: a length or a checksum is wrong, an intact record lies further on, a next segment has begun, the process has
recorded its end, or whoever reads knows that nobody writes any more (`conclude`). A kill in the very moment of a write
may leave a part of a record as well; nobody can tell it from a file that was cut, so it is told like one.
"""

import json
import os
import re
from typing import Any, BinaryIO, Dict, Iterator, List, Mapping, Optional, Tuple
from zlib import crc32

from .spool import (
    FRAME,
    MAGIC,
    MAX_PAYLOAD,
    POINTS,
    RESERVED,
    SHAPE,
    VALUE,
    Points,
    Record,
    segment,
    segments,
)

_CHUNK = 4 << 20  # bytes that are read at once
#: Where a record may begin: a length in its bounds (metric points stay below 1 MiB), a checksum, the payload's first
#: bytes. Texts hold no such place, since JSON has no byte that small.
_MAY_BEGIN = re.compile(rb"(?=..[\x00-\x0f]\x00....[KP]|...[\x00-\x10]....J\{)", re.DOTALL)


class SegmentReader:
    """Reads the intact records of one segment, and again those that came since, in bounded memory.

    `offset` is that behind the last intact record, `rest` how many bytes were behind it when it was last read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.offset = 0
        self.rest = 0
        self._damaged = False
        self._end_told = False
        self._names: Dict[int, List[str]] = {}

    @property
    def damage(self) -> Optional[str]:
        """A sentence where the rest is more than a record that is being written; None otherwise."""
        if not self._damaged:
            return None
        name = os.path.basename(self.path)
        if not self.offset:
            return f"{name} is no spool file of this version: its {self.rest} bytes cannot be read"
        return f"{name} is damaged at byte {self.offset}: {self.rest} bytes from there on cannot be read"

    def read(self) -> Iterator[Record]:
        """Yields every intact record that was not read before."""
        with open(self.path, "rb") as file:
            if not self._damaged:
                yield from self._intact(file)
            if self._damaged:
                self.rest = os.fstat(file.fileno()).st_size - self.offset

    def _intact(self, file: BinaryIO) -> Iterator[Record]:
        if self.offset == 0 and not self._skip_magic(file.read(len(MAGIC))):
            return
        file.seek(self.offset)
        data, start = b"", 0
        while True:
            payload, lacking = self._frame(data, start)
            if payload is None:
                more = file.read(max(lacking, _CHUNK)) if lacking else b""
                if more:
                    data, start = data[start:] + more, 0
                    continue
                self.rest = len(data) - start
                self._damaged = not lacking or _holds_record(data[start:])
                yield from self._end_in_place(file)
                return
            record = None if self._is_place(payload) else self._decode(payload)
            start += FRAME.size + len(payload)
            self.offset += FRAME.size + len(payload)
            if record is not None:
                yield record

    def _is_place(self, payload: bytes) -> bool:
        """Whether the record that comes next is the reserved one, or an end in its place: that is told at last."""
        first = self.offset == len(MAGIC) and len(payload) == RESERVED - FRAME.size
        return first and json.loads(payload[1:])["type"] in ("reserved", "end")

    def _end_in_place(self, file: BinaryIO) -> Iterator[Record]:
        """Yields the process's end, once, where it was written over the reserved record."""
        if not self._end_told:
            file.seek(len(MAGIC))
            payload, _ = self._frame(file.read(RESERVED), 0)
            if payload is not None and payload[:1] == b"J":
                record = json.loads(payload[1:])
                if record["type"] == "end":
                    self._end_told = True
                    yield record

    def conclude(self) -> None:
        """Takes the rest for damage, since nobody writes the segment any more; what has come since is no rest."""
        try:
            self._damaged |= self.rest > 0 and os.stat(self.path).st_size == self.offset + self.rest
        except FileNotFoundError:
            pass

    def _skip_magic(self, head: bytes) -> bool:
        if head == MAGIC:
            self.offset = len(MAGIC)
            return True
        self.rest = len(head)
        self._damaged = not MAGIC.startswith(head)
        return False

    def _frame(self, data: bytes, start: int) -> Tuple[Optional[bytes], int]:
        """Returns the next payload; else None and the bytes that it lacks, 0 where no record follows at all."""
        there = len(data) - start - FRAME.size
        if there < 0:
            return None, -there
        length, checksum = FRAME.unpack_from(data, start)
        if 0 < length <= MAX_PAYLOAD:
            if there < length:
                return None, length - there
            payload = data[start + FRAME.size : start + FRAME.size + length]
            if crc32(payload) == checksum and self._is_known(payload):
                return payload, 0
        return None, 0

    def _is_known(self, payload: bytes) -> bool:
        """Whether the names of the points in there were told before; True for everything else."""
        return payload[:1] != b"P" or SHAPE.unpack_from(payload)[1] in self._names

    def _decode(self, payload: bytes) -> Optional[Record]:
        kind = payload[:1]
        if kind == b"J":
            loaded: Dict[str, Any] = json.loads(payload[1:].decode("utf-8", "surrogatepass"))
            return loaded
        if kind == b"K":
            self._names[SHAPE.unpack_from(payload)[1]] = json.loads(payload[SHAPE.size :])
            return None
        _, shape, step, time = POINTS.unpack_from(payload)
        values = (value for (value,) in VALUE.iter_unpack(payload[POINTS.size :]))
        return Points(step, time, dict(zip(self._names[shape], values)))


class SpoolReader:
    """Reads the intact records of a stream, and again those that came since.

    `position` is that behind the last intact record: the offset in the file, further on by what the head of its
    segment says. What is behind damage in the same segment is not read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.begins = [0]  # the position of each segment that was come to
        self.compacted = [False]  # whether the shipper has taken the points out of it
        self._segment = SegmentReader(path)
        self._size: Optional[int] = None  # of a segment before its points were taken out
        self._ended = False
        self._damage: List[str] = []  # of the segments that were left behind

    @property
    def position(self) -> int:
        """The position behind the last intact record."""
        return self.begins[-1] + (self._segment.offset if self._size is None else self._size)

    @property
    def damage(self) -> Optional[str]:
        """What is damaged, in words; None where nothing is, or what is left may be a record that is being written."""
        last = self._segment.damage
        return "; ".join([*self._damage, last] if last else self._damage) or None

    def read(self) -> Iterator[Tuple[int, Record]]:
        """Yields (position behind the record, record) for every intact record not read before."""
        while True:
            following = segment(self.path, len(self.begins))
            complete = os.path.exists(following)  # asked first: what is written meanwhile is read
            for record in self._segment.read():
                if not isinstance(record, Points):
                    self._note(record)
                yield self.position, record
            if complete or self._ended:
                self._segment.conclude()
            if not complete:
                return
            if self._segment.damage:
                self._damage.append(self._segment.damage)
            self.begins.append(self.position)
            self.compacted.append(False)
            self._segment, self._size = SegmentReader(following), None

    def conclude(self) -> None:
        """Takes what is left behind the last intact record for damage, since nobody writes the stream any more."""
        self._segment.conclude()

    def _note(self, record: Mapping[str, Any]) -> None:
        if record.get("type") == "segment":
            self._enter(record)
        self._ended = self._ended or record.get("type") == "end"

    def _enter(self, head: Mapping[str, Any]) -> None:
        self.begins[-1] = int(head["begins"])
        self._size = head.get("size")
        self.compacted[-1] = self._size is not None


def head(path: str) -> Dict[str, Any]:
    """Returns the record that a segment begins with; empty for a stream's first until its points are taken out."""
    first = next(SegmentReader(path).read(), None)
    return first if isinstance(first, dict) and first.get("type") == "segment" else {}


def stream_end(path: str) -> int:
    """Returns the position behind the last byte of a stream, 0 for one that has just been shipped and removed."""
    try:
        last = segments(path)[-1]
        said = head(last) if last != path else {}
        return int(said.get("begins") or 0) + int(said.get("size") or os.stat(last).st_size)
    except (IndexError, FileNotFoundError):
        return 0


def _holds_record(data: bytes) -> bool:
    """Whether an intact record begins anywhere in there, but at the first byte."""
    for place in _MAY_BEGIN.finditer(data, 1):
        length, checksum = FRAME.unpack_from(data, place.start())
        begin = place.start() + FRAME.size
        if begin + length <= len(data) and crc32(data[begin : begin + length]) == checksum:
            return True
    return False
