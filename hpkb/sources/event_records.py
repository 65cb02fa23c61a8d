"""The records in a TensorBoard event file, without what is in them.

The file is a TFRecord file (tensorflow.org/tutorials/load_data/tfrecord): length, its checksum, content, its checksum,
the checksums CRC-32C and masked. TensorBoard's own reader computes them in Python, and gives the rest of a file up
where one is wrong; this one leaves the record out and goes on, behind a damaged length at the next whole one.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from hpkb.errors import SourceError

DAMAGED = "damaged records of event files, left out"
UNFINISHED = "unfinished last records of event files, left out"
UNREADABLE = "event files that could not be read, left out"

_LENGTH = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MASK = 0xA282EAD8
_WINDOW = 1 << 20  # bytes in which the next whole record is looked for
Checksum = Callable[[bytes], int]


def checksum() -> Checksum:
    """Returns the function that computes CRC-32C; raises SourceError where the package is not installed."""
    try:
        from google_crc32c import value
    except ImportError as error:
        what_next = "Try: pip install 'hpkb[tensorboard]'"
        raise SourceError(
            f"Event files cannot be read without google-crc32c ({error}). {what_next}"
        ) from None
    function: Checksum = value
    return function


def records(path: Path, crc: Checksum, counts: Counter[str]) -> Iterator[bytes]:
    """Yields the contents of a file's records; counts what is damaged or has not been written whole."""
    try:
        with path.open("rb", buffering=1 << 20) as file:
            yield from _records(file, crc, counts)
    except OSError:
        counts[UNREADABLE] += 1


def _records(file: BinaryIO, crc: Checksum, counts: Counter[str]) -> Iterator[bytes]:
    size = os.fstat(file.fileno()).st_size
    position, header = 0, file.read(_LENGTH.size)
    while len(header) == _LENGTH.size:
        length, _ = _LENGTH.unpack(header)
        end = position + _LENGTH.size + length + _CHECKSUM.size
        rest = file.read(length + _CHECKSUM.size + _LENGTH.size) if end <= size else b""
        content = rest[:length]
        if rest and _CHECKSUM.unpack_from(rest, length)[0] == _masked(crc(content)):
            yield content
        elif _is_header(header, crc) and not rest:
            break
        else:
            counts[DAMAGED] += 1
            if not _is_header(header, crc):
                end = _next_record(file, position + 1, size, crc)
            file.seek(end)
            rest, length = file.read(_LENGTH.size), -_CHECKSUM.size
        position, header = end, rest[length + _CHECKSUM.size :]
    counts[UNFINISHED] += bool(header)


def _next_record(file: BinaryIO, position: int, size: int, crc: Checksum) -> int:
    """Where the next record begins, the end of the file where none is found."""
    file.seek(position)
    window = file.read(_WINDOW)
    for offset in range(len(window) - _LENGTH.size + 1):
        length, _ = _LENGTH.unpack_from(window, offset)
        if length <= size and _is_header(window[offset : offset + _LENGTH.size], crc):
            return position + offset
    return size


def _is_header(header: bytes, crc: Checksum) -> bool:
    return bool(_CHECKSUM.unpack_from(header, 8)[0] == _masked(crc(header[:8])))


def _masked(value: int) -> int:
    """TFRecord's mask, for checksums of what contains checksums."""
    return ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF
