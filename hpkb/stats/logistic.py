"""Logistic regression that stays finite where one side of a cut never fails: Firth's penalised likelihood.

Diverging runs are often all on one side of a learning rate. Maximum likelihood then has no solution; Jeffreys'
prior as a penalty (Firth 1993) gives one, with tests and intervals from the penalised likelihood ratio (Heinze &
Schemper 2002, *A solution to the problem of separation in logistic regression*, Statistics in Medicine 21).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, expit

from hpkb.sweep import FloatArray

ITERATIONS = 60
LONGEST_STEP = 2.0
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Fit:
    """A penalised fit: `coefficients` (p,), their `covariance` (p, p), and the penalised log likelihood."""

    coefficients: FloatArray
    covariance: FloatArray
    log_likelihood: float


def firth(x: FloatArray, y: FloatArray, weight: FloatArray, free: FloatArray | None = None) -> Fit:
    """The penalised fit of failures y (n,) of 0 and 1 to the columns x (n, p), rows counted `weight` (n,) times.

    Coefficients of columns not in `free` (p,) bool stay 0, while the penalty goes on counting all columns, as the
    likelihood ratio needs.
    """
    move = np.ones(x.shape[1], dtype=bool) if free is None else free.astype(bool)
    beta = np.zeros(x.shape[1])
    value = _penalised(x, y, weight, beta)
    for _ in range(ITERATIONS):
        step = _step(x, y, weight, beta, move)
        step *= min(1.0, LONGEST_STEP / max(float(np.abs(step).max(initial=0.0)), 1e-300))
        for _ in range(20):
            new = _penalised(x, y, weight, beta + step)
            if new >= value - 1e-12:
                break
            step = step / 2
        beta, value = beta + step, max(new, value)
        if float(np.abs(step).max(initial=0.0)) < TOLERANCE:
            break
    covariance = np.asarray(np.linalg.pinv(_information(x, weight, beta)), dtype=np.float64)
    return Fit(beta, covariance, value)


def likelihood_ratio(x: FloatArray, y: FloatArray, weight: FloatArray, tested: FloatArray) -> float:
    """The p-value of the columns `tested` (p,) bool having no effect, by the penalised likelihood ratio."""
    full, reduced = firth(x, y, weight), firth(x, y, weight, ~tested.astype(bool))
    ratio = max(2 * (full.log_likelihood - reduced.log_likelihood), 0.0)
    return float(chdtrc(int(tested.sum()), ratio))


def _information(x: FloatArray, weight: FloatArray, beta: FloatArray) -> FloatArray:
    probability = expit(x @ beta)
    return np.asarray((x * (weight * probability * (1 - probability))[:, None]).T @ x)


def _penalised(x: FloatArray, y: FloatArray, weight: FloatArray, beta: FloatArray) -> float:
    eta = x @ beta
    likelihood = float(weight @ (y * eta - np.logaddexp(0, eta)))
    sign, determinant = np.linalg.slogdet(_information(x, weight, beta))
    return likelihood + 0.5 * float(determinant) if sign > 0 else -np.inf


def _step(x: FloatArray, y: FloatArray, weight: FloatArray, beta: FloatArray, move: FloatArray) -> FloatArray:
    """The Fisher scoring step on the penalised score (Heinze & Schemper 2002, equation 2), 0 where not `move`."""
    probability = expit(x @ beta)
    scaled = x * np.sqrt(weight * probability * (1 - probability))[:, None]
    information = scaled.T @ scaled
    leverage = np.einsum("ij,jk,ik->i", scaled, np.linalg.pinv(information), scaled)
    score = x.T @ (weight * (y - probability) + leverage * (0.5 - probability))
    step = np.zeros_like(beta)
    step[move] = np.linalg.pinv(information[np.ix_(move, move)]) @ score[move]
    return step
