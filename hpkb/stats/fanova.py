"""Functional analysis of variance: how much of the variation each hyperparameter carries.

The kernel of a process (`hpkb.stats.gaussian`) is a product over hyperparameters, so its mean over any of them is a
product of one-dimensional means, and the variance of every main effect and interaction is a quadratic form of its
weights (Durrande et al. 2013, *ANOVA kernels and RKHS of zero mean functions for model-based sensitivity analysis*,
Journal of Multivariate Analysis 115). The effects are exact: no sampling. The measure is uniform over what was tried,
on each hyperparameter's own scale (Hutter, Hoos & Leyton-Brown 2014, ICML, integrate on the raw scale, where a
logarithmic range is almost all of its last decade).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import stdtrit

from hpkb.stats.gaussian import Process
from hpkb.sweep import FloatArray

FLAT = 1e-12  # a variance that is none, beside that of the objective
LEAST = 0.002  # a bound within a fifth of a per cent of nothing or of all is that


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


def decompose(process: Process | None, wider: float = 1.0) -> Decomposition | None:
    """The shares of variance of all main effects and pairs; None where there is no process or it is flat.

    `wider` is what the intervals' half-widths are multiplied by.
    """
    if process is None:
        return None
    d = len(process.encoding.columns)
    parts, total = _variances(process)
    if total[0] <= FLAT:
        return None
    shares = parts / np.maximum(total, FLAT)[:, None]
    low, high = _interval(shares[0], shares[1:], wider)
    pairs = [_triangle(values[d:], d) for values in (shares[0], low, high)]
    return Decomposition(shares[0, :d], low[:d], high[:d], *pairs)


def _triangle(values: FloatArray, d: int) -> FloatArray:
    square = np.full((d, d), np.nan)
    square[np.triu_indices(d, 1)] = values
    return square


def _interval(shares: FloatArray, refits: FloatArray, wider: float) -> tuple[FloatArray, FloatArray]:
    """The 95% interval of shares (m,) from refits (refits, m), on the arcsine scale, where a share's error is even.

    Noise adds to every share, once in the fit and once more in the refits; a surrogate that smooths takes from it, once
    and once more. By twice the difference of the two the interval reaches to the other side.
    """
    angle, of_refits = (np.arcsin(np.sqrt(np.clip(x, 0, 1))) for x in (shares, refits))
    half = wider * stdtrit(len(refits) - 1, 0.975) * of_refits.std(axis=0, ddof=1)
    added = 2 * (of_refits.mean(axis=0) - angle)
    low = np.sin(np.maximum(angle - half - np.maximum(added, 0), 0)) ** 2
    high = np.sin(np.minimum(angle + half - np.minimum(added, 0), np.pi / 2)) ** 2
    return np.where(low < LEAST, 0.0, low), np.where(high > 1 - LEAST, 1.0, np.maximum(high, LEAST))


def _variances(process: Process) -> tuple[FloatArray, FloatArray]:
    """The variances of main effects and pairs, (1 + refits, d + d(d-1)/2), and in all, (1 + refits,)."""
    fits = zip(process.lengths, process.weights, strict=True)
    found = [_of_fit(process, lengths, weights) for lengths, weights in fits]
    parts = np.stack([parts for parts, _ in found])
    return parts, np.maximum([total for _, total in found], parts.sum(axis=1))


def _of_fit(process: Process, lengths: FloatArray, weights: FloatArray) -> tuple[FloatArray, float]:
    """The same of one fit: quadratic forms of its weights with the kernel's moments along each hyperparameter."""
    kernels = [_along(process, j, length) for j, length in enumerate(lengths)]
    roots = [np.sqrt(column.levels().weight) for column in process.encoding.columns]
    means = [kernel @ root for kernel, root in zip(kernels, roots, strict=True)]
    off = [kernel - np.outer(mean, root) for kernel, mean, root in zip(kernels, means, roots, strict=True)]
    alone = weights * np.prod(means, axis=0)
    whole = kernels[0] @ kernels[0].T
    for kernel in kernels[1:]:
        whole *= kernel @ kernel.T
    total = max(float(weights @ whole @ weights) - float(alone.sum()) ** 2, 0.0)
    relative = [o / mean[:, None] for o, mean in zip(off, means, strict=True)]
    weighted = [r * alone[:, None] for r in relative]
    parts = [float((w.sum(axis=0) ** 2).sum()) for w in weighted]
    parts += [float(((weighted[j].T @ relative[k]) ** 2).sum()) for j, k in combinations(range(len(relative)), 2)]
    return np.array(parts), total


def _along(process: Process, j: int, length: float) -> FloatArray:
    """The kernel along one hyperparameter between anchors and levels, times the roots of their weights, (m, levels)."""
    levels = process.encoding.columns[j].levels()
    at = (levels.low + levels.high) / 2
    own = process.anchors[:, process.encoding.owner == j]
    kernel = np.exp(-0.5 * ((own[:, None, :] - at[None]) ** 2).sum(axis=2) / length**2)
    return np.asarray(kernel * np.sqrt(levels.weight))
