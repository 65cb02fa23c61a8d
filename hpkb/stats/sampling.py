"""A part of many, where all of them would take long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpkb.sweep import IntArray


def drawn(n: int, most: int, seed: int | Sequence[int] = 0) -> IntArray:
    """Returns the numbers of at most `most` of n things, drawn at random by the seed, in their order."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])
