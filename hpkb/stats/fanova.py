"""Functional analysis of variance of a forest: how much of its variation each hyperparameter carries.

Every leaf is a box with a value, so the mean of the forest over all other hyperparameters is a sum over leaves of
value times the shares of the box's sides (Hutter, Hoos & Leyton-Brown 2014, *An efficient approach for assessing
hyperparameter importance*, ICML). The effects are exact: no sampling. The measure is uniform over what was tried,
on each hyperparameter's own scale (Hutter et al. integrate on the raw scale, where a logarithmic range is almost
all of its last decade).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import qmc

from hpkb.stats.encoding import Encoding, Levels
from hpkb.stats.surrogate import Surrogate
from hpkb.stats.trees import Forest
from hpkb.sweep import FloatArray

POINTS = 4096  # of a Sobol sequence, for the total variance; the error is under one percent
BAG_POINTS = 1024
FLAT = 1e-20  # a variance that is none


@dataclass(frozen=True)
class Decomposition:
    """Shares of the variance of a surrogate over the space that was tried.

    `main` (d,) and `pair` (d, d; upper triangle, the interaction alone without the main effects), each with `low` and
    `high` of its 95% interval. What they leave of 1 is interaction of three and more.
    """

    main: FloatArray
    main_low: FloatArray
    main_high: FloatArray
    pair: FloatArray
    pair_low: FloatArray
    pair_high: FloatArray


def decompose(surrogate: Surrogate) -> Decomposition | None:
    """The shares of variance of all main effects and pairs; None where the surrogate is not fitted or is flat."""
    if surrogate.encoding is None:
        return None
    d = len(surrogate.names)
    parts, total = _variances_of_groups(surrogate.forest, surrogate.encoding)
    if total[0] <= FLAT:
        return None
    # A forest smooths away part of the interactions. What it predicts of configurations that it has not seen is
    # no overfit, so where that is more than the forest's own variance, it is the better total.
    shrink = min(1.0, total[0] / max(surrogate.explained, FLAT))
    shares = shrink * parts[0] / total[0]
    refits = [shrink * _shares(forest, surrogate.encoding) for forest in (surrogate.bags, surrogate.chains)]
    low, high = _interval(shares, *refits)
    pairs = [_triangle(values[d:], d) for values in (shares, low, high)]
    return Decomposition(shares[:d], low[:d], high[:d], *pairs)


def _triangle(values: FloatArray, d: int) -> FloatArray:
    square = np.full((d, d), np.nan)
    square[np.triu_indices(d, 1)] = values
    return square


def _interval(shares: FloatArray, bags: FloatArray, chains: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The 95% interval of shares (m,) from bags (bags, m), on the arcsine scale, where a share's error is even.

    A bag sees 63% of the configurations. Where its share differs from that of a chain that sees all of them, the
    share has not settled yet and would move on with more: the interval reaches out twice as far on that side.
    """
    if len(bags) < 3 or not len(chains):
        return np.zeros_like(shares), np.ones_like(shares)
    angle, of_bags, of_chains = (np.arcsin(np.sqrt(np.clip(x, 0, 1))) for x in (shares, bags, chains))
    half = stdtrit(len(bags) - 1, 0.975) * of_bags.std(axis=0, ddof=1)
    moving = 2 * (of_chains.mean(axis=0) - of_bags.mean(axis=0))
    low, high = angle - half + np.minimum(moving, 0), angle + half + np.maximum(moving, 0)
    return np.sin(np.maximum(low, 0)) ** 2, np.sin(np.minimum(high, np.pi / 2)) ** 2


def _shares(forest: Forest, encoding: Encoding) -> FloatArray:
    """The shares of main effects and pairs of each group that is not flat, (groups, d + d(d-1)/2)."""
    parts, total = _variances_of_groups(forest, encoding)
    there = total > FLAT
    return np.asarray(parts[there] / total[there, None])


def _variances_of_groups(forest: Forest, encoding: Encoding) -> tuple[FloatArray, FloatArray]:
    """The variances of main effects and pairs, (groups, d + d(d-1)/2), and in all, (groups,), of each group."""
    levels = [column.levels() for column in encoding.columns]
    groups = [np.flatnonzero(forest.leaf_group == group) for group in range(forest.n_groups)]
    parts = np.stack([_variances(forest, encoding, levels, leaves) for leaves in groups])
    # The total is sampled: never let it fall short of what the exact parts add up to.
    return parts, np.maximum(_total_variance(forest, levels), parts.sum(axis=1))


def _total_variance(forest: Forest, levels: list[Levels]) -> FloatArray:
    """The variance of each group over the product of the levels, (groups,), by quasi-Monte Carlo."""
    points = POINTS if forest.n_groups == 1 else BAG_POINTS
    u = qmc.Sobol(2 * len(levels), scramble=True, rng=np.random.default_rng(0)).random(points)
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
