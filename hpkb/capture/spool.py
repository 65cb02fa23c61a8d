"""The spool: append-only, one stream a process, each record with the operating system when `write` returns.

    stream  = NAME.spool NAME.spool.1 NAME.spool.2 ...      segments; all but the last are complete
    segment = MAGIC record*
    record  = length:u32  crc32(payload):u32  payload       (little endian)
    payload = b"J" json                                     everything that is not a metric point
            | b"K" shape:u32 json                           gives the names that come together in one step a number
            | b"P" shape:u32 step:i64 time:f64 value:f64*   the points of one step; time in seconds since 1970

Metric points are binary because they are the only records inside the training loop: packing five of them costs
about a microsecond, JSON several. A record goes out in one `os.write` without a buffer of our own, so `kill -9`
right after it loses nothing; a record that was cut short is recognised by its length or its checksum.

Segments are there so that a run of months stays small on disk: once MLflow has a whole segment, the shipper puts its
points into a Parquet file (`hpkb.ship.compaction`). A stream has a bound: where the shipper cannot keep up for so long
that the process has `limit` bytes on disk, points are refused until there is room; other records are always written.

The first record of a segment only keeps a place free: where the disk is full to the end, the process's end, which says
how much was lost, is written over it, since that needs no room.
"""

import errno
import itertools
import json
import os
import struct
from operator import itemgetter
from os import write
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple, Union
from zlib import crc32

from .baton import Baton, interrupted

SCHEMA = 1
MAGIC = b"hpkb\x02\r\n\x00"
SUFFIX = ".spool"

FRAME = struct.Struct("<II")
SHAPE = struct.Struct("<cI")
POINTS = struct.Struct("<cIqd")
VALUE = struct.Struct("<d")
MAX_PAYLOAD = 1 << 28
RESERVED = 512  # bytes of the record that keeps a place free, all in the file's first page
_MAX_SHAPES = 1000  # kept in memory; a script that never logs the same names twice costs no more than that
_SEGMENT = 64 << 20  # bytes of points in a segment
_SEGMENTS = 8  # that a stream's bound is at least divided into, so that the shipper can make room
_LONGEST = 40  # characters of the reason of an end that is written over the reserved record
_ENDLESS = 1 << 62
_GAP = 1 << 20  # positions between two segments, for what a signal handler may still write into the first of them
_ASK_AGAIN = 1000  # refused points after which it is looked for room again
LIMIT = 4 << 30  # bytes that a process may have on disk; HPKB_SPOOL_LIMIT sets another number

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC

_pack_frame = FRAME.pack


class Points(NamedTuple):
    """The metric points of one step. `time` is in seconds since 1970."""

    step: int
    time: float
    values: Dict[str, float]


Record = Union[Dict[str, Any], Points]


#: What makes a record of points with certain names: what takes their values out of a dict, the first bytes of the
#: payload, what packs it, its length and that of the record. A plain tuple, since it is read at every step.
Shape = Tuple[Callable[[Dict[str, float]], Tuple[float, ...]], bytes, Callable[..., bytes], int, int]


class SpoolWriter:
    """Appends records to one file. Safe to call from several threads; raises OSError when the disk does.

    Every record is one `write`, so a signal handler may write its own between any two instructions of ours. One thread
    writes at a time: the one that has the baton, whose value is how many bytes of points the segment still takes.
    """

    def __init__(self, path: str, header: Mapping[str, Any], limit: Optional[int] = None) -> None:
        """Begins the stream; without a limit it is one segment without end."""
        self.path = path
        self._shapes: Dict[Tuple[str, ...], Shape] = {}
        self._recent: Dict[int, Shape] = {}  # the last one by the number of names: mostly the next as well
        self._numbers = itertools.count()
        self._header = {"schema": SCHEMA, **header}
        self._limit = limit or _ENDLESS
        self._most = min(_SEGMENT, self._limit // _SEGMENTS) if limit else _ENDLESS
        self._baton = Baton(self._most)
        self._number = self._begins = self._refused = 0
        self._fd = os.open(path, _FLAGS, 0o600)
        write_all(self._fd, MAGIC + in_place({"type": "reserved"}))
        self.write({"type": "header", **self._header})

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends a JSON record; values that JSON does not know are written as their text."""
        try:
            self._append(json_payload(record))
        except OSError as error:
            if record.get("type") != "end" or error.errno not in _FULL:
                raise
            self._overwrite(in_place({**record, "reason": str(record.get("reason"))[:_LONGEST]}))

    def points(self, step: int, time: float, values: Dict[str, float]) -> None:
        """Appends the points of one step in one record. Its speed is the loop's: no call that could be spared.

        `values` is a plain dict: others may make up what they are asked for.
        """
        baton: List[int] = self._baton
        try:
            left = baton.pop()
        except IndexError:
            baton, left = self._wait()
        try:
            if left <= 0:
                left = self._make_room()
            try:
                taken_out, lead, pack, length, whole = self._recent[len(values)]
                numbers = taken_out(values)
            except KeyError:
                taken_out, lead, pack, length, whole = self._shape((*values,))
                numbers = taken_out(values)
            payload = pack(lead, step, time, *numbers)
            written = write(self._fd, _pack_frame(length, crc32(payload)) + payload)
            left -= written
            if written < whole:
                self._take_back(written)
        finally:
            baton.append(left)

    def names(self) -> Set[str]:
        """Returns the names of the metrics written so far."""
        return {name for names in list(self._shapes) for name in names}

    def close(self) -> None:
        """Closes the file; later writes raise OSError."""
        baton, left = self._wait()
        try:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)
        finally:
            baton.append(left)

    def _make_room(self) -> int:
        """Goes on in the next segment, and returns what it takes; raises OSError where the stream may not grow."""
        if self._refused % _ASK_AGAIN == 0:
            held = sum(os.stat(path).st_size for path in segments(self.path))
            if held + self._most <= self._limit:
                self._refused = 0
                self._turn()
                return self._most
        self._refused += 1
        raise OSError(errno.EDQUOT, "the spool of this process is full, see HPKB_SPOOL_LIMIT")

    def _turn(self) -> None:
        """Opens the next segment; where that fails, this one goes on."""
        self._begins += os.fstat(self._fd).st_size + _GAP
        path = segment(self.path, self._number + 1)
        try:
            fd = os.open(path + ".new", _FLAGS, 0o600)
        except OSError:
            return
        try:
            head = {"type": "segment", "begins": self._begins, **self._header}
            write_all(fd, MAGIC + in_place({"type": "reserved"}) + framed(json_payload(head)))
            os.rename(path + ".new", path)
        except OSError:
            os.close(fd)
            os.unlink(path + ".new")
            return
        self._forget_shapes()
        old, self._fd = self._fd, fd
        self._forget_shapes()  # those that a signal handler has told in the old segment
        self._number += 1
        os.close(old)

    def _wait(self) -> Tuple[List[int], int]:
        """Returns the baton, taken, and its number; one that stays away for too long is replaced.

        Who interrupts a write in its own thread goes ahead without it, and never into the next segment.
        """
        if interrupted(self, _HOLDING, _WAITING):
            return [], _ENDLESS
        baton = self._baton
        left = baton.wait()
        if left is None:
            baton = self._baton = Baton(left := self._most)
            baton.pop()
        return baton, left

    def _shape(self, names: Tuple[str, ...]) -> Shape:
        """Returns the shape of the records with these names; a new one is told first."""
        shape = self._shapes.get(names)
        if shape is None:
            if not all(isinstance(name, str) for name in names):
                raise TypeError("the name of a metric is a text")
            if len(self._shapes) >= _MAX_SHAPES:
                self._forget_shapes()
            number = next(self._numbers)
            self._put(SHAPE.pack(b"K", number) + json.dumps(names).encode("ascii"))
            shape = self._shapes[names] = _shape(names, number)
        self._recent[len(names)] = shape
        return shape

    def _forget_shapes(self) -> None:
        self._shapes.clear()
        self._recent.clear()

    def _append(self, payload: bytes) -> None:
        baton, left = self._wait()
        try:
            self._put(payload)
        finally:
            baton.append(left)

    def _put(self, payload: bytes) -> None:
        frame = framed(payload)
        written = write(self._fd, frame)
        if written < len(frame):
            self._take_back(written)

    def _overwrite(self, frame: bytes) -> None:
        """Writes a record over the reserved one. The segment is opened anew: in one for appending, Linux appends."""
        fd = os.open(segment(self.path, self._number), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, frame, len(MAGIC))
        finally:
            os.close(fd)

    def _take_back(self, written: int) -> None:
        """Removes the part of a record that a nearly full disk has taken, so that later ones can be read; raises."""
        os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


_HOLDING = {method.__code__ for method in (SpoolWriter.points, SpoolWriter._append, SpoolWriter.close)}
_WAITING = SpoolWriter._wait.__code__


def _shape(names: Tuple[str, ...], number: int) -> Shape:
    packed = struct.Struct(f"<{SHAPE.size}sqd{len(names)}d")  # the same bytes as `POINTS` and the values
    taken_out = itemgetter(*names) if len(names) > 1 else lambda values: tuple(values[name] for name in names)
    return taken_out, SHAPE.pack(b"P", number), packed.pack, packed.size, FRAME.size + packed.size


def limit(environ: Mapping[str, str]) -> int:
    """Returns how many bytes a process may have in the spool."""
    return size(environ.get("HPKB_SPOOL_LIMIT"), LIMIT)


def size(text: Optional[str], default: int) -> int:
    """Returns the bytes that a text means (`500M`, `4G`; powers of 1024), the default where it means none."""
    digits = (text or "").strip().upper().rstrip("B")
    scale = {"K": 10, "M": 20, "G": 30, "T": 40}.get(digits[-1:], 0)
    try:
        number = float(digits[:-1] if scale else digits)
        return int(number * (1 << scale)) if 0 < number < _ENDLESS >> scale else default
    except ValueError:
        return default


def segment(path: str, number: int) -> str:
    """Returns the path of a stream's segment, counted from 0."""
    return f"{path}.{number}" if number else path


def segments(path: str) -> List[str]:
    """Returns the paths of a stream's segments that are there, in order."""
    found: List[str] = []
    while os.path.exists(segment(path, len(found))):
        found.append(segment(path, len(found)))
    return found


def json_payload(record: Mapping[str, Any]) -> bytes:
    """Returns the payload of a JSON record; values that JSON does not know become their text."""
    return b"J" + json.dumps(record, default=str, separators=(",", ":")).encode("utf-8", "surrogatepass")


def in_place(record: Mapping[str, Any]) -> bytes:
    """Returns a JSON record of just the length that is reserved for it; raises ValueError where it is longer."""
    room = RESERVED - FRAME.size
    payload = json_payload(record).ljust(room)
    if len(payload) > room:
        raise ValueError(f"a record of {len(payload)} bytes does not fit into {room}")
    return framed(payload)


def framed(payload: bytes) -> bytes:
    """Returns a record with this payload."""
    return _pack_frame(len(payload), crc32(payload)) + payload


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it; raises OSError where the disk has no room for it."""
    while data:
        data = data[write(fd, data) :]
