"""How much of a fitted response is interaction of learning rate and knob: what no sum of main effects can hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpkb.stats import ridge_inference as inference
from hpkb.stats import shift_model as sm
from hpkb.stats.ridge_data import RidgeData
from hpkb.stats.shift_model import ShiftModel, State
from hpkb.sweep import FloatArray

SIDE = 20  # places along each of the two on which the fitted response is taken apart
OTHERS = (0.1, 0.3, 0.5, 0.7, 0.9)  # quantiles of what else moves the best learning rate
TWO_SIDED = 1.96


@dataclass(frozen=True)
class Share:
    """A share of variance with its 95% interval, each in 0 to 1."""

    estimate: float
    low: float
    high: float


def interaction_share(data: RidgeData, best: State) -> Share:
    """The share of the fitted variance that is pure interaction of learning rate and knob.

    Around the best fit the response is linear in its coefficients: those of the shifted curve, of its shift, of a
    depth that changes with the knob, and of the products u·v, u²·v, u·v². The pure interaction is that of the
    functional ANOVA over the product of the values tried, so that a design in which the two go together does not
    hide it: a quadratic form of the coefficients, whose noise is taken off and whose error follows from theirs. All
    on the scale of the fit.
    """
    model = data.model
    at_runs = _at_runs(model, best) * model.root_weights[:, None]
    effects, covariances = _estimate(model, model.without_base(at_runs))
    surface = _surface(data, best)
    pure = _double_centred(surface.mean(axis=2))
    form = pure.T @ pure / len(pure)
    covariance = max(covariances, key=lambda c: float(np.trace(form @ c)))
    spread = form @ covariance
    estimate = float(effects @ form @ effects) - float(np.trace(spread))
    error = np.sqrt(4 * float(effects @ spread @ form @ effects) + 2 * float(np.trace(spread @ spread)))
    total = _total(data, at_runs, effects, surface)
    bounds = np.array([estimate, estimate - TWO_SIDED * error, estimate + TWO_SIDED * error])
    return Share(*(float(x) for x in np.clip(bounds / max(total, 1e-300), 0.0, 1.0)))


def _at_runs(model: ShiftModel, best: State) -> FloatArray:
    """The columns of the linear form at the configurations, (n, m); the shifts of all else come last."""
    splines = model.splines(model.u - best.theta[0] @ model.shifts.T)[0]
    v, slope = model.shifts[:, 0], best.slope[0]
    products = inference.products(inference.standardized(model.u), inference.standardized(v))
    moved = -slope[:, None] * model.shifts
    return np.column_stack([splines, moved[:, 0], best.curve[0] * v, products, moved[:, 1:]])


def _estimate(model: ShiftModel, design: FloatArray) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """The coefficients (m,) and their covariance, classical and HC3, (m, m)."""
    sizes = np.sqrt((design**2).sum(axis=0)) + 1e-300
    even = (design / sizes)[None]
    effects = sm.coefficients(even, model.response[None, :, None])[0, :, 0]
    residual = (model.response - even[0] @ effects)[None]
    classical = sm.classical(even, residual, inference.degrees_of_freedom(model, even))[0]
    robust = sm.sandwich(even, residual, sm.leverage(model, even))[0]
    scale = np.outer(sizes, sizes)
    return effects / sizes, (classical / scale, robust / scale)


def _surface(data: RidgeData, best: State) -> FloatArray:
    """The same columns over the product of values of learning rate, knob and all else, (SIDE, SIDE, others, m)."""
    model, theta = data.model, best.theta[0]
    u = np.quantile(model.u, (np.arange(SIDE) + 0.5) / SIDE)
    v = model.shifts[_rows(data), 0]
    others = np.quantile(model.shifts[:, 1:] @ theta[1:], OTHERS)
    u, v, others = (x.ravel() for x in np.meshgrid(u, v, others, indexing="ij"))
    values, slopes, curve = sm.curve_at(model, best, (u - theta[0] * v - others)[None])
    slope = slopes[0] @ best.coefficients[0]
    products = inference.products(
        (u - model.u.mean()) / model.u.std(), (v - model.shifts[:, 0].mean()) / model.shifts[:, 0].std()
    )
    moved = np.zeros((u.size, theta.size - 1))
    columns = np.column_stack([values[0], -slope * v, curve[0] * v, products, moved])
    return columns.reshape(SIDE, SIDE, len(OTHERS), -1)


def _rows(data: RidgeData) -> FloatArray:
    """Configurations evenly spread over the knob's values, (SIDE,)."""
    order = np.argsort(data.knob, kind="stable")
    return np.asarray(order[((np.arange(SIDE) + 0.5) / SIDE * order.size).astype(int)])


def _double_centred(surface: FloatArray) -> FloatArray:
    """What is left of columns over a grid without their main effects, (SIDE, SIDE, m) in, (SIDE², m) out."""
    pure = surface - surface.mean(axis=0) - surface.mean(axis=1, keepdims=True) + surface.mean(axis=(0, 1))
    return np.asarray(pure.reshape(SIDE * SIDE, -1))


def _total(data: RidgeData, at_runs: FloatArray, effects: FloatArray, surface: FloatArray) -> float:
    """The variance of the fit: of the two together with all else that moves them, plus the other main effects."""
    model = data.model
    left = model.y * model.root_weights - at_runs @ effects
    additive = np.linalg.lstsq(model.additive * model.root_weights[:, None], left, rcond=1e-9)[0]
    own = model.additive[:, data.knob_columns] @ additive[data.knob_columns]
    rest = model.additive @ additive - own
    together = surface @ effects + own[_rows(data)][None, :, None]
    return float(together.var() + rest.var())
