"""The exact functional analysis of variance of a function on a product grid."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from hpkb.sweep import FloatArray, Hyperparameter


def cells(h: Hyperparameter, number: int) -> FloatArray:
    """Returns the values that stand for a hyperparameter's range: all that were tried if few, else cells' middles."""
    x = h.transformed
    distinct = np.unique(x[~np.isnan(x)])
    if h.scale == "category" or distinct.size <= 16:
        middles = distinct
    else:
        middles = distinct[0] + (np.arange(number) + 0.5) / number * (distinct[-1] - distinct[0])
    return np.exp(middles) if h.scale == "log" else middles


def shares_of(grid: FloatArray, names: list[str]) -> dict[tuple[str, ...], float]:
    """Returns the share of a function's variance of each main effect and each pair's interaction."""
    axes, mean = set(range(grid.ndim)), float(grid.mean())
    main = [grid.mean(axis=tuple(axes - {j})) - mean for j in range(grid.ndim)]
    found = {(names[j],): float((part**2).mean()) for j, part in enumerate(main)}
    for j, k in combinations(range(grid.ndim), 2):
        joint = grid.mean(axis=tuple(axes - {j, k})) - mean - main[j][:, None] - main[k][None, :]
        found[names[j], names[k]] = float((joint**2).mean())
    total = float(grid.var())
    return {key: value / total for key, value in found.items()}
