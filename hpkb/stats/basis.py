"""Design columns for least squares: cubic B-splines, powers, and indicators of categories."""

from __future__ import annotations

import numpy as np

from hpkb.sweep import FloatArray


def cubic_splines(
    x: FloatArray, low: FloatArray, high: FloatArray, columns: int
) -> tuple[FloatArray, FloatArray]:
    """The cubic B-splines at x on evenly spaced knots over low to high, and their slopes; each (..., n, columns).

    x is (..., n); low and high have the leading axes of x. The splines sum to 1, so one of them has to go where
    the model holds a constant. Even knots (Eilers & Marx 1996) let every spline be the same kernel, which is ten
    times as fast as de Boor's recursion for a whole grid of x at once.
    """
    step = (high - low) / (columns - 3)
    step = np.where(step > 0, step, 1.0)[..., None, None]
    away = (x[..., None] - low[..., None, None]) / step - np.arange(-1, columns - 1)
    distance = np.abs(away)
    inner = np.maximum(1 - distance, 0.0)
    outer = np.maximum(np.subtract(2, distance, out=distance), 0.0, out=distance)
    values, inner2 = outer * outer, 4 * inner * inner
    slopes = np.subtract(inner2, values)
    slopes *= np.sign(away, out=away)
    slopes /= 2 * step
    values *= outer
    values -= np.multiply(inner2, inner, out=inner2)
    values /= 6
    return values, slopes


def powers(x: FloatArray, degree: int) -> FloatArray:
    """x to the powers 1 to `degree`, (n, degree); fewer where x has too few distinct values to tell them apart.

    The columns are at right angles to each other and to the constant, so that least squares stays well
    conditioned; each has mean square 1.
    """
    degree = min(degree, np.unique(x).size - 1)
    if degree < 1:
        return np.empty((x.size, 0))
    centred = (x - x.mean()) / x.std()
    orthogonal = np.linalg.qr(np.vander(centred, degree + 1, increasing=True))[0]
    return np.asarray(orthogonal[:, 1:] * np.sqrt(x.size))


def one_hot(codes: FloatArray, fewest: int = 1) -> FloatArray:
    """Indicators of the levels of a category, (n, levels - 1), without the most common level.

    `codes` are the level numbers, (n,); NaN is a level of its own. Levels with less than `fewest` rows get no
    column: they count as the most common one.
    """
    codes = np.nan_to_num(codes, nan=-1.0)
    levels, counts = np.unique(codes, return_counts=True)
    kept = (counts >= fewest) & (np.arange(levels.size) != counts.argmax())
    return np.asarray((codes[:, None] == levels[kept]).astype(np.float64))
