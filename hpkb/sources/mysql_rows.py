"""The rows of a MySQL result, from the bytes of the binary protocol into Arrow, a batch at a time.

A row comes in a packet: three bytes of length and one of sequence, a zero, a bitmap of the NULLs, and the values that
are none: numbers as they lie in memory, text behind its length. Only the steps from packet to packet are taken in
Python; the values are gathered by NumPy, a column of all rows at once.

https://mariadb.com/docs/server/reference/clientserver-protocol/4-server-response-packets/packet_resultset
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

HEADER = 4  # bytes before the content of a packet
LONGEST = 2**24 - 1  # a packet of this length has its rest in the next one
_ROW, _END, _FAILURE = 0x00, 0xFE, 0xFF  # the first byte of a packet
_NUMBERS = {1: "<i1", 2: "<i2", 3: "<i4", 4: "<f4", 5: "<f8", 8: "<i8"}  # by the protocol's number of the type
_AT_ONCE = 2**17  # bytes to ask for: a reader makes room for all of them, and a socket gives no more
_LONG = 100  # bytes of a text from which on texts are copied one by one
_LENGTH_BYTES = {252: 2, 253: 3, 254: 8}  # a first byte below 251 is the length itself
_length = struct.Struct("<I").unpack_from

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """The name of a column, and its type by the protocol's number."""

    name: str
    type_code: int


class BrokenResult(Exception):
    """The bytes are no rows; where the server says why, `packet` is what it says."""

    def __init__(self, reason: str, packet: bytes = b"") -> None:
        super().__init__(reason)
        self.packet = packet


class RowStream:
    """The rows of one result, read from where the packets of the rows begin."""

    def __init__(self, read: Callable[[int], bytes], columns: Sequence[Column], batch_bytes: int) -> None:
        """`read` waits for at least one byte and returns no more than asked for; none where the connection ended."""
        self._read_some, self._columns = read, columns
        self._buffer = bytearray(batch_bytes)
        self._end = 0  # of what was read
        self.done = False

    def batches(self) -> Iterator[pa.Table]:
        """Yields all rows in batches; at least one, which may be empty."""
        while not self.done:
            starts, rest = self._packets()
            yield decoded(np.frombuffer(self._buffer, np.uint8, rest), starts, self._columns)
            self._keep_from(rest)

    def skip(self) -> None:
        """Reads the rows that are left, so that the connection is free for the next statement."""
        while not self.done:
            self._keep_from(self._packets()[1])

    def _packets(self) -> tuple[Positions, int]:
        """Fills the buffer; returns where the contents of its whole rows begin and where what follows them does."""
        starts: list[int] = []
        position = 0
        while not self.done:
            position = self._follow(starts, position)
            if starts and self._buffer[starts[-1]] != _ROW:
                self._finish(starts.pop(), position)
            elif self._end == len(self._buffer):
                if starts:
                    break
                self._buffer.extend(bytes(len(self._buffer)))  # a row longer than a batch
            else:
                self._read()
        return np.array(starts, np.int64), position

    def _follow(self, starts: list[int], position: int) -> int:
        """Appends the starts of the packets that are there as a whole; returns the end of the last."""
        buffer, end = self._buffer, self._end - HEADER
        while position <= end:
            length = _length(buffer, position)[0] & LONGEST
            if position + length > end:
                break
            if length == LONGEST:
                raise BrokenResult("a row has more than 16 MiB")
            starts.append(position + HEADER)
            position += HEADER + length
        return position

    def _read(self) -> None:
        got = self._read_some(min(_AT_ONCE, len(self._buffer) - self._end))
        if not got:
            raise BrokenResult("the connection was lost")
        self._buffer[self._end : self._end + len(got)] = got
        self._end += len(got)

    def _finish(self, start: int, end: int) -> None:
        self.done = True
        if self._buffer[start] == _FAILURE:
            raise BrokenResult("the server gave up", bytes(self._buffer[start:end]))
        if self._buffer[start] != _END or end != self._end:
            raise BrokenResult("the server's answer is out of order")

    def _keep_from(self, rest: int) -> None:
        """Moves what belongs to the next batch to the front; no batch holds on to the buffer."""
        left = self._buffer[rest : self._end]
        self._buffer[: len(left)] = left
        self._end = len(left)


