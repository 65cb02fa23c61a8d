"""Logistic regression that stays finite where one side of a cut never fails: Firth's penalised likelihood.

Diverging runs are often all on one side of a learning rate. Maximum likelihood then has no solution; Jeffreys'
prior as a penalty (Firth 1993) gives one, with tests and intervals from the penalised likelihood ratio (Heinze &
Schemper 2002, *A solution to the problem of separation in logistic regression*, Statistics in Medicine 21).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtrc, chdtri, expit

from hpkb.sweep import BoolArray, FloatArray

ITERATIONS = 60
LONGEST_STEP = 2.0
TOLERANCE = 1e-7
RATIO = float(chdtri(1, 0.05))  # a likelihood ratio beyond which a value lies outside the 95% interval
PRECISION = 1e-4  # of an interval's end, as a share of the stretch that is searched


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
    place = _place(data, np.zeros(data.x.shape[1]) if start is None else np.where(move, start, 0.0), offset)
    for _ in range(ITERATIONS):
        step = _step(data, place, move)
        step = step * min(1.0, LONGEST_STEP / max(float(np.abs(step).max(initial=0.0)), 1e-300))
        place, moved = _climb(data, place, offset, step)
        if moved < TOLERANCE:
            break
    covariance = np.asarray(np.linalg.pinv(place.information), dtype=np.float64)
    return Fit(place.beta, covariance, place.value)


def likelihood_ratio(data: Data, tested: BoolArray) -> float:
    """The p-value of the columns `tested` (p,) having no effect, by the penalised likelihood ratio."""
    ratio = 2 * (firth(data).log_likelihood - firth(data, ~tested).log_likelihood)
    return float(chdtrc(int(tested.sum()), max(ratio, 0.0)))


def interval_end(distance: Callable[[float], float], inside: float, outside: float) -> float | None:
    """Where twice the log likelihood lost, `distance`, passes the 95% point between a place inside and one further out.

    None where the outer one is not ruled out either: the interval is open there.
    """
    if distance(outside) < RATIO:
        return None
    if distance(inside) >= RATIO:
        return inside
    width = abs(outside - inside)
    return float(brentq(lambda place: distance(place) - RATIO, inside, outside, xtol=PRECISION * width, rtol=1e-12))


@dataclass(frozen=True)
class _Place:
    """A point of the likelihood: `probability` of failure (n,), `scaled` columns (n, p), their information (p, p)."""

    beta: FloatArray
    probability: FloatArray
    scaled: FloatArray
    information: FloatArray
    value: float


def _place(data: Data, beta: FloatArray, offset: float) -> _Place:
    eta = data.x @ beta + offset
    probability = expit(eta)
    scaled = data.x * np.sqrt(data.weight * probability * (1 - probability))[:, None]
    information = scaled.T @ scaled
    sign, determinant = np.linalg.slogdet(information)
    likelihood = float(data.weight @ (data.y * eta - np.logaddexp(0, eta)))
    value = likelihood + 0.5 * float(determinant) if sign > 0 else -np.inf
    return _Place(beta, probability, scaled, information, value)


def _climb(data: Data, place: _Place, offset: float, step: FloatArray) -> tuple[_Place, float]:
    """The place reached along `step`, halved until the penalised likelihood rises, and how far that is."""
    for _ in range(20):
        new = _place(data, place.beta + step, offset)
        if new.value >= place.value:
            return new, float(np.abs(step).max(initial=0.0))
        step = step / 2
    return place, 0.0


def _step(data: Data, place: _Place, move: BoolArray) -> FloatArray:
    """The Fisher scoring step on the penalised score (Heinze & Schemper 2002, equation 2), 0 where not `move`."""
    leverage = np.einsum("np,np->n", place.scaled @ np.linalg.pinv(place.information), place.scaled)
    score = data.x.T @ (data.weight * (data.y - place.probability) + leverage * (0.5 - place.probability))
    step = np.zeros_like(place.beta)
    step[move] = np.linalg.pinv(place.information[np.ix_(move, move)]) @ score[move]
    return step
