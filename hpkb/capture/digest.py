"""What a split is made of: the digest of its content and a key for each of its examples.

Every byte of a data set counts up to ALL_BYTES, whichever of its examples are chosen; a key is taken of each row, and
the split's digest is one of its examples' keys in their order. So a subset and a copy of the same rows have the same
digest, and a data set that several splits share is read once. Beyond that size SAMPLE_BYTES are read in blocks that are
spread evenly: a change between two blocks is not seen then, and the record says *sample*.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any, Generator, Iterator, NamedTuple  # torch has imported it by now

from .examples import KINDS, Column, Examples
from .rowkeys import BLOCK, RowHasher, memory_of

ALL_BYTES = 4 << 30  #: read whole up to here: about 2 s of one core at a low priority, beside the training
MAPPED_BYTES = 1 << 30  #: the same for files mapped into memory, which may have to come from a disk
SAMPLE_BYTES = 256 << 20  #: beyond it, so many bytes in blocks that are spread evenly
ALL_ITEMS = 2_000_000  #: the same bound for lists, whose entries are hashed one by one
_SLICE = 0.0003  # seconds of Python at a time, between which the training goes on
_REST = 0.015

Pass = Generator[float, None, "Keys"]  # yields how long it may rest before it goes on


class Content(NamedTuple):
    """A split's number of examples and digest (16 hexadecimal digits).

    `digest_of` says what was hashed: *all* of it, a *sample* spread evenly over it, the *arrays* that a data set of
    the script's own class holds, the *fingerprint* that the data set has of itself, or only its *shape*: class and
    length.
    """

    n: int
    digest: str
    digest_of: str


class Keys(NamedTuple):
    """The keys of a data set's examples: `read` says which of them were read, None for all; `of` is one of KINDS."""

    keys: Any
    read: Any
    of: str
    header: str  # what is the same for all examples: classes, number formats, shapes, and arrays beside them


def content_of(keys: Keys, chosen: Any) -> Content:
    """Returns the content of the examples at `chosen`, of all of them where it is None."""
    n = len(keys.keys) if chosen is None else len(chosen)
    found = hashlib.sha256(f"{keys.header}|{n}".encode("utf-8", "surrogatepass"))
    if keys.of in ("shape", "fingerprint"):
        if chosen is not None:
            found.update(indices_digest(chosen).encode())
    elif n:
        _update(found, keys.keys if chosen is None else keys.keys[chosen])
    return Content(n, found.hexdigest()[:16], keys.of)


def indices_digest(chosen: Any) -> str:
    """Returns a digest of all indices in their order, `all` where there is no choice."""
    if chosen is None:
        return "all"
    found = hashlib.sha256()
    _update(found, chosen)
    return found.hexdigest()[:16]


def without_data(examples: Examples, chosen: Any) -> Content:
    """Returns what is known of a split whose data could not be read to the end."""
    found = hashlib.sha256(f"{examples.name}|{examples.n}|{indices_digest(chosen)}".encode())
    return Content(examples.n if chosen is None else len(chosen), found.hexdigest()[:16], "shape")


def keys_of(torch: Any, examples: Examples) -> Pass:
    """Reads a data set and returns its keys; raises Gone where the data went meanwhile."""
    if examples.parts:
        return (yield from _keys_of_parts(torch, examples))
    header = f"{examples.name if examples.kind != 'all' else ''}|{[column.signature for column in examples.columns]}"
    keys = torch.zeros(examples.n, dtype=torch.int64, device="cpu")
    if examples.kind in ("shape", "fingerprint"):
        return Keys(keys, None, examples.kind, f"{header}|{examples.n}|{examples.fingerprint}")
    ranges = [*_ranges(examples)]
    known = True
    for salt, column in enumerate(examples.columns):
        add = _add_items if column.of_items else _add_rows
        known &= yield from add(torch, column, salt, ranges, keys)
    for column in examples.whole:
        header += yield from _digest_whole(torch, column)
    complete = ranges == [(0, examples.n)] and not any(_too_large(column) for column in examples.whole)
    kind = examples.kind if complete else min(examples.kind, "sample", key=KINDS.index)
    return Keys(keys, None if complete else _mask(torch, examples.n, ranges), kind if known else "shape", header)


def _keys_of_parts(torch: Any, examples: Examples) -> Pass:
    found, reads = [], []
    for part, chosen in examples.parts:
        keys = yield from keys_of(torch, part)
        read = torch.ones(part.n, dtype=torch.bool, device="cpu") if keys.read is None else keys.read
        found.append(keys._replace(keys=keys.keys if chosen is None else keys.keys[chosen]))
        reads.append(read if chosen is None else read[chosen])
    of = min((keys.of for keys in found), key=KINDS.index, default="all")
    read = torch.cat(reads) if of == "sample" else None
    headers = [keys.header for keys in found]
    header = headers[0] if len(set(headers)) == 1 else repr(headers)  # joined parts of one kind are one data set
    return Keys(torch.cat([keys.keys for keys in found]), read, of, header)


def _too_large(column: Column) -> bool:
    return column.length * column.row_bytes > (MAPPED_BYTES if column.mapped else ALL_BYTES)


