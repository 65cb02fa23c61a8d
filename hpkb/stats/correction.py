"""Correction of p-values for the number of comparisons made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpkb.sweep import FloatArray


def benjamini_yekutieli(p_values: Sequence[float] | FloatArray) -> FloatArray:
    """The q-values of the p-values, (m,) in the same order: the smallest false discovery rate at which each counts.

    Valid under any dependence between the comparisons (Benjamini & Yekutieli 2001, Theorem 1.3): the factor
    1 + 1/2 + ... + 1/m is the price of that. NaN is no comparison: it stays NaN and is not counted. Raises
    ValueError where a p-value lies outside 0 to 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    counted = np.flatnonzero(~np.isnan(p))
    if ((p[counted] < 0) | (p[counted] > 1)).any():
        raise ValueError("A p-value lies outside 0 to 1.")
    m = counted.size
    q = np.full(p.shape, np.nan)
    if m:
        ranks = np.arange(1, m + 1)
        order = counted[np.argsort(p[counted], kind="stable")]
        scaled = p[order] * m * (1 / ranks).sum() / ranks
        q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
