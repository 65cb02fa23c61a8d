"""The spool file: append-only, one a process, each record with the operating system when `write` returns.

    file    = MAGIC record*
    record  = length:u32  crc32(payload):u32  payload       (little endian)
    payload = b"J" json                                     everything that is not a metric point
            | b"K" shape:u32 json                           gives the names that come together in one step a number
            | b"P" shape:u32 step:i64 time:f64 value:f64*   the points of one step; time in seconds since 1970

Metric points are binary because they are the only records inside the training loop: packing five of them costs
about a microsecond, JSON several. A record goes out in one `os.write` without a buffer of our own, so `kill -9`
right after it loses nothing; a record that was cut short is recognised by its length or its checksum.
"""

import errno
import json
import os
import struct
import threading
from os import write
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple, Union
from zlib import crc32

SCHEMA = 1
MAGIC = b"hpkb\x02\r\n\x00"
SUFFIX = ".spool"

_FRAME = struct.Struct("<II")
_SHAPE = struct.Struct("<cI")
_POINTS = struct.Struct("<cIqd")
_VALUE = struct.Struct("<d")
_MAX_PAYLOAD = 1 << 28
_MAX_SHAPES = 1000  # kept in memory; a script that never logs the same names twice costs no more than that
_PATIENCE = 1.0  # seconds after which a lock is taken for lost

_pack_frame = _FRAME.pack


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

    def __init__(self, path: str, header: Mapping[str, Any]) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._shapes: Dict[Tuple[str, ...], Tuple[int, int, Callable[..., bytes]]] = {}
        self._next_shape = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        write(self._fd, MAGIC)
        self.write({"type": "header", "schema": SCHEMA, **header})

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends a JSON record; values that JSON does not know are written as their text."""
        self._append(b"J" + json.dumps(record, default=str, separators=(",", ":")).encode("utf-8", "surrogatepass"))

    def points(self, step: int, time: float, values: Mapping[str, float]) -> None:
        """Appends the points of one step in one record. Its speed is the loop's: no call that could be spared."""
        lock = self._lock
        if not lock.acquire(False):
            lock = self._wait()
        try:
            try:
                length, shape, pack = self._shapes[tuple(values)]
            except KeyError:
                length, shape, pack = self._new_shape(tuple(values))
            payload = pack(b"P", shape, step, time, *values.values())
            written = write(self._fd, _pack_frame(length, crc32(payload)) + payload)
            if written < length + _FRAME.size:
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
        self._append(_SHAPE.pack(b"K", number) + json.dumps(names).encode("ascii"))
        packed = struct.Struct(_POINTS.format + "d" * len(names))
        shape = self._shapes[names] = packed.size, number, packed.pack
        return shape

    def _append(self, payload: bytes) -> None:
        lock = self._wait()
        try:
            frame = _pack_frame(len(payload), crc32(payload)) + payload
            written = write(self._fd, frame)
            if written < len(frame):
                self._take_back(written)
        finally:
            lock.release()

    def _take_back(self, written: int) -> None:
        """Removes the part of a record that a nearly full disk has taken, so that later ones can be read; raises."""
        os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class SpoolReader:
    """Reads the complete records of a spool file, and again those that came since.

    `position` is the offset behind the last complete record, `damage` a sentence when the file holds bytes that
    are no record and are not simply the record now being written. Metric names are learnt from the file's start,
    so a reader that goes on at an offset passes it as `deliver_from`.
    """

    def __init__(self, path: str, deliver_from: int = 0) -> None:
        self.path = path
        self.position = 0
        self.damage: Optional[str] = None
        self._deliver_from = deliver_from
        self._names: Dict[int, List[str]] = {}

    def read(self) -> Iterator[Tuple[int, Record]]:
        """Yields (offset behind the record, record) for every complete record not read before."""
        with open(self.path, "rb") as file:
            if self.position == 0 and not self._skip_magic(file.read(len(MAGIC))):
                return
            file.seek(self.position)
            data = file.read()
        start = 0
        while True:
            payload = self._frame(data, start)
            if payload is None:
                return
            start += _FRAME.size + len(payload)
            self.position += _FRAME.size + len(payload)
            record = self._decode(payload)
            if record is not None and self.position > self._deliver_from:
                yield self.position, record

    def _skip_magic(self, head: bytes) -> bool:
        if head == MAGIC:
            self.position = len(MAGIC)
            return True
        if not MAGIC.startswith(head):
            self.damage = f"{os.path.basename(self.path)} is not a spool file of this version"
        return False

    def _frame(self, data: bytes, start: int) -> Optional[bytes]:
        if len(data) - start < _FRAME.size:
            return None
        length, checksum = _FRAME.unpack_from(data, start)
        payload = data[start + _FRAME.size : start + _FRAME.size + length]
        if length == 0 or length > _MAX_PAYLOAD or (len(payload) == length and crc32(payload) != checksum):
            self.damage = f"{os.path.basename(self.path)} is damaged at byte {self.position}"
            return None
        return payload if len(payload) == length else None

    def _decode(self, payload: bytes) -> Optional[Record]:
        kind = payload[:1]
        if kind == b"J":
            loaded: Dict[str, Any] = json.loads(payload[1:].decode("utf-8", "surrogatepass"))
            return loaded
        if kind == b"K":
            self._names[_SHAPE.unpack_from(payload)[1]] = json.loads(payload[_SHAPE.size :])
            return None
        _, shape, step, time = _POINTS.unpack_from(payload)
        values = (value for (value,) in _VALUE.iter_unpack(payload[_POINTS.size :]))
        return Points(step, time, dict(zip(self._names[shape], values)))
