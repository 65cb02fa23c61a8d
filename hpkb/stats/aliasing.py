"""Which hyperparameters a design cannot tell apart, so that an effect may be that of either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from hpkb.stats.encoding import explained_absence
from hpkb.sweep import FloatArray, Hyperparameter, IntArray, Sweep

LEFT = 0.05  # of a column's length that others must leave for an effect of its own; correlations above 0.9987
FEWEST_REPEATS = 3.0  # configurations to a value, before a value that always goes with another one means anything


@dataclass(frozen=True)
class Aliases:
    """What a design leaves to be told apart.

    `groups` are the sets of names that always changed together; `hidden` the names that the others in their group
    explain, so that no effect may be ascribed to them. `correlation` has for each pair the largest canonical
    correlation of its columns (Hotelling 1936), 1 where one is a function of the other. `condition` is the condition
    number of all columns, each of length 1 (Belsley, Kuh & Welsch 1980): infinite where some are aliased.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    hidden: frozenset[str] = frozenset()
    correlation: dict[tuple[str, str], float] = field(default_factory=dict)
    condition: float = 1.0


def aliases_of(sweep: Sweep) -> Aliases:
    """The aliases among the hyperparameters of a sweep, by its configurations, infeasible ones counted in.

    Two are aliased where their columns on their own scales are all but proportional, or where one takes a single value
    with each value of the other; several where one is all but a weighted sum of the others.
    """
    _, first = np.unique(sweep.configuration, return_index=True)
    at = sweep.subset(first.astype(np.int64))
    blocks = {h.name: _block(h, at.hyperparameters) for h in at.hyperparameters}
    blocks = {name: block for name, block in blocks.items() if block.shape[1]}
    parameters = [h for h in at.hyperparameters if h.name in blocks]
    codes = {h.name: _codes(h) for h in parameters}
    groups, hidden, correlation = list[tuple[str, ...]](), set[str](), dict[tuple[str, str], float]()
    for one, other in combinations(parameters, 2):
        pair = (one.name, other.name)
        found = _hidden_of_pair(pair, blocks, codes)
        correlation[pair] = 1.0 if found else _canonical(blocks[one.name], blocks[other.name])
        if found:
            groups.append(pair)
            hidden |= found
    kept = [name for name in blocks if name not in {pair[1] for pair in groups}]
    several, condition = _dependent(kept, blocks, first.size)
    groups += several
    hidden |= {name for group in several for name in group}
    return Aliases(tuple(groups), frozenset(hidden), correlation, float("inf") if groups else condition)


def _block(h: Hyperparameter, others: Sequence[Hyperparameter]) -> FloatArray:
    """Orthonormal columns of one hyperparameter without the constant, (n, columns): its value, or its levels."""
    x = h.transformed
    present = ~np.isnan(x)
    if not present.any():
        return np.empty((x.size, 0))
    if h.scale == "category":
        columns = (x[:, None] == np.unique(x[present])[None, :]).astype(float)
    else:
        columns = np.where(present, x - x[present].mean(), 0.0)[:, None]
    if not present.all() and not explained_absence(h, others):
        columns = np.hstack([columns, present[:, None].astype(float)])
    centred = columns - columns.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(u[:, s > 1e-9 * max(float(s[0]), 1e-300)])


def _codes(h: Hyperparameter) -> tuple[IntArray, int]:
    """The number of each value, (n,), -1 where absent, and how many values there are."""
    codes = np.full(h.values.size, -1, dtype=np.int64)
    present = ~np.isnan(h.values)
    distinct, inverse = np.unique(h.values[present], return_inverse=True)
    codes[present] = inverse
    return codes, int(distinct.size)


def _hidden_of_pair(
    pair: tuple[str, str], blocks: dict[str, FloatArray], codes: dict[str, tuple[IntArray, int]]
) -> set[str]:
    """Which of the two cannot be told from the other."""
    one, other = pair
    if len(blocks[one]) < 2:
        return set()
    determined = _determined(codes[one], codes[other])
    found = {name for name, is_hidden in zip(pair, determined, strict=True) if is_hidden}
    for name, by in (pair, pair[::-1]):
        own, of_other = blocks[name], blocks[by]
        left = own - of_other @ (of_other.T @ own)
        if own.shape[1] <= of_other.shape[1] < len(own) - 1 and np.linalg.norm(left, axis=0).max() < LEFT:
            found.add(name)
    return found


def _determined(a: tuple[IntArray, int], b: tuple[IntArray, int]) -> tuple[bool, bool]:
    """Whether a is a function of b, and b one of a, where both are there, each value having come up several times."""
    there = (a[0] >= 0) & (b[0] >= 0)
    n = int(there.sum())
    if n < 2 or min(a[1], b[1]) * FEWEST_REPEATS > n:
        return False, False
    x, y = a[0][there], b[0][there]
    n_x, n_y = (int(np.count_nonzero(np.bincount(codes))) for codes in (x, y))
    if min(n_x, n_y) < 2:
        return False, False
    repeated = [FEWEST_REPEATS * k <= n for k in (n_x, n_y)]
    both = x * b[1] + y
    n_both = np.count_nonzero(np.bincount(both)) if a[1] * b[1] <= 16 * n else np.unique(both).size
    return bool(n_both == n_y and repeated[1]), bool(n_both == n_x and repeated[0])


def _canonical(a: FloatArray, b: FloatArray) -> float:
    return min(float(np.linalg.norm(a.T @ b, 2)), 1.0)


def _dependent(
    names: Sequence[str], blocks: dict[str, FloatArray], n: int
) -> tuple[list[tuple[str, ...]], float]:
    """The sets of three and more of which one is all but a sum of the others, and the condition number of all."""
    if not names:
        return [], 1.0
    columns = np.hstack([blocks[name] for name in names])
    owner = np.repeat(np.arange(len(names)), [blocks[name].shape[1] for name in names])
    if columns.shape[1] >= n - 1:
        return [], float("inf")
    values, vectors = np.linalg.eigh(columns.T @ columns)
    found = dict[tuple[str, ...], None]()
    for size, vector in zip(values, vectors.T, strict=True):
        # the length of a sum of columns whose weights have length 1: next to nothing is left
        if size < LEFT**2:
            weight = np.sqrt(np.bincount(owner, weights=vector**2, minlength=len(names)))
            found[tuple(name for name, w in zip(names, weight, strict=True) if w > 0.1)] = None
    condition = float(np.sqrt(values[-1] / values[0])) if values[0] > 1e-12 else float("inf")
    return [group for group in found if len(group) > 1], condition
