"""Logistic regression that stays finite where one side of a cut never fails: Firth's penalised likelihood.

Diverging runs are often all on one side of a learning rate. Maximum likelihood then has no solution; Jeffreys'
prior as a penalty (Firth 1993) gives one, with tests and intervals from the penalised likelihood ratio (Heinze &
Schemper 2002, *A solution to the problem of separation in logistic regression*, Statistics in Medicine 21).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, expit

from hpkb.sweep import BoolArray, FloatArray

ITERATIONS = 60
LONGEST_STEP = 2.0
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Fit:
    """A penalised fit: `coefficients` (p,), their `covariance` (p, p), and the penalised log likelihood."""

    coefficients: FloatArray
    covariance: FloatArray
    log_likelihood: float


@dataclass(frozen=True)
class Data:
    """Failures `y` (n,) of 0 and 1 at the columns `x` (n, p), each row counted `weight` (n,) times."""

    x: FloatArray
    y: FloatArray
    weight: FloatArray


def firth(
    data: Data, free: BoolArray | None = None, offset: float = 0.0, start: FloatArray | None = None
) -> Fit:
    """The penalised fit, with `offset` added to every linear predictor, sought from the coefficients `start` (p,).

    Coefficients of columns not in `free` (p,) stay 0, while the penalty goes on counting all columns, as the
    likelihood ratio needs.
    """
    move = np.ones(data.x.shape[1], dtype=bool) if free is None else free
    beta = np.zeros(data.x.shape[1]) if start is None else np.where(move, start, 0.0)
    value = _penalised(data, beta, offset)
    for _ in range(ITERATIONS):
        step = _step(data, beta, offset, move)
        step = step * min(1.0, LONGEST_STEP / max(float(np.abs(step).max(initial=0.0)), 1e-300))
        beta, value, moved = _climb(data, beta, offset, step, value)
        if moved < TOLERANCE:
            break
    covariance = np.asarray(np.linalg.pinv(_information(data, beta, offset)), dtype=np.float64)
    return Fit(beta, covariance, value)


def likelihood_ratio(data: Data, tested: BoolArray) -> float:
    """The p-value of the columns `tested` (p,) having no effect, by the penalised likelihood ratio."""
    ratio = 2 * (firth(data).log_likelihood - firth(data, ~tested).log_likelihood)
    return float(chdtrc(int(tested.sum()), max(ratio, 0.0)))


def _climb(
    data: Data, beta: FloatArray, offset: float, step: FloatArray, value: float
) -> tuple[FloatArray, float, float]:
    """The point reached along `step`, halved until the penalised likelihood rises, and how far that is."""
    for _ in range(20):
        new = _penalised(data, beta + step, offset)
        if new >= value:
            return beta + step, new, float(np.abs(step).max(initial=0.0))
        step = step / 2
    return beta, value, 0.0


def _information(data: Data, beta: FloatArray, offset: float) -> FloatArray:
    probability = expit(data.x @ beta + offset)
    return np.asarray((data.x * (data.weight * probability * (1 - probability))[:, None]).T @ data.x)


def _penalised(data: Data, beta: FloatArray, offset: float) -> float:
    eta = data.x @ beta + offset
    likelihood = float(data.weight @ (data.y * eta - np.logaddexp(0, eta)))
    sign, determinant = np.linalg.slogdet(_information(data, beta, offset))
    return likelihood + 0.5 * float(determinant) if sign > 0 else -np.inf


def _step(data: Data, beta: FloatArray, offset: float, move: BoolArray) -> FloatArray:
    """The Fisher scoring step on the penalised score (Heinze & Schemper 2002, equation 2), 0 where not `move`."""
    probability = expit(data.x @ beta + offset)
    scaled = data.x * np.sqrt(data.weight * probability * (1 - probability))[:, None]
    information = scaled.T @ scaled
    leverage = ((scaled @ np.linalg.pinv(information)) * scaled).sum(axis=1)
    score = data.x.T @ (data.weight * (data.y - probability) + leverage * (0.5 - probability))
    step = np.zeros_like(beta)
    step[move] = np.linalg.pinv(information[np.ix_(move, move)]) @ score[move]
    return step