def decoded(content: npt.NDArray[np.uint8], starts: Positions, columns: Sequence[Column]) -> pa.Table:
    """Returns the rows that start there; raises BrokenResult where they are no rows of these columns."""
    if np.any(content[starts] != _ROW):
        raise BrokenResult("the server's answer is out of order")
    position = starts + 1 + (len(columns) + 9) // 8
    arrays = []
    for i, column in enumerate(columns, start=2):  # the bitmap's first two bits mean nothing
        null = (content[starts + 1 + i // 8] >> (i % 8) & 1).astype(bool)
        read = _numbers if column.type_code in _NUMBERS else _texts
        array, position = read(content, position, null, column)
        arrays.append(array)
    return pa.table(arrays, [column.name for column in columns])


def _numbers(
    content: npt.NDArray[np.uint8], position: Positions, null: npt.NDArray[np.bool_], column: Column
) -> tuple[pa.Array, Positions]:
    kind = np.dtype(_NUMBERS[column.type_code])
    if not null.any():
        return pa.array(_gathered(content, position, kind)), position + kind.itemsize
    values = np.zeros(len(position), kind)
    values[~null] = _gathered(content, position[~null], kind)
    return pa.array(values, mask=null), position + np.where(null, 0, kind.itemsize)


def _texts(
    content: npt.NDArray[np.uint8], position: Positions, null: npt.NDArray[np.bool_], column: Column
) -> tuple[pa.Array, Positions]:
    position, length = _lengths(content, position, null)
    ends = np.zeros(len(length) + 1, np.int32)
    np.cumsum(length, out=ends[1:])
    validity = pa.array(~null).buffers()[1] if null.any() else None
    parts = [validity, pa.py_buffer(ends), pa.py_buffer(_bytes(content, position, length, ends))]
    array = pa.Array.from_buffers(pa.string(), len(length), parts)
    array.validate(full=True)
    return array, position + length


def _lengths(
    content: npt.NDArray[np.uint8], position: Positions, null: npt.NDArray[np.bool_]
) -> tuple[Positions, Positions]:
    """Where the texts begin, and how many bytes each has."""
    inside = np.where(null, 0, position)  # that of a NULL may be past the last byte
    length = content[inside].astype(np.int64)
    first = length.copy()
    position = position + ~null
    for mark, n_bytes in _LENGTH_BYTES.items():
        for row in np.flatnonzero((first == mark) & ~null):
            start = int(position[row])
            length[row] = int.from_bytes(content[start : start + n_bytes].tobytes(), "little")
            position[row] += n_bytes
    length[null] = 0
    return position, length


def _bytes(
    content: npt.NDArray[np.uint8], position: Positions, length: Positions, ends: npt.NDArray[np.int32]
) -> npt.NDArray[Any]:
    """The texts one after the other."""
    if len(length) and length[0] and np.all(length == length[0]):
        return _gathered(content, position, np.dtype(f"V{length[0]}"))
    if ends[-1] > _LONG * len(length):  # an index of every byte takes eight times the texts' memory
        texts = [content[start : start + n] for start, n in zip(position.tolist(), length.tolist(), strict=True)]
        return np.concatenate(texts)
    offset = np.repeat(position - ends[:-1], length)
    return content.take(offset + np.arange(ends[-1]))


def _gathered(content: npt.NDArray[np.uint8], position: Positions, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values of this kind that begin at these bytes."""
    if not len(position):
        return np.empty(0, kind)
    n = len(content) - kind.itemsize + 1
    everywhere: npt.NDArray[Any] = np.ndarray((n,), kind, content, strides=(1,))
    values: npt.NDArray[Any] = everywhere[position]  # take() would first make them one after the other
    return values
