"""Functional analysis of variance of a forest: how much of its variation each hyperparameter carries.

Every leaf is a box with a value, so the mean of the forest over all other hyperparameters is a sum over leaves of
value times the shares of the box's sides (Hutter, Hoos & Leyton-Brown 2014, *An efficient approach for assessing
hyperparameter importance*, ICML). The effects are exact: no sampling. The measure is uniform over what was tried,
on each hyperparameter's own scale (Hutter et al. integrate on the raw scale, where a logarithmic range is almost
all of its last decade).
"""

from __future__ import annotations

from functools import reduce
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from hpkb.stats.encoding import Encoding, Levels
from hpkb.stats.surrogate import Surrogate
from hpkb.stats.trees import Forest
from hpkb.sweep import FloatArray

POINTS = 4096  # of a Sobol sequence, for the total variance; the error is under one percent
FLAT = 1e-20  # a variance that is none


def forest_shares(surrogate: Surrogate) -> FloatArray | None:
    """The shares of variance of the main effects, then of the pairs, (d + d(d-1)/2,); None where there is no forest."""
    if surrogate.encoding is None:
        return None
    parts, total = _variances_of_groups(surrogate.forest, surrogate.encoding)
    if total[0] <= FLAT:
        return None
    # A forest smooths away part of the interactions. What it predicts of configurations that it has not seen is
    # no overfit, so where that is more than the forest's own variance, it is the better total.
    return np.asarray(min(1.0, total[0] / max(surrogate.explained, FLAT)) * parts[0] / total[0])


def _variances_of_groups(forest: Forest, encoding: Encoding) -> tuple[FloatArray, FloatArray]:
    """The variances of main effects and pairs, (groups, d + d(d-1)/2), and in all, (groups,), of each group."""
    levels = [column.levels() for column in encoding.columns]
    groups = [np.flatnonzero(forest.leaf_group == group) for group in range(forest.n_groups)]
    parts = np.stack([_variances(forest, encoding, levels, leaves) for leaves in groups])
    # The total is sampled: never let it fall short of what the exact parts add up to.
    return parts, np.maximum(_total_variance(forest, levels), parts.sum(axis=1))


def _total_variance(forest: Forest, levels: list[Levels]) -> FloatArray:
    """The variance of each group over the product of the levels, (groups,), by quasi-Monte Carlo."""
    u = qmc.Sobol(2 * len(levels), scramble=True, rng=np.random.default_rng(0)).random(POINTS)
    columns = []
    for j, level in enumerate(levels):
        which = np.minimum(np.searchsorted(np.cumsum(level.weight), u[:, 2 * j]), level.weight.size - 1)
        low, high = level.low[which], level.high[which]
        columns.append(low + (high - low) * u[:, 2 * j + 1, None])
    return np.asarray(forest.predict(np.hstack(columns).astype(np.float32)).var(axis=1))


def _variances(
    forest: Forest, encoding: Encoding, levels: list[Levels], leaves: NDArray[np.int64]
) -> FloatArray:
    """The variance of each main effect and of each pair's interaction, (d + d(d-1)/2,)."""
    d = len(levels)
    overlap = [_overlap(forest, encoding.owner == j, levels[j], leaves) for j in range(d)]
    weight = [level.weight for level in levels]
    share = np.stack([o @ w for o, w in zip(overlap, weight, strict=True)])
    value = forest.value[leaves]
    mean = float(value @ share.prod(axis=0))
    main = [(value * _product_without(share, j)) @ overlap[j] - mean for j in range(d)]
    variances = [float(w @ f**2) for w, f in zip(weight, main, strict=True)]
    for j, k in combinations(range(d), 2):
        joint = (overlap[j] * (value * _product_without(share, j, k))[:, None]).T @ overlap[k]
        joint = joint - mean - main[j][:, None] - main[k][None, :]
        variances.append(float(weight[j] @ joint**2 @ weight[k]))
    return np.array(variances)


def _product_without(share: FloatArray, *left_out: int) -> FloatArray:
    """The product of the rows of share (d, leaves) but for some, (leaves,)."""
    kept = [share[m] for m in range(len(share)) if m not in left_out]
    return reduce(np.multiply, kept, np.ones(share.shape[1]))


def _overlap(
    forest: Forest, own: NDArray[np.bool_], levels: Levels, leaves: NDArray[np.int64]
) -> FloatArray:
    """The share of each level that lies in each leaf's box, (leaves, levels)."""
    result = np.ones((leaves.size, levels.weight.size))
    for i, column in enumerate(np.flatnonzero(own)):
        lower, upper = forest.lower[leaves, column, None], forest.upper[leaves, column, None]
        low, high = levels.low[None, :, i], levels.high[None, :, i]
        width = high - low
        within = np.clip((np.minimum(high, upper) - np.maximum(low, lower)) / np.where(width > 0, width, 1), 0, 1)
        result *= np.where(width > 0, within, (low > lower) & (low <= upper))
    return result
