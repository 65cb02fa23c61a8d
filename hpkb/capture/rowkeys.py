"""A 64-bit key for every row of an array, by which equal rows are found and a split is digested.

The key is a multilinear hash modulo 2^64: the sum of the row's 64-bit words, each times a weight of its own (Lemire &
Kaser 2014, Strongly universal string hashing is fast). A word begins at every second byte, so that each 16 bits of the
row are the low end of one word; whatever differs between two rows, they share a key with a probability of at most
2^-49 over the weights. Among a million rows against a hundred thousand that is one chance in 5,000 for a false pair.
Equal means equal in every byte: numbers that are nearly the same are not, nor are 0.0 and -0.0.
"""

from __future__ import annotations

import ctypes
import hashlib
from typing import Any  # torch has imported it by now

BLOCK = 4 << 20  #: bytes that are copied and hashed at once
_SHIFTS = (0, 2, 4, 6)


class RowHasher:
    """Hashes blocks of rows that have the same number of bytes; `salt` tells the columns of an example apart.

    The work is in five calls of torch a block, all of which let other threads of Python run.
    """

    def __init__(self, torch: Any, row_bytes: int, salt: int) -> None:
        self._torch = torch
        self._row_bytes = row_bytes
        self._words = max(1, -(-row_bytes // 8))
        self._pitch = 8 * (self._words + 1)  # zeros behind a row, so that a word may begin anywhere in it
        self.rows = max(1, BLOCK // self._pitch)
        size = 8 * self._words
        drawn = bytearray(hashlib.shake_256(b"hpkb row keys %d" % salt).digest(size * len(_SHIFTS)))
        weights = torch.frombuffer(drawn, dtype=torch.int64)
        self._weights = [weights[i * self._words : (i + 1) * self._words] for i in range(len(_SHIFTS))]
        self._memory: Any = None

    def keys(self, rows: Any) -> Any:
        """Returns the keys of a block of at most `self.rows` rows, a tensor on the CPU or an array of numpy."""
        torch, n = self._torch, len(rows)
        if n == 0 or self._row_bytes == 0:
            return torch.zeros(n, dtype=torch.int64, device="cpu")
        if self._memory is None:
            self._memory = (ctypes.c_char * (min(self.rows, n) * self._pitch))()
        if n * self._pitch > len(self._memory):
            self._memory = (ctypes.c_char * (self.rows * self._pitch))()
        padded = torch.frombuffer(self._memory, dtype=torch.uint8)[: n * self._pitch].view(n, self._pitch)
        kept, source = memory_of(rows)
        given = torch.frombuffer(source, dtype=torch.uint8).view(n, self._row_bytes)
        padded[:, : self._row_bytes].copy_(given)
        del kept
        return sum(torch.mv(self._shifted(n, shift), weights) for shift, weights in zip(_SHIFTS, self._weights))

    def _shifted(self, n: int, shift: int) -> Any:
        """Returns the rows as 64-bit words that begin `shift` bytes later."""
        torch = self._torch
        count = (n * self._pitch - shift) // 8
        words = torch.frombuffer(self._memory, dtype=torch.int64, offset=shift, count=count)
        return words.as_strided((n, self._words), (self._pitch // 8, 1))


def memory_of(rows: Any) -> tuple[Any, Any]:
    """Returns what must be kept while the memory is read, and the bytes of a tensor or array in the order of its rows.

    The memory of an empty one is empty.
    """
    if hasattr(rows, "data_ptr"):
        rows = rows.detach().resolve_conj().resolve_neg().contiguous()
        address, size = rows.data_ptr(), rows.numel() * rows.element_size()
    else:
        rows = rows if rows.flags.c_contiguous else rows.copy(order="C")
        address, size = rows.__array_interface__["data"][0], rows.nbytes
    return rows, (ctypes.c_char * size).from_address(address) if size else b""


def row_bytes(array: Any) -> int:
    """Returns the bytes of one row."""
    size = array.element_size() if hasattr(array, "element_size") else array.itemsize
    for length in array.shape[1:]:
        size *= int(length)
    return int(size)
