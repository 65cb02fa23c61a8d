"""A fitted forest in few bytes, and its predictions without scikit-learn, which takes a second to import.

A tree stands node after node, the left branch of each right behind it, so that only the right one is noted. Rows are
compared as scikit-learn compares them, in single precision, so a threshold loses nothing as the next smaller number of
that precision.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hpkb.sweep import FloatArray

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor


@dataclass(frozen=True)
class PackedForest:
    """The trees of a forest, one after another.

    `feature` (nodes,) is -1 at a leaf; `number` (nodes,) is there the index into `values`, and else how far off the
    right branch is; `threshold` (nodes that are no leaf,) and `roots` (trees,).
    """

    feature: NDArray[np.int16]
    number: NDArray[np.int32]
    threshold: NDArray[np.float32]
    values: FloatArray
    roots: NDArray[np.int64]

    def predict(self, rows: FloatArray, /) -> FloatArray:
        """The mean prediction of the trees, (n,), for rows without NaN, summed in the order of the trees."""
        columns = rows.astype(np.float32)
        node = np.repeat(self.roots[:, None], len(columns), axis=1)
        threshold = np.zeros(self.feature.size, np.float32)
        threshold[self.feature >= 0] = self.threshold
        row = np.arange(len(columns))
        while (inner := self.feature[node] >= 0).any():
            goes_left = columns[row, self.feature[node]] <= threshold[node]
            node = np.where(inner, np.where(goes_left, node + 1, node + self.number[node]), node)
        total = np.zeros(len(columns))
        for of_tree in self.values[self.number[node]]:
            total += of_tree
        return np.asarray(total / len(self.roots))

    def to_bytes(self) -> bytes:
        """The forest as bytes: arrays as numpy keeps them, compressed."""
        file = io.BytesIO()
        for field in fields(self):
            np.save(file, getattr(self, field.name), allow_pickle=False)
        return zlib.compress(file.getvalue(), 6)

    @classmethod
    def from_bytes(cls, data: bytes) -> PackedForest:
        """The forest of some bytes; raises ValueError where they are none."""
        file = io.BytesIO(zlib.decompress(data))
        return cls(*(np.load(file, allow_pickle=False) for _ in fields(cls)))


def packed(forest: ExtraTreesRegressor) -> PackedForest:
    """Returns a forest that predicts what this one does."""
    trees = [estimator.tree_ for estimator in forest.estimators_]
    sizes = np.array([tree.node_count for tree in trees])
    feature = np.concatenate([np.where(tree.children_left < 0, -1, tree.feature) for tree in trees])
    right = np.concatenate([tree.children_right - np.arange(tree.node_count) for tree in trees])
    left = np.concatenate([tree.children_left - np.arange(tree.node_count) for tree in trees])
    inner = feature >= 0
    assert (left[inner] == 1).all(), "a tree does not stand node after node"
    values, index = np.unique(np.concatenate([tree.value[:, 0, 0] for tree in trees])[~inner], return_inverse=True)
    number = np.where(inner, right, 0)
    number[~inner] = index
    threshold = np.concatenate([tree.threshold for tree in trees])[inner]
    below = threshold.astype(np.float32)
    below = np.where(below > threshold, np.nextafter(below, np.float32(-np.inf)), below)
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return PackedForest(feature.astype(np.int16), number.astype(np.int32), below, values, roots)
