"""A Gaussian process over a task's configurations, whose functional analysis of variance is exact.

Why beside the forest. Trees make steps: on a smooth response a few hundred runs leave a forest's shares several per
cent short, and no interval makes up for that. A Gaussian process with one length for each hyperparameter (Rasmussen &
Williams 2006, *Gaussian Processes for Machine Learning*, chapters 2 and 5) has no such bias. Its kernel is a product
over hyperparameters, so that means over any of them are products of one-dimensional means (`hpkb.stats.fanova`).

What it costs. Lengths are fitted by the marginal likelihood on at most `FITTED` configurations; prediction and refits
rest on at most `SOLVED`, through the fitted ones as centres (the subset of regressors of chapter 8). Beyond that a
larger sweep costs nothing more, and intervals are those of `SOLVED` configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from hpkb.stats.encoding import Encoding
from hpkb.stats.surrogate import MINIMUM_CONFIGURATIONS, configurations_of
from hpkb.sweep import BoolArray, FloatArray, Sweep

FITTED = 200
SOLVED = 600
REFITS = 24
REFERENCES = (8, 64)  # at least and at most so many configurations that a profile is taken at
STEPS = 30  # of the search for the lengths
CONSTANT = 4.0  # prior variance of the mean, in variances of y
FREEDOM = 4.0  # of Student's t, whose weights tame far-out results
FAR = 4.0  # standard errors off what the others predict: beyond, weights are given
LENGTH, SIGNAL, NOISE = (-3.0, 4.0), (-5.0, 5.0), (-12.0, 2.0)  # bounds of the logarithms
PRIOR_LENGTH = 2**0.5  # of the logarithm, for one hyperparameter (Hvarfner, Hellsten & Nardi 2024, arXiv:2402.02229)


@dataclass(frozen=True)
class Process:
    """A fitted process: sums of products of one-dimensional kernels about `anchors` (m, columns).

    Entry 0 is the fit to all configurations, the others are refits on resampled ones, each with lengths drawn from
    what the data leave open: `lengths` (1 + refits, d), `weights` (1 + refits, m). `scale` brings predictions to the
    objective's unit and `offset` (1 + refits,) is to be added to them; `noise` (1 + refits,) is the standard deviation
    that a configuration of weight 1 has about it, in that unit.
    """

    encoding: Encoding
    anchors: FloatArray
    lengths: FloatArray
    weights: FloatArray
    offset: FloatArray
    scale: float
    noise: FloatArray


class _Data(NamedTuple):
    """Squared distances along each hyperparameter (d, n²), the objective (n,) in its own spread, and weights (n,)."""

    squares: FloatArray
    y: FloatArray
    weight: FloatArray


def fit(
    encoding: Encoding, columns: FloatArray, y: FloatArray, weight: FloatArray, seed: int,
    bounded: bool = False,
) -> Process:  # fmt: skip
    """The process fitted to encoded configurations (n, columns), objectives (n,) and their weights (n,).

    Nothing is far out where the objective is `bounded`. Raises ValueError for fewer than two configurations.
    """
    if y.size < 2:
        raise ValueError("A process needs two or more configurations.")
    rng = np.random.default_rng([seed, 2])
    chosen = rng.permutation(y.size)[:SOLVED]
    rows, few = np.sort(chosen), np.sort(chosen[:FITTED])
    centre = float(np.average(y, weights=weight))
    scale = float(np.sqrt(np.average((y - centre) ** 2, weights=weight))) or 1.0
    scaled = (y - centre) / scale
    data = _Data(_squares(encoding, columns[few], len(encoding.columns)), scaled[few], weight[few])
    theta, trust = _kernel(data, bounded)
    draws = _open(theta, _Data(data.squares, data.y, data.weight * trust), rng)
    everywhere = np.ones(y.size)
    everywhere[few] = trust
    solve = _Solver(encoding, columns[rows], columns[few], scaled[rows], weight[rows] * everywhere[rows])
    if rows.size > few.size and not bounded:
        solve = solve.trusting(theta)
    drawn = (rng.integers(rows.size, size=rows.size) for _ in range(REFITS))
    counts = [np.bincount(d, minlength=rows.size).astype(float) for d in drawn]
    weights = [solve.weights(theta), *(solve.weights(t, c) for t, c in zip(draws, counts, strict=True))]
    thetas = np.vstack([theta, draws])
    signal, together = np.exp(thetas[:, -2])[:, None], np.stack(weights)
    return Process(
        encoding, columns[few], np.exp(thetas[:, :-2]), signal * together,
        centre + scale * CONSTANT * together.sum(axis=1), scale, scale * np.exp(thetas[:, -1] / 2),
    )  # fmt: skip


def process_of(sweep: Sweep, seed: int, bounded: bool = False) -> Process | None:
    """The process of a sweep's feasible configurations; None for fewer than ten, or where all objectives are alike.

    Nothing is far out where the objective is `bounded`: cut, or 0 and 1.
    """
    table = configurations_of(sweep)
    if table.y.size < MINIMUM_CONFIGURATIONS or not sweep.hyperparameters or np.ptp(table.y) == 0:
        return None
    encoding = Encoding.of(sweep.hyperparameters)
    columns = encoding.encode(table.rows).astype(np.float64)
    # As if the seed noise were as large as the misfit: twice the weight at most.
    weight = 2 * table.seeds / (table.seeds + 1)
    return fit(encoding, columns, table.y, weight, seed, bounded)


def predict(process: Process, columns: FloatArray) -> FloatArray:
    """The predicted objective of encoded configurations (n, columns), (n,)."""
    kernel = _kernel_between(process.encoding, process.lengths[0], columns, process.anchors)
    return np.asarray(process.offset[0] + process.scale * (kernel @ process.weights[0]))


def _squares(encoding: Encoding, columns: FloatArray, d: int) -> FloatArray:
    result = np.zeros((d, len(columns), len(columns)))
    for column, owner in enumerate(encoding.owner):
        result[owner] += (columns[:, column, None] - columns[None, :, column]) ** 2
    return result.reshape(d, -1)


def _kernel(data: _Data, bounded: bool) -> tuple[FloatArray, FloatArray]:
    """The logarithms of lengths, signal and noise of largest posterior, (d + 2,), and how far each row is trusted.

    Rows that are far off what the others predict get the weights of Student's t, so that no far-out run bends the fit;
    not where the objective is `bounded` (cut, or 0 and 1): what is far off then is a cliff.
    """
    d = len(data.squares)
    usual = np.concatenate([np.full(d, 0.5 * np.log(d)), [0.0, -2.0]])
    trust = np.ones_like(data.y)
    theta = _search(data, usual, STEPS)
    for _ in range(0 if bounded else 3):
        off = _off(theta, _Data(data.squares, data.y, data.weight * trust)) / np.sqrt(trust)
        if np.abs(off).max() <= FAR:
            break
        trust = (FREEDOM + 1) / (FREEDOM + off**2)
        theta = _search(_Data(data.squares, data.y, data.weight * trust), theta, STEPS // 2)
    return theta, trust


def _search(data: _Data, start: FloatArray, steps: int) -> FloatArray:
    bounds = [LENGTH] * (start.size - 2) + [SIGNAL, NOISE]
    options = {"maxiter": steps, "maxfun": steps + 10, "ftol": 1e-5}
    return np.asarray(minimize(_loss, start, (data,), "L-BFGS-B", jac=True, bounds=bounds, options=options).x)


def _covariance(theta: FloatArray, data: _Data) -> tuple[FloatArray, FloatArray]:
    """What the kernel says of each pair, and the same with constant and noise, (n, n) each."""
    n = data.y.size
    signal = np.exp(theta[-2] - 0.5 * (np.exp(-2 * theta[:-2]) @ data.squares)).reshape(n, n)
    whole = signal + CONSTANT
    whole[np.diag_indices(n)] += np.exp(theta[-1]) / data.weight + 1e-7
    return signal, whole


def _inverse(covariance: FloatArray) -> tuple[FloatArray, float]:
    """The inverse of a positive definite matrix and the logarithm of its determinant."""
    factor, wrong = dpotrf(covariance, lower=1)
    if wrong:
        raise np.linalg.LinAlgError("A covariance is not positive definite.")
    lower = dpotri(factor, lower=1)[0]
    inverse = np.tril(lower) + np.tril(lower, -1).T
    return inverse, 2 * float(np.log(np.diag(factor)).sum())


def _loss(theta: FloatArray, data: _Data) -> tuple[float, FloatArray]:
    """Minus the logarithm of the posterior and its gradient (Rasmussen & Williams 2006, equations 5.8 and 5.9)."""
    d = theta.size - 2
    signal, covariance = _covariance(theta, data)
    inverse, determinant = _inverse(covariance)
    alpha = inverse @ data.y
    inner = inverse - np.outer(alpha, alpha)
    product = inner * signal
    by_length = np.exp(-2 * theta[:d]) * (data.squares @ product.ravel())
    by_noise = float((np.diag(inner) / data.weight).sum()) * np.exp(theta[-1])
    gradient = 0.5 * np.concatenate([by_length, [product.sum(), by_noise]])
    off = (theta - np.concatenate([np.full(d, PRIOR_LENGTH + 0.5 * np.log(d)), [0.0, -3.0]])) / _widths(d)
    loss = 0.5 * float(data.y @ alpha) + 0.5 * determinant + 0.5 * float(off @ off)
    return loss, gradient + off / _widths(d)


def _widths(d: int) -> FloatArray:
    """The standard deviations of the priors of the logarithms."""
    return np.concatenate([np.full(d, np.sqrt(3)), [1.5, 3.0]])


def _off(theta: FloatArray, data: _Data) -> FloatArray:
    """How far each row is from what the others predict, in standard errors (equations 5.10 to 5.12)."""
    inverse, _ = _inverse(_covariance(theta, data)[1])
    return np.asarray(inverse @ data.y / np.sqrt(np.diag(inverse)))


def _open(theta: FloatArray, data: _Data, rng: np.random.Generator) -> FloatArray:
    """Draws of what the data leave open of the logarithms, (refits, d + 2): Laplace's approximation.

    The curvature is that of the gradient over steps of a tenth, no less than the prior's.
    """
    step = 0.1
    here = _loss(theta, data)[1]
    curvature = np.stack([(_loss(theta + move, data)[1] - here) / step for move in step * np.eye(theta.size)])
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    spread = vectors / np.sqrt(np.maximum(values, 1 / 3))
    draws = theta + rng.standard_normal((REFITS, theta.size)) @ spread.T
    low, high = np.array([LENGTH] * (theta.size - 2) + [SIGNAL, NOISE]).T
    return np.asarray(np.clip(draws, low, high))


class _Solver(NamedTuple):
    """What the weights of the anchors are solved from: rows, anchors, objectives and weights of the rows."""

    encoding: Encoding
    rows: FloatArray
    anchors: FloatArray
    y: FloatArray
    weight: FloatArray

    def weights(self, theta: FloatArray, counts: FloatArray | None = None) -> FloatArray:
        """The weights of the anchors (m,), each row counted so many times."""
        lengths, signal, noise = np.exp(theta[:-2]), np.exp(theta[-2]), np.exp(theta[-1])
        between = signal * _kernel_between(self.encoding, lengths, self.rows, self.anchors) + CONSTANT
        gram = signal * _kernel_between(self.encoding, lengths, self.anchors, self.anchors) + CONSTANT
        scale = self.weight if counts is None else self.weight * counts
        used = np.flatnonzero(scale)
        weighted = between[used] * scale[used, None]
        system = noise * gram + weighted.T @ between[used]
        system[np.diag_indices(len(gram))] += 1e-9 * float(np.trace(system)) / len(gram) + 1e-9
        return np.asarray(np.linalg.solve(system, weighted.T @ self.y[used]))

    def trusting(self, theta: FloatArray) -> _Solver:
        """The same with the weights of Student's t where rows are far off what is predicted of them."""
        between = np.exp(theta[-2]) * _kernel_between(self.encoding, np.exp(theta[:-2]), self.rows, self.anchors)
        off = (self.y - (between + CONSTANT) @ self.weights(theta)) * np.sqrt(self.weight / np.exp(theta[-1]))
        if np.abs(off).max() <= FAR:
            return self
        return self._replace(weight=self.weight * np.minimum((FREEDOM + 1) / (FREEDOM + off**2), 1.0))


