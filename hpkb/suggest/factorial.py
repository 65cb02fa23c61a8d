"""Two-level designs: which high and low settings of k factors separate their effects in n runs.

Regular designs are built from a full factorial of m basic factors; each further factor is the product of some of them
(Box & Hunter 1961, *The 2^(k-p) fractional factorial designs*, Technometrics 3). Where 2 k <= 2^m, products of an odd
number of basic factors give resolution IV or more: the product of any three of them is odd as well, so no word of the
defining relation has three letters. Designs of 12, 20 and 24 runs are those of Plackett & Burman 1946 (*The design of
optimum multifactorial experiments*, Biometrika 33), of resolution III.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hpkb.sweep import IntArray

MOST_RUNS = 64
_PLACKETT_BURMAN = {
    12: "++-+++---+-",
    20: "++--++++-+-+----++-",
    24: "+++++-+-++--++--+-+----",
}
FULL = 99  # the resolution of a full factorial: nothing is confounded with anything


@dataclass(frozen=True)
class Factorial:
    """A two-level design: `signs` (runs, factors) of -1 and 1, its resolution, and how it was made."""

    signs: IntArray
    resolution: int
    generators: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What the design separates, as a sentence says it."""
        if self.resolution >= FULL:
            return "all main effects and interactions are separate"
        if self.resolution >= 5:
            return "main effects and interactions of two are separate"
        if self.resolution == 4:
            return "main effects are separate from each other and from interactions of two"
        return "main effects are separate from each other, but mixed with interactions of two"


def factorial(n_factors: int, most_runs: int) -> Factorial | None:
    """Returns the best two-level design of at most `most_runs` runs; None where these are too few for the factors.

    A higher resolution counts first up to IV, then more runs: those give narrower intervals.
    """
    sizes = [n for n in (4, 8, 16, 32, 64) if n_factors < n <= min(most_runs, MOST_RUNS, 2**n_factors)]
    designs = [regular(n_factors, size.bit_length() - 1) for size in sizes]
    if n_factors == 1 and most_runs >= 2:
        designs.append(Factorial(np.array([[-1], [1]]), FULL))
    designs += [plackett_burman(n_factors, n) for n in _PLACKETT_BURMAN if n_factors < n <= most_runs]
    return max(designs, key=lambda d: (min(d.resolution, 4), len(d.signs), d.resolution), default=None)


def regular(n_factors: int, n_basic: int) -> Factorial:
    """Returns a 2^(k-p) design of `n_factors` factors in 2^`n_basic` runs; raises ValueError where it cannot be."""
    if not n_basic <= n_factors < 2**n_basic:
        raise ValueError(f"no regular design of {n_factors} factors in {2**n_basic} runs")
    chosen = max(_greedy(n_factors, n_basic), _odd(n_factors, n_basic), key=resolution_of)
    basic = 2 * ((np.arange(2**n_basic)[:, None] >> np.arange(n_basic)) & 1) - 1
    signs = [np.prod(basic[:, [i for i in range(n_basic) if mask >> i & 1]], axis=1) for mask in chosen]
    return Factorial(np.stack(signs, axis=1).astype(np.int64), resolution_of(chosen), _named(chosen, n_basic))


def plackett_burman(n_factors: int, n_runs: int) -> Factorial:
    """Returns the first columns of Plackett and Burman's design of 12, 20 or 24 runs: its first row shifted on."""
    row = np.array([1 if sign == "+" else -1 for sign in _PLACKETT_BURMAN[n_runs]])
    cyclic = np.stack([np.roll(row, shift) for shift in range(n_runs - 1)])
    signs = np.vstack([cyclic, -np.ones(n_runs - 1, dtype=np.int64)])
    return Factorial(signs[:, :n_factors].astype(np.int64), 3, (f"Plackett-Burman of {n_runs} runs",))


def resolution_of(masks: Sequence[int]) -> int:
    """Returns the length of the shortest word of the defining relation of factors given as sums of basic ones.

    A mask has bit i set where basic factor i is part of the product; a word is a set of factors whose product is 1.
    """
    for length in range(1, len(masks) + 1):
        for word in combinations(masks, length):
            product = 0
            for mask in word:
                product ^= mask
            if product == 0:
                return length
        if length >= 5:  # nobody needs to know which higher one it is
            return 5 if _is_dependent(masks) else FULL
    return FULL


def _is_dependent(masks: Sequence[int]) -> bool:
    return len(masks) > max(masks).bit_length()


def _odd(n_factors: int, n_basic: int) -> list[int]:
    """The basic factors, then products of an odd number of them, the longest first; others where these are too few."""
    singles = [1 << i for i in range(n_basic)]
    others = [mask for mask in range(1, 2**n_basic) if mask not in singles]
    others.sort(key=lambda mask: (mask.bit_count() % 2 == 0, -mask.bit_count(), mask))
    return (singles + others)[:n_factors]


def _greedy(n_factors: int, n_basic: int) -> list[int]:
    """The basic factors, then always the product that leaves the highest resolution."""
    chosen = [1 << i for i in range(n_basic)]
    while len(chosen) < n_factors:
        left = [mask for mask in range(1, 2**n_basic) if mask not in chosen]
        chosen.append(max(left, key=lambda mask: (resolution_of([*chosen, mask]), mask.bit_count(), -mask)))
    return chosen[:n_factors]


def _named(masks: Sequence[int], n_basic: int) -> tuple[str, ...]:
    """The generators as they are written: E=ABC."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return tuple(
        f"{letters[i % 26]}={''.join(letters[b] for b in range(n_basic) if mask >> b & 1)}"
        for i, mask in enumerate(masks)
        if i >= n_basic
    )
