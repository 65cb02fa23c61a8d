"""Regression trees as flat arrays: predictions, and the boxes of their leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpkb.sweep import BoolArray, FloatArray

IntArray = NDArray[np.int64]
Float32Array = NDArray[np.float32]
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Chain:
    """A value and scikit-learn trees (`.tree_`) whose predictions, each multiplied by `rate`, add to it."""

    base: float
    trees: Sequence[Any]
    rate: float


@dataclass(frozen=True)
class Forest:
    """Trees whose values add up within each group.

    Node arrays (nodes,): `feature` is -1 at a leaf, rows with column <= `threshold` go `left`. `root` and `group`
    (trees,). Leaf arrays: the box `lower` < column <= `upper` (leaves, columns), `value` and `leaf_group` (leaves,),
    sorted by group. `base` (groups,) is added to the sum of a group's trees.
    """

    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    node_value: FloatArray
    root: IntArray
    group: IntArray
    lower: FloatArray
    upper: FloatArray
    value: FloatArray
    leaf_group: IntArray
    base: FloatArray

    @property
    def n_groups(self) -> int:
        """How many predictions there are for a row."""
        return int(self.base.size)

    def predict(self, columns: Float32Array) -> FloatArray:
        """The prediction of each group, (n, columns) to (groups, n)."""
        parts = [
            self._predict(columns[start : start + ROWS_AT_ONCE])
            for start in range(0, max(len(columns), 1), ROWS_AT_ONCE)
        ]
        return np.hstack(parts)

    def _predict(self, columns: Float32Array) -> FloatArray:
        node = np.repeat(self.root[:, None], len(columns), axis=1)
        row = np.arange(len(columns))
        while True:
            feature = self.feature[node]
            if (feature < 0).all():
                break
            goes_left = columns[row, feature] <= self.threshold[node]
            node = np.where(feature < 0, node, np.where(goes_left, self.left[node], self.right[node]))
        total = np.zeros((self.n_groups, len(columns)))
        np.add.at(total, self.group, self.node_value[node])
        return total + self.base[:, None]

    def inside(self, columns: Float32Array, which: BoolArray) -> BoolArray:
        """Whether rows lie in the leaves' boxes as far as the columns `which` go, (n, leaves)."""
        holds = np.ones((len(columns), len(self.value)), dtype=bool)
        for column in np.flatnonzero(which):
            x = columns[:, column, None]
            holds &= (x > self.lower[:, column]) & (x <= self.upper[:, column])
        return holds

    def profile(self, own: BoolArray, at: Float32Array, references: Float32Array) -> FloatArray:
        """The mean prediction over `references` with the columns `own` taken from each row of `at`, (groups, m)."""
        share = self.inside(references, ~own).mean(axis=0)
        return self.base[:, None] + self.sum_groups(self.inside(at, own) * (self.value * share))

    def sum_groups(self, leaf_values: FloatArray) -> FloatArray:
        """Sums over the leaves of each group, (n, leaves) to (groups, n)."""
        starts = np.searchsorted(self.leaf_group, np.arange(self.n_groups))
        return np.add.reduceat(leaf_values, starts, axis=1).T


def empty_forest() -> Forest:
    """A forest of no trees and no groups."""
    none, numbers = np.empty(0, dtype=np.int64), np.empty(0)
    boxes = np.empty((0, 0))
    return Forest(none, numbers, none, none, numbers, none, none, boxes, boxes, numbers, none, numbers)


def forest_of(chains: Sequence[Chain], n_columns: int, *, together: bool) -> Forest:
    """The forest of some chains: one group, the mean of all, if `together`; otherwise a group for each."""
    share = 1 / len(chains) if together else 1.0
    trees = [tree for chain in chains for tree in chain.trees]
    lengths = [len(chain.trees) for chain in chains]
    chain_of = np.repeat(np.arange(len(chains)), lengths)
    group = np.zeros_like(chain_of) if together else chain_of
    counts = np.array([tree.node_count for tree in trees])
    root = np.concatenate([[0], np.cumsum(counts)[:-1]])
    feature = np.concatenate([tree.feature for tree in trees])
    left = np.concatenate([tree.children_left + r for tree, r in zip(trees, root, strict=True)])
    right = np.concatenate([tree.children_right + r for tree, r in zip(trees, root, strict=True)])
    feature = np.where(feature < 0, -1, feature)
    threshold = np.concatenate([tree.threshold for tree in trees])
    rate = np.repeat(np.repeat([share * chain.rate for chain in chains], lengths), counts)
    value = rate * np.concatenate([tree.value[:, 0, 0] for tree in trees])
    lower, upper = _boxes(feature, threshold, left, right, root, n_columns)
    leaf = np.flatnonzero(feature < 0)
    bases = np.array([chain.base for chain in chains])
    return Forest(
        feature, threshold, left, right, value, root, group, lower[leaf], upper[leaf], value[leaf],
        np.repeat(group, counts)[leaf], np.array([bases.mean()]) if together else bases,
    )  # fmt: skip


def _boxes(
    feature: IntArray, threshold: FloatArray, left: IntArray, right: IntArray, root: IntArray, n_columns: int
) -> tuple[FloatArray, FloatArray]:
    """The box of every node, two arrays (nodes, columns): level by level from the roots."""
    lower = np.full((feature.size, n_columns), -np.inf)
    upper = np.full((feature.size, n_columns), np.inf)
    parents = root[feature[root] >= 0]
    while parents.size:
        split, cut = feature[parents], threshold[parents]
        for child in (left[parents], right[parents]):
            lower[child], upper[child] = lower[parents], upper[parents]
        upper[left[parents], split] = np.minimum(upper[left[parents], split], cut)
        lower[right[parents], split] = np.maximum(lower[right[parents], split], cut)
        children = np.concatenate([left[parents], right[parents]])
        parents = children[feature[children] >= 0]
    return lower, upper