def _kernel_between(encoding: Encoding, lengths: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """The kernel between rows of a and of b, (len(a), len(b)), of signal 1."""
    return _between(a, b, lengths[encoding.owner])


def _between(a: FloatArray, b: FloatArray, lengths: FloatArray) -> FloatArray:
    a, b = a / lengths, b / lengths
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.exp(-0.5 * np.maximum(squares, 0.0)))


def profiles(
    sweep: Sweep, process: Process, column: int, places: FloatArray, rows: BoolArray | None = None
) -> FloatArray | None:
    """The predictions for the best quarter of the configurations with one hyperparameter moved to `places` (m,).

    One curve a fit and configuration, (1 + refits, configurations, m), in the objective's unit; `places` are on the
    hyperparameter's own scale. Configurations are those `rows` (n_runs,), or all; None where there are none.
    """
    table = configurations_of(sweep)
    there = ~np.isnan(table.rows[:, column]) & (True if rows is None else rows[table.first])
    if not there.any():
        return None
    good = np.flatnonzero(there)[np.argsort(table.y[there], kind="stable")]
    good = good[: int(np.clip(good.size // 4, *REFERENCES))]
    own = process.encoding.owner == column
    at = np.repeat(table.rows[good[:1]], places.size, axis=0)
    at[:, column] = places
    references = process.encoding.encode(table.rows[good]).astype(np.float64)
    where = process.encoding.encode(at).astype(np.float64)
    curves = []
    for lengths, weights in zip(process.lengths, process.weights, strict=True):
        along = _between(where[:, own], process.anchors[:, own], np.full(int(own.sum()), lengths[column]))
        others = lengths[process.encoding.owner[~own]]
        rest = _between(references[:, ~own], process.anchors[:, ~own], others)
        curves.append((rest * weights) @ along.T)
    return np.asarray(process.offset[:, None, None] + process.scale * np.stack(curves))
