"""The spool file: append-only, one a process, each record with the operating system when `write` returns.

    file    = MAGIC record*
    record  = length:u32  crc32(payload):u32  payload          (little endian)
    payload = b"J" json                                        everything that is not a metric point
            | b"K" id:u32 name                                 gives a metric's name a number
            | b"M" step:i64 time:f64 (id:u32 value:f64)*       the points of one step; time in seconds since 1970

Metric points are binary because they are the only records inside the training loop: packing five of them costs
about a microsecond, JSON several. A record goes out in one `os.write` without a buffer of our own, so `kill -9`
right after it loses nothing; a record that was cut short is recognised by its length or its checksum.
"""

import json
import os
import struct
import threading
import zlib
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple, Union

SCHEMA = 1
MAGIC = b"hpkb\x01\r\n\x00"
SUFFIX = ".spool"

_FRAME = struct.Struct("<II")
_POINT_HEAD = struct.Struct("<cqd")
_POINT = struct.Struct("<Id")
_KEY = struct.Struct("<cI")
_MAX_PAYLOAD = 1 << 28
_INT64 = 1 << 63


class Points(NamedTuple):
    """The metric points of one step. `time` is in seconds since 1970."""

    step: int
    time: float
    values: Dict[str, float]


Record = Union[Dict[str, Any], Points]


class SpoolWriter:
    """Appends records to one file. Safe to call from several threads; raises OSError when the disk does.

    A signal handler that interrupts a write and writes itself gets a BlockingIOError: the record cannot go between
    the halves of another, and to wait for its own thread would be for ever.
    """

    def __init__(self, path: str, header: Mapping[str, Any]) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._writing = False
        self._keys: Dict[str, int] = {}
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd: Optional[int] = os.open(path, flags, 0o600)
        os.write(self._fd, MAGIC)
        self.write({"type": "header", "schema": SCHEMA, **header})

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends a JSON record; values that JSON does not know are written as their text."""
        self._append(b"J" + json.dumps(record, default=str, separators=(",", ":")).encode("utf-8", "surrogatepass"))

    def points(self, step: int, time: float, values: Mapping[str, float]) -> None:
        """Appends the points of one step in one record."""
        if not -_INT64 <= step < _INT64:
            raise ValueError("a step must fit into 64 bits")
        with self._lock:
            if self._writing:
                raise _busy()
            self._writing = True
            try:
                payload = _POINT_HEAD.pack(b"M", step, time)
                for name, value in values.items():
                    key = self._keys.get(name)
                    payload += _POINT.pack(self._new_key(name) if key is None else key, value)
                self._put(payload)
            finally:
                self._writing = False

    def close(self) -> None:
        """Closes the file; later writes raise ValueError."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _new_key(self, name: str) -> int:
        key = len(self._keys)
        self._put(_KEY.pack(b"K", key) + name.encode("utf-8", "surrogatepass"))
        self._keys[name] = key
        return key

    def _append(self, payload: bytes) -> None:
        with self._lock:
            if self._writing:
                raise _busy()
            self._writing = True
            try:
                self._put(payload)
            finally:
                self._writing = False

    def _put(self, payload: bytes) -> None:
        if self._fd is None:
            raise ValueError("the spool is closed")
        frame = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        written = os.write(self._fd, frame)
        if written < len(frame):  # a nearly full disk takes part of a record
            self._put_rest(frame, written)

    def _put_rest(self, frame: bytes, written: int) -> None:
        """Appends what is missing of a record, or takes back what is there of it, so that later ones can be read."""
        assert self._fd is not None
        begin = os.fstat(self._fd).st_size - written
        try:
            while written < len(frame):
                written += os.write(self._fd, frame[written:])
        except OSError:
            os.ftruncate(self._fd, begin)
            raise


def _busy() -> BlockingIOError:
    return BlockingIOError("the spool is being written by this very thread")


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
        self._names: Dict[int, str] = {}

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
        if length == 0 or length > _MAX_PAYLOAD or (len(payload) == length and zlib.crc32(payload) != checksum):
            self.damage = f"{os.path.basename(self.path)} is damaged at byte {self.position}"
            return None
        return payload if len(payload) == length else None

    def _decode(self, payload: bytes) -> Optional[Record]:
        kind = payload[:1]
        if kind == b"J":
            loaded: Dict[str, Any] = json.loads(payload[1:].decode("utf-8", "surrogatepass"))
            return loaded
        if kind == b"K":
            self._names[_KEY.unpack_from(payload)[1]] = payload[_KEY.size :].decode("utf-8", "surrogatepass")
            return None
        _, step, time = _POINT_HEAD.unpack_from(payload)
        pairs = _POINT.iter_unpack(payload[_POINT_HEAD.size :])
        return Points(step, time, {self._names[key]: value for key, value in pairs})
