"""A part of many, where all of them would take long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpkb.sweep import FloatArray, IntArray


def drawn(n: int, most: int, seed: int | Sequence[int] = 0) -> IntArray:
    """Returns the numbers of at most `most` of n things, drawn at random by the seed, in their order."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def most_telling(y: FloatArray, most: int) -> IntArray:
    """Returns the numbers of at most `most` results, the lowest first: the best third, of the others evenly by rank."""
    order = np.argsort(np.where(np.isnan(y), np.inf, y), kind="stable")
    if order.size <= most:
        return order
    spread = np.linspace(most // 3, order.size - 1, most - most // 3).astype(np.int64)
    return np.concatenate([order[: most // 3], order[spread]])
