"""Least squares for a curve whose place along one axis moves with other variables.

The model is y = f(u - shifts · theta) + additive · beta + noise, f a cubic spline of unknown shape. Everything is
evaluated for many theta at once, since profiles and searches over theta are what it is used for.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from hpkb.stats.basis import cubic_splines
from hpkb.stats.sampling import drawn
from hpkb.sweep import BoolArray, FloatArray, IntArray

AT_ONCE = 8_000  # rows times thetas whose columns are made together
SETTLED = 1e-9  # of the rss: a step that promises to lower it by less is not taken


@dataclass(frozen=True)
class ShiftModel:
    """The data of one fit: y, u, weights (n,); shifts (n, q), centred; additive (n, p), a constant among its columns.

    `columns` is the number of splines, one of which gives way to the constant. `limits` (q,) bounds each theta: a
    category that were free to move anywhere would leave the others' curve and get one of its own, beside theirs.
    """

    y: FloatArray
    u: FloatArray
    weights: FloatArray
    shifts: FloatArray
    additive: FloatArray
    columns: int
    limits: FloatArray

    @cached_property
    def root_weights(self) -> FloatArray:
        """The square roots of the weights, scaled to mean 1, (n,)."""
        return np.asarray(np.sqrt(self.weights / self.weights.mean()))

    @cached_property
    def base(self) -> FloatArray:
        """Orthonormal columns that span the weighted additive part, (n, rank)."""
        left, sizes, _ = np.linalg.svd(self.additive * self.root_weights[:, None], full_matrices=False)
        return np.asarray(left[:, sizes > 1e-9 * sizes[0]])

    @cached_property
    def response(self) -> FloatArray:
        """The weighted y without its additive part, (n,)."""
        return self.without_base((self.y * self.root_weights)[:, None])[:, 0]

    def without_base(self, columns: FloatArray) -> FloatArray:
        """The weighted columns (..., n, k) at right angles to the additive part."""
        return np.asarray(columns - self.base @ (self.base.T @ columns))

    def splines(self, index: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The columns of f at index (..., n) and their slopes, each (..., n, columns - 1)."""
        values, slopes = cubic_splines(index, index.min(axis=-1), index.max(axis=-1), self.columns)
        return values[..., 1:], slopes[..., 1:]


def thinned(model: ShiftModel, n: int) -> ShiftModel:
    """The problem on n of the rows; the same where there are no more."""
    if model.y.size <= n:
        return model
    rows = drawn(model.y.size, n)
    data = {name: getattr(model, name)[rows] for name in ("y", "u", "weights", "shifts", "additive")}
    return replace(model, **data)


@dataclass(frozen=True)
class State:
    """The least-squares fit at r values of theta.

    theta (r, q); coefficients (r, k) of f; curve and slope, f and f' at each row, (r, n); design (r, n, k) the
    weighted spline columns at right angles to the additive part; residual (r, n), weighted; rss (r,).
    """

    theta: FloatArray
    coefficients: FloatArray
    curve: FloatArray
    slope: FloatArray
    design: FloatArray
    residual: FloatArray
    rss: FloatArray

    def take(self, rows: int | IntArray | slice) -> State:
        """The fits of some rows; one row number keeps its axis."""
        index = slice(rows, rows + 1) if isinstance(rows, int) else rows
        return State(*(getattr(self, f.name)[index] for f in fields(self)))


def evaluate(model: ShiftModel, theta: FloatArray) -> State:
    """The fit of f and the additive part at each theta, (r, q).

    A few at a time where there are many rows: the columns of all of them together would not stay in the cache.
    """
    at_once = max(AT_ONCE // max(model.y.size, 1), 1)
    parts = [_evaluate(model, theta[i : i + at_once]) for i in range(0, len(theta), at_once)]
    if len(parts) == 1:
        return parts[0]
    return State(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(State)))


def _evaluate(model: ShiftModel, theta: FloatArray) -> State:
    values, slopes = model.splines(model.u - theta @ model.shifts.T)
    design = model.without_base(values * model.root_weights[:, None])
    fitted = coefficients(design, np.broadcast_to(model.response, design.shape[:2])[..., None])
    residual = model.response - (design @ fitted)[..., 0]
    curve, slope = (values @ fitted)[..., 0], (slopes @ fitted)[..., 0]
    return State(theta, fitted[..., 0], curve, slope, design, residual, (residual**2).sum(axis=-1))