def _ranges(examples: Examples) -> Iterator[tuple[int, int]]:
    """Yields the ranges of examples to read: all of them at once, or blocks that are spread evenly."""
    n, row = examples.n, sum(column.row_bytes for column in examples.columns)
    listed = any(column.of_items for column in examples.columns)
    large = any(_too_large(column) for column in examples.columns) or n * row > ALL_BYTES
    if not large and not (listed and n > ALL_ITEMS):
        yield 0, n
        return
    most = SAMPLE_BYTES // max(row, 1)
    share = min(most, ALL_ITEMS) if listed else most
    rows = max(1, min(BLOCK // 4 // max(row, 1), share // 100 or 1))
    stride = max(rows, n * rows // max(share, 1))
    for start in range(0, n, stride):
        yield start, min(start + rows, n)


def _mask(torch: Any, n: int, ranges: list[tuple[int, int]]) -> Any:
    mask = torch.zeros(n, dtype=torch.bool, device="cpu")
    for start, stop in ranges:
        mask[start:stop] = True
    return mask


def _add_rows(
    torch: Any, column: Column, salt: int, ranges: list[tuple[int, int]], keys: Any
) -> Generator[float, None, bool]:
    """Adds the keys of an array's rows, block by block, with no strong reference in between."""
    hasher = RowHasher(torch, column.row_bytes, salt)
    for start, stop in ranges:
        for first in range(start, stop, hasher.rows):
            last = min(first + hasher.rows, stop)
            block = yield from _on_cpu(torch, column.rows(first, last))
            keys[first:last] += hasher.keys(block)
            del block
            yield 0.0
    column.data()  # raises where it was changed while it was read
    return True


def _add_items(
    torch: Any, column: Column, salt: int, ranges: list[tuple[int, int]], keys: Any
) -> Generator[float, None, bool]:
    """Adds the keys of a list's entries, and returns whether all of them are of kinds whose value is known."""
    known, since = True, time.perf_counter()
    person = b"%d" % salt
    for start, stop in ranges:
        for first in range(start, stop, 64):
            items = column.data()[first : min(first + 64, stop)]
            found = []
            for item in items:
                digest = hashlib.blake2b(digest_size=8, person=person)
                known = _value(digest, item) and known
                found.append(int.from_bytes(digest.digest(), "little", signed=True))
                if time.perf_counter() - since > _SLICE:
                    yield _REST
                    since = time.perf_counter()
            del items
            keys[first : first + len(found)] += torch.tensor(found, dtype=torch.int64, device="cpu")
    column.data()
    return known


def _digest_whole(torch: Any, column: Column) -> Generator[float, None, str]:
    """Returns the digest of something that is not divided into examples, such as a stream of tokens."""
    found = hashlib.sha256()
    rows = max(1, BLOCK // max(column.row_bytes, 1))
    stride = rows
    if _too_large(column):
        stride = column.length * column.row_bytes // SAMPLE_BYTES * rows
    for first in range(0, column.length, stride):
        block = column.rows(first, min(first + rows, column.length))
        if column.of_items:
            for item in block:
                _value(found, item)
            yield _REST
        else:
            block = yield from _on_cpu(torch, block)
            _update(found, block)
            yield 0.0
        del block
    column.data()
    return f"|{column.name}:{column.signature}:{column.length}:{found.hexdigest()[:16]}"


def _on_cpu(torch: Any, block: Any) -> Generator[float, None, Any]:
    """Returns a block of rows on the CPU; from a GPU it comes on a stream of its own, without making anyone wait."""
    if not getattr(block, "is_cuda", False):
        return block.detach().cpu() if hasattr(block, "data_ptr") else block
    block = block.detach()
    stream = torch.cuda.Stream(block.device)
    with torch.cuda.stream(stream):
        pinned = torch.empty(block.shape, dtype=block.dtype, device="cpu", pin_memory=True)
        pinned.copy_(block, non_blocking=True)
        event = torch.cuda.Event()
        event.record(stream)
    while not event.query():
        yield 0.001
    return pinned


def _value(found: Any, value: Any, depth: int = 0) -> bool:
    """Hashes one value and returns whether it is of a kind whose value is known."""
    kind = type(value)
    if value is None or kind in (bool, int, float, complex, bytes):
        found.update(repr(value).encode() + b"\0")
        return True
    if kind is str:  # of a path the last two parts: the folder of the data differs between machines
        text = os.sep.join(value.rsplit(os.sep, 2)[-2:]) if os.path.isabs(value) else value
        found.update(text.encode("utf-8", "surrogatepass") + b"\1")
        return True
    if isinstance(value, (list, tuple)) and depth < 4:
        found.update(b"(%d" % len(value))
        return _each(_value(found, item, depth + 1) for item in value)
    if isinstance(value, dict) and depth < 4:
        return _each(_value(found, item, depth + 1) for pair in value.items() for item in pair)
    on_cpu = getattr(value, "is_cpu", not hasattr(value, "data_ptr"))
    if on_cpu and hasattr(value, "dtype") and (hasattr(value, "data_ptr") or hasattr(value, "flags")):
        return _array_value(found, value)
    found.update(kind.__name__.encode())
    return False


def _each(known: Iterator[bool]) -> bool:
    """Whether all are true; unlike `all` it goes on after the first that is not."""
    return False not in list(known)


def _array_value(found: Any, value: Any) -> bool:
    if getattr(value.dtype, "hasobject", False):
        return False
    found.update(f"{str(value.dtype).rpartition('.')[2]}{tuple(value.shape)}".encode())
    _update(found, value)
    return True


def _update(found: Any, rows: Any) -> None:
    kept, memory = memory_of(rows)  # what is kept may be a copy that nothing else holds
    found.update(memory)
    del kept
