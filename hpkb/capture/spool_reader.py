"""Reads spools back, while they are written and afterwards; `hpkb.capture.spool` has the format."""

import json
import os
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple
from zlib import crc32

from .spool import FRAME, MAGIC, MAX_PAYLOAD, POINTS, SHAPE, VALUE, Points, Record, segment, segments

_CHUNK = 4 << 20  # bytes that are read at once


class SegmentReader:
    """Reads the complete records of one segment, and again those that came since, in bounded memory.

    `offset` is that behind the last complete record, `damage` a sentence when the file holds bytes that are no record
    and are not simply the record now being written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.offset = 0
        self.damage: Optional[str] = None
        self._names: Dict[int, List[str]] = {}

    def read(self) -> Iterator[Record]:
        """Yields every complete record that was not read before."""
        with open(self.path, "rb") as file:
            if self.offset == 0 and not self._skip_magic(file.read(len(MAGIC))):
                return
            file.seek(self.offset)
            data, start = b"", 0
            while True:
                payload, lacking = self._frame(data, start)
                if payload is None:
                    more = file.read(max(lacking, _CHUNK)) if lacking else b""
                    if not more:
                        return
                    data, start = data[start:] + more, 0
                    continue
                start += FRAME.size + len(payload)
                self.offset += FRAME.size + len(payload)
                record = self._decode(payload)
                if record is not None:
                    yield record

    def _skip_magic(self, head: bytes) -> bool:
        if head == MAGIC:
            self.offset = len(MAGIC)
            return True
        if not MAGIC.startswith(head):
            self.damage = f"{os.path.basename(self.path)} is not a spool file of this version"
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
            if crc32(payload) == checksum:
                return payload, 0
        self.damage = f"{os.path.basename(self.path)} is damaged at byte {self.offset}"
        return None, 0

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
    """Reads the complete records of a stream, and again those that came since.

    `position` is that behind the last complete record: the offset in the file, further on by what the head of its
    segment says. `damage` is a sentence where bytes are no record; what is behind them in the same segment is not
    read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.begins = [0]  # the position of each segment that was come to
        self.compacted = [False]  # whether the shipper has taken the points out of it
        self.damage: Optional[str] = None
        self._segment = SegmentReader(path)
        self._size: Optional[int] = None  # of a segment before its points were taken out

    @property
    def position(self) -> int:
        """The position behind the last complete record."""
        return self.begins[-1] + (self._segment.offset if self._size is None else self._size)

    def read(self) -> Iterator[Tuple[int, Record]]:
        """Yields (position behind the record, record) for every complete record not read before."""
        while True:
            following = segment(self.path, len(self.begins))
            complete = os.path.exists(following)  # asked first: what is written meanwhile is read
            for record in self._segment.read():
                if not isinstance(record, Points) and record.get("type") == "segment":
                    self._enter(record)
                yield self.position, record
            self.damage = self.damage or self._segment.damage
            if not complete:
                return
            self.begins.append(self.position)
            self.compacted.append(False)
            self._segment, self._size = SegmentReader(following), None

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
