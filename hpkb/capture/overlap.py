"""Which examples two splits have in common: by index where both choose from one data set, and by content.

By content means equal in every byte that the data set holds of an example; numbers that are nearly the same are not.
Of very many examples only those whose key ends in zeros are compared, the same ones in every split.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional  # torch has imported it by now

from .digest import Keys

MOST_KEYS = 500_000  #: keys that are kept of a split


class Overlap(NamedTuple):
    """How many examples of the second split are in the first too; None where it cannot be known.

    `sampled` says that content was compared for a part of the examples only; then there may be more.
    """

    by_index: Optional[int]
    by_content: Optional[int]
    sampled: bool = False

    def __str__(self) -> str:
        told = [] if self.by_index is None else [f"{self.by_index} by index"]
        if self.by_content is not None:
            told.append(f"{self.by_content} by content" + (" (of a sample)" if self.sampled else ""))
        return ", ".join(told)

    def joined(self, other: Overlap) -> Overlap:
        """Returns the larger of both figures: of several folds the worst is told."""
        return Overlap(
            _larger(self.by_index, other.by_index),
            _larger(self.by_content, other.by_content),
            self.sampled or other.sampled,
        )


class Chosen:
    """The examples of one split, for comparison: which of a data set, and their keys in ascending order.

    `base` stands for the data set and `size` is its number of examples.
    """

    def __init__(self, torch: Any, base: object, size: int, indices: Any) -> None:
        self._torch = torch
        self._base = base
        self._size = size
        self._indices = indices
        self._keys: Any = None
        self._signature = ""
        self._every = 1  # of how many keys one is kept
        self._sampled = False

    def compare_by(self, keys: Keys, signature: str) -> None:
        """Takes the keys of the data set's examples, which are comparable where the signature is the same."""
        if keys.of in ("shape", "fingerprint") or not signature:
            return
        found = keys.keys if self._indices is None else keys.keys[self._indices]
        if keys.read is not None:
            found = found[keys.read if self._indices is None else keys.read[self._indices]]
            self._sampled = True
        while len(found) > MOST_KEYS:
            self._every *= 2
            found = found[found % self._every == 0]
        self._signature = signature
        self._keys = found.sort().values

    def overlap(self, other: Chosen) -> Overlap:
        """Returns what `other` has in common with this one."""
        by_content = self._by_content(other)
        sampled = self._sampled or other._sampled or max(self._every, other._every) > 1
        return Overlap(self._by_index(other), by_content, sampled and by_content is not None)

    def _by_index(self, other: Chosen) -> Optional[int]:
        if other._base is not self._base or self._size != other._size:
            return None
        if self._indices is None:
            return self._size if other._indices is None else len(other._indices)
        taken = self._torch.zeros(self._size, dtype=self._torch.bool, device="cpu")
        taken[self._indices] = True
        return int((taken if other._indices is None else taken[other._indices]).sum())

    def _by_content(self, other: Chosen) -> Optional[int]:
        if self._keys is None or other._keys is None or self._signature != other._signature:
            return None
        every = max(self._every, other._every)
        own, others = (keys[keys % every == 0] if every > 1 else keys for keys in (self._keys, other._keys))
        if not len(own) or not len(others):
            return 0
        places = self._torch.searchsorted(own, others).clamp_(max=len(own) - 1)
        return int((own[places] == others).sum())


def _larger(one: Optional[int], other: Optional[int]) -> Optional[int]:
    return other if one is None else one if other is None else max(one, other)
