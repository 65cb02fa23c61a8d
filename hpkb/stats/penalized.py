"""Least squares with penalties that stand for what is believed beforehand, and errors that hold both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hpkb.sweep import FloatArray

LARGEST_LEVERAGE = 0.9
FAR_OUT = 4.0  # standard deviations, by the median absolute residual
NORMAL_MAD = 0.6745  # the median absolute value of a standard normal variable


@dataclass(frozen=True)
class Penalized:
    """A fit: `coefficients` (p,), their `covariance` (p, p), residuals and leverage (n,), `sigma2`, degrees of freedom.

    `covariance` is the Bayesian one under even noise, `robust` that under noise of any size anywhere.
    """

    coefficients: FloatArray
    covariance: FloatArray
    robust: FloatArray
    residual: FloatArray
    leverage: FloatArray
    sigma2: float
    dof: float

    def wider(self, factor: float) -> Penalized:
        """The same with all errors so many times as large."""
        return replace(self, covariance=self.covariance * factor**2, robust=self.robust * factor**2)

    def of(self, contrast: FloatArray) -> tuple[float, float]:
        """The estimate of contrast · coefficients and its error, the larger of the two kinds."""
        variance = max(float(contrast @ c @ contrast) for c in (self.covariance, self.robust))
        return float(contrast @ self.coefficients), float(np.sqrt(max(variance, 0.0)))


def penalized(x: FloatArray, y: FloatArray, penalty: FloatArray, towards: FloatArray | None = None) -> Penalized:
    """The minimum of |y - x b|² + (b - towards)' penalty (b - towards); x (n, p), penalty (p, p).

    A penalty is a belief with an error: b scatters about `towards` with covariance sigma² / penalty. The covariances
    hold the bias of believing it (Wahba 1983; Nychka 1988). The robust one takes each residual for the scatter at its
    place, enlarged by its leverage (HC3, MacKinnon & White 1985). What x does not determine has coefficient 0.
    """
    half = _root_of_inverse(x.T @ x + penalty)
    inverse = half @ half.T
    coefficients = inverse @ (x.T @ y if towards is None else x.T @ y + penalty @ towards)
    residual = y - x @ coefficients
    leverage = ((x @ half) ** 2).sum(axis=1)
    dof = max(float(y.size - leverage.sum()), 1.0)
    sigma2 = float(residual @ residual) / dof
    scores = x * (residual / (1 - np.minimum(leverage, LARGEST_LEVERAGE)))[:, None]
    robust = inverse @ (scores.T @ scores + sigma2 * penalty) @ inverse
    return Penalized(coefficients, sigma2 * inverse, robust, residual, leverage, sigma2, dof)


def tamed(y: FloatArray, residual: FloatArray) -> tuple[FloatArray, float]:
    """y with what is far out of a fit drawn in to where that begins, (n,), and what errors are to be widened by.

    `residual` (n,) is y less the fit. A step of Huber's estimator by pseudo-values (Huber & Ronchetti 2009, section
    7.6): some runs that failed in their own way do not drown all others. The errors are those of the pseudo-values
    over the share that was left as it is.
    """
    scale = float(np.median(np.abs(residual))) / NORMAL_MAD
    limit = FAR_OUT * scale
    out = np.abs(residual) > limit
    if not scale > 0 or not out.any():
        return y, 1.0
    return y - residual + np.clip(residual, -limit, limit), 1 / max(1 - float(out.mean()), 0.5)


def rough(
    x: FloatArray, y: FloatArray, penalty: FloatArray, towards: FloatArray | None = None
) -> tuple[FloatArray, float]:
    """The coefficients of `penalized` and its sigma², without the errors: for the steps on the way to a fit."""
    gram, right = x.T @ x, x.T @ y
    half = _root_of_inverse(gram + penalty)
    coefficients = half @ (half.T @ (right if towards is None else right + penalty @ towards))
    rss = float(y @ y - 2 * coefficients @ right + coefficients @ gram @ coefficients)
    dof = max(float(y.size - ((gram @ half) * half).sum()), 1.0)
    return coefficients, max(rss, 1e-12 * float(y @ y)) / dof


def _root_of_inverse(gram: FloatArray) -> FloatArray:
    """A root of the inverse of a symmetric matrix, (p, rank), in the directions that it determines."""
    size = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    values, vectors = np.linalg.eigh(gram / np.outer(size, size))
    kept = values > 1e-10 * max(float(values[-1]), 1e-300)
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]) / size[:, None])
