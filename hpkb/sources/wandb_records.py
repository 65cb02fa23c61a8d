"""The records in a `.wandb` file, without what is in them.

The file is a log in LevelDB's format (github.com/google/leveldb, doc/log_format.md) behind a header of seven bytes, its
checksums zlib's CRC-32: blocks of 32 KiB, in them fragments of records. A reader that finds a bad fragment goes on with
the next block. wandb itself reads these files in Go only.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

DAMAGED = "damaged records of W&B files, left out with the rest of their block"
FOREIGN = "files named as W&B's that are none, left out"
UNREADABLE = "W&B files that could not be read, left out"
UNFINISHED = "unfinished last records of W&B files, left out"

_IDENTIFIER = b":W&B"
_PREAMBLE = 7
_BLOCK = 32_768
_HEADER = struct.Struct("<IHB")  # checksum of the kind and the content, length of the content, kind
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def records(path: Path, counts: Counter[str], last_blocks: int | None = None) -> Iterator[bytes]:
    """Yields the records of a file, or of its last blocks; counts what is damaged or has not been written whole."""
    try:
        with path.open("rb") as file:
            beginning = file.read(_PREAMBLE)
            if not beginning.startswith(_IDENTIFIER[: len(beginning)]):
                counts[FOREIGN] += 1
                return
            yield from _joined(_fragments(file, counts, last_blocks))
    except OSError:
        counts[UNREADABLE] += 1


def _joined(fragments: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    """Puts records together; the rest of one whose beginning is lost is left out."""
    begun: list[bytes] = []
    for kind, content in fragments:
        if kind == _FULL:
            yield content
            begun = []
        elif kind == _FIRST:
            begun = [content]
        elif begun and kind in (_MIDDLE, _LAST):
            begun.append(content)
            if kind == _LAST:
                yield b"".join(begun)
                begun = []


def _fragments(file: BinaryIO, counts: Counter[str], last_blocks: int | None) -> Iterator[tuple[int, bytes]]:
    start = 0
    if last_blocks:
        start = max(0, file.seek(0, 2) // _BLOCK + 1 - last_blocks) * _BLOCK
    file.seek(start)
    while block := file.read(_BLOCK):
        yield from _of_block(block, _PREAMBLE if start == 0 else 0, counts)
        start += _BLOCK


def _of_block(block: bytes, position: int, counts: Counter[str]) -> Iterator[tuple[int, bytes]]:
    is_whole = len(block) == _BLOCK
    while position + _HEADER.size <= len(block):
        checksum, length, kind = _HEADER.unpack_from(block, position)
        end = position + _HEADER.size + length
        if checksum == length == kind == 0:  # room that the file system made, and nobody filled
            return
        if end > len(block) and not is_whole:
            counts[UNFINISHED] += 1
            return
        if zlib.crc32(block[position + _HEADER.size - 1 : end]) != checksum:
            counts[DAMAGED] += 1
            return
        yield kind, block[position + _HEADER.size : end]
        position = end
    if position < len(block) and not is_whole:
        counts[UNFINISHED] += 1
