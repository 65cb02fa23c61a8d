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
"""

import errno
import json
import os
import struct
import threading
from os import write
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple, Union
from zlib import crc32

SCHEMA = 1
MAGIC = b"hpkb\x02\r\n\x00"
SUFFIX = ".spool"

FRAME = struct.Struct("<II")
SHAPE = struct.Struct("<cI")
POINTS = struct.Struct("<cIqd")
VALUE = struct.Struct("<d")
MAX_PAYLOAD = 1 << 28
_MAX_SHAPES = 1000  # kept in memory; a script that never logs the same names twice costs no more than that
_PATIENCE = 1.0  # seconds after which a lock is taken for lost
_SEGMENT = 64 << 20  # bytes of points in a segment
_SEGMENTS = 8  # that a stream's bound is at least divided into, so that the shipper can make room
_ENDLESS = 1 << 62
_GAP = 1 << 20  # positions between two segments, for what a signal handler may still write into the first of them
_ASK_AGAIN = 1000  # refused points after which it is looked for room again
LIMIT = 4 << 30  # bytes that a process may have on disk; HPKB_SPOOL_LIMIT sets another number

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC

_pack_frame = FRAME.pack


class Points(NamedTuple):
    """The metric points of one step. `time` is in seconds since 1970."""

    step: int
    time: float
    values: Dict[str, float]


Record = Union[Dict[str, Any], Points]


class SpoolWriter:
    """Appends records to one file. Safe to call from several threads; raises OSError when the disk does.

    Every record is one `write`, so a signal handler may write its own between any two instructions of ours.
    """

    def __init__(self, path: str, header: Mapping[str, Any], limit: Optional[int] = None) -> None:
        """Begins the stream; without a limit it is one segment without end."""
        self.path = path
        self._lock = threading.RLock()
        self._shapes: Dict[Tuple[str, ...], Tuple[int, int, Callable[..., bytes]]] = {}
        self._next_shape = 0
        self._header = {"schema": SCHEMA, **header}
        self._limit = limit or _ENDLESS
        self._most = min(_SEGMENT, self._limit // _SEGMENTS) if limit else _ENDLESS
        self._left = self._most  # bytes of points until the next segment
        self._number = self._begins = self._refused = 0
        self._fd = os.open(path, _FLAGS, 0o600)
        write(self._fd, MAGIC)
        self.write({"type": "header", **self._header})

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends a JSON record; values that JSON does not know are written as their text."""
        self._append(json_payload(record))

    def points(self, step: int, time: float, values: Mapping[str, float]) -> None:
        """Appends the points of one step in one record. Its speed is the loop's: no call that could be spared."""
        lock = self._lock
        if not lock.acquire(False):
            lock = self._wait()
        try:
            if self._left <= 0:
                self._make_room()
            try:
                length, shape, pack = self._shapes[tuple(values)]
            except KeyError:
                length, shape, pack = self._new_shape(tuple(values))
            payload = pack(b"P", shape, step, time, *values.values())
            written = write(self._fd, _pack_frame(length, crc32(payload)) + payload)
            self._left -= written
            if written < length + FRAME.size:
                self._take_back(written)
        finally:
            lock.release()

    def names(self) -> Set[str]:
        """Returns the names of the metrics written so far."""
        return {name for names in list(self._shapes) for name in names}

    def close(self) -> None:
        """Closes the file; later writes raise OSError."""
        lock = self._wait()
        try:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)
        finally:
            lock.release()

    def _make_room(self) -> None:
        """Goes on in the next segment; raises OSError where the stream has as much on disk as it may have."""
        if self._refused % _ASK_AGAIN == 0:
            held = sum(os.stat(path).st_size for path in segments(self.path))
            if held + self._most <= self._limit:
                self._refused = 0
                self._turn()
                return
        self._refused += 1
        raise OSError(errno.EDQUOT, "the spool of this process is full, see HPKB_SPOOL_LIMIT")

    def _turn(self) -> None:
        """Opens the next segment; where that fails, this one goes on."""
        self._left = self._most
        self._begins += os.fstat(self._fd).st_size + _GAP
        path = segment(self.path, self._number + 1)
        try:
            fd = os.open(path + ".new", _FLAGS, 0o600)
        except OSError:
            return
        try:
            head = {"type": "segment", "begins": self._begins, **self._header}
            write_all(fd, MAGIC + framed(json_payload(head)))
            os.rename(path + ".new", path)
        except OSError:
            os.close(fd)
            os.unlink(path + ".new")
            return
        old, self._fd = self._fd, fd
        self._shapes.clear()
        self._number += 1
        os.close(old)

    def _wait(self) -> Any:
        """Returns the lock, held. One that is held for too long is replaced.

        An exception raised by a signal handler (Ctrl-C) in the very moment after a lock was taken leaves it taken.
        """
        lock = self._lock
        if lock.acquire(timeout=_PATIENCE):
            return lock
        fresh = self._lock = threading.RLock()
        fresh.acquire()
        return fresh

    def _new_shape(self, names: Tuple[str, ...]) -> Tuple[int, int, Callable[..., bytes]]:
        """Returns (length of the payload, number, packing function) of the records with these names, told first."""
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        number = self._next_shape
        self._next_shape += 1
        self._append(SHAPE.pack(b"K", number) + json.dumps(names).encode("ascii"))
        packed = struct.Struct(POINTS.format + "d" * len(names))
        shape = self._shapes[names] = packed.size, number, packed.pack
        return shape

    def _append(self, payload: bytes) -> None:
        lock = self._wait()
        try:
            frame = framed(payload)
            written = write(self._fd, frame)
            if written < len(frame):
                self._take_back(written)
        finally:
            lock.release()

    def _take_back(self, written: int) -> None:
        """Removes the part of a record that a nearly full disk has taken, so that later ones can be read; raises."""
        os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


def framed(payload: bytes) -> bytes:
    """Returns a record with this payload."""
    return _pack_frame(len(payload), crc32(payload)) + payload


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it; raises OSError where the disk has no room for it."""
    while data:
        data = data[write(fd, data) :]