def curve_at(model: ShiftModel, states: State, index: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The spline columns at index (r, m), their slopes, both (r, m, k), and f there (r, m); moved to the edge of the
    data where index lies beyond.
    """
    own = model.u - states.theta @ model.shifts.T
    low, high = own.min(axis=-1), own.max(axis=-1)
    values, slopes = cubic_splines(np.clip(index, low[:, None], high[:, None]), low, high, model.columns)
    values, slopes = values[..., 1:], slopes[..., 1:]
    return values, slopes, (values @ states.coefficients[..., None])[..., 0]


def descend(model: ShiftModel, state: State, free: slice, steps: int) -> State:
    """The fits after at most so many damped Gauss-Newton steps (Levenberg-Marquardt) on the free part of theta."""
    q = model.shifts[:, free].shape[1]
    damping = np.full(state.rss.shape, 1e-3)
    for _ in range(steps if q else 0):
        tangent = project(state.design, shift_tangent(model, state, free))
        gram = tangent.swapaxes(-1, -2) @ tangent
        gram += damping[:, None, None] * (np.einsum("rii->ri", gram)[:, :, None] * np.eye(q)) + 1e-12 * np.eye(q)
        slope = tangent.swapaxes(-1, -2) @ state.residual[..., None]
        move = np.linalg.solve(gram, slope)[..., 0]
        if ((move * slope[..., 0]).sum(axis=-1) <= SETTLED * state.rss).all():
            break
        theta = state.theta.copy()
        theta[:, free] += np.clip(move, -2.0, 2.0)
        theta = np.clip(theta, -model.limits, model.limits)
        trial = evaluate(model, theta)
        better = trial.rss < state.rss
        damping = np.where(better, 0.3 * damping, 10 * damping)
        state = _choose(better, trial, state)
    return state


def shift_tangent(model: ShiftModel, state: State, free: slice) -> FloatArray:
    """The derivative of the weighted fit by the free part of theta, less the additive part, (r, n, q)."""
    moved = -state.slope[..., None] * model.shifts[:, free] * model.root_weights[:, None]
    return model.without_base(moved)


def project(design: FloatArray, columns: FloatArray) -> FloatArray:
    """The columns (r, n, k) at right angles to the design (r, n, m)."""
    return np.asarray(columns - design @ coefficients(design, columns))


def leverage(model: ShiftModel, design: FloatArray) -> FloatArray:
    """The diagonal of the hat matrix of the additive part and a design at right angles to it, (r, n)."""
    inside = np.einsum("rnk,rkn->rn", design, _solve_gram(design, design.swapaxes(-1, -2)))
    return np.asarray((model.base**2).sum(axis=1) + inside)


def sandwich(design: FloatArray, residual: FloatArray, hat: FloatArray) -> FloatArray:
    """The covariance HC3 of the coefficients of a design, (r, m, m); MacKinnon & White 1985.

    A row that all but determines its own fit has next to no residual to divide by next to nothing: at most ten
    times the residual is taken.
    """
    inverse = _inverse_gram(design)
    scores = design * (residual / (1 - np.minimum(hat, 0.9)))[..., None]
    return np.asarray(inverse @ (scores.swapaxes(-1, -2) @ scores) @ inverse)


def classical(design: FloatArray, residual: FloatArray, dof: int) -> FloatArray:
    """The covariance of the coefficients of a design under even noise, (r, m, m)."""
    return np.asarray(_inverse_gram(design) * ((residual**2).sum(axis=-1) / dof)[:, None, None])


def _inverse_gram(design: FloatArray) -> FloatArray:
    return _solve_gram(design, np.broadcast_to(np.eye(design.shape[-1]), (len(design), *(design.shape[-1],) * 2)))


def coefficients(design: FloatArray, columns: FloatArray) -> FloatArray:
    """The coefficients of the columns on the design, (r, m, k)."""
    return _solve_gram(design, design.swapaxes(-1, -2) @ columns)


def _solve_gram(design: FloatArray, right: FloatArray) -> FloatArray:
    gram = design.swapaxes(-1, -2) @ design
    # Splines over an empty stretch of u have no data; a trace of ridge keeps them at 0 and the system regular.
    size = np.einsum("rii->r", gram) / gram.shape[-1]
    return np.linalg.solve(gram + (1e-7 * size + 1e-300)[:, None, None] * np.eye(gram.shape[-1]), right)


def _choose(first: BoolArray, a: State, b: State) -> State:
    """The rows of a where `first`, else of b."""

    def pick(x: FloatArray, y: FloatArray) -> FloatArray:
        return np.where(first.reshape(-1, *(1,) * (x.ndim - 1)), x, y)

    return State(*(pick(getattr(a, f.name), getattr(b, f.name)) for f in fields(State)))
