"""The tests behind a ridge: of its exponent, of any interaction, of the learning rate, and of a minimum inside.

The exponent has no meaning where the learning rate has no effect: every exponent then fits alike, and the usual
test against the best of them finds something too often (Davies 1987). The tests here are built to be right there
too: what they look for is fixed before, or made from the fit under the null alone, whose errors are independent
of the residuals that the test uses (Tukey 1949; Milliken & Graybill 1970).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hpkb.stats import shift_model as sm
from hpkb.stats.shift_model import ShiftModel, State
from hpkb.sweep import FloatArray

EXPONENT = slice(0, 1)
OTHERS = slice(1, None)
EVERYTHING = slice(None)


@dataclass(frozen=True)
class Score:
    """How far the data pull the exponent from each state's own: the move (r,), its standard error (r,), and the
    degrees of freedom. The error is the larger of the classical one and HC3's.
    """

    move: FloatArray
    error: FloatArray
    dof: int

    @property
    def t(self) -> FloatArray:
        """|t| of each state's exponent, (r,)."""
        return np.abs(self.move) / self.error

    @property
    def critical(self) -> float:
        """|t| at the 95% level."""
        return float(stats.t.ppf(0.975, self.dof))


def score(model: ShiftModel, states: State) -> Score:
    """The test of each state's exponent against all others.

    The one column tested is f' · knob, with f from the state itself: Tukey's one degree of freedom for
    non-additivity, moved along the ridge. Other shifts and a depth of f that changes with the knob are allowed for.
    """
    nuisance = nuisance_columns(model, states)
    own = sm.project(nuisance, sm.shift_tangent(model, states, EXPONENT))
    size = (own**2).sum(axis=(1, 2))
    size = np.maximum(size, 1e-12 * size.max() + 1e-300)
    residual = sm.project(nuisance, states.residual[..., None])[..., 0]
    move = (own[..., 0] * residual).sum(axis=1) / size
    left = residual - own[..., 0] * move[:, None]
    design = np.concatenate([nuisance, own / np.sqrt(size)[:, None, None]], axis=-1)
    dof = degrees_of_freedom(model, design)
    even = np.sqrt((left**2).sum(axis=1) / dof / size)
    hat = np.minimum(sm.leverage(model, design), 0.99)
    robust = np.sqrt(((own[..., 0] * left / (1 - hat)) ** 2).sum(axis=1)) / size
    return Score(move, np.maximum(even, robust), dof)


def interaction_p(model: ShiftModel, null: State, best: State) -> float:
    """The p-value of no interaction of learning rate and knob, `null` being the best fit at exponent 0.

    Three tests, each strong where the others are weak, times three (Bonferroni): Tukey's column; the products u·v,
    u²·v, u·v²; and the gain of the best exponent over 0, held against as many degrees of freedom as the curve and
    its shifts have coefficients (after Scheffé 1953), since the exponent was searched for.
    """
    tukey = score(model, null)
    p_tukey = 2 * float(stats.t.sf(tukey.t[0], tukey.dof))
    return min(1.0, 3 * min(p_tukey, _products_p(model, null), _gain_p(model, null, best)))


def _products_p(model: ShiftModel, null: State) -> float:
    """The larger of the classical p-value of the products and that of HC3's Wald test."""
    nuisance = nuisance_columns(model, null)
    tested = scaled(sm.project(nuisance, _products(model)))
    residual = sm.project(nuisance, null.residual[..., None])
    effect = sm.coefficients(tested, residual)[0, :, 0]
    left = residual[..., 0] - tested[0] @ effect
    design = np.concatenate([nuisance, tested], axis=-1)
    dof, k = degrees_of_freedom(model, design), effect.size
    gain = float((residual**2).sum() - (left**2).sum()) / k / (float((left**2).sum()) / dof)
    covariance = sm.sandwich(tested, left, sm.leverage(model, design))[0]
    wald = float(effect @ np.linalg.lstsq(covariance, effect)[0]) / k
    return float(stats.f.sf(max(min(gain, wald), 0.0), k, dof))


def _gain_p(model: ShiftModel, null: State, best: State) -> float:
    gain, k, dof = _gain(model, null, best)
    return float(stats.f.sf(gain[0], k, dof))


def _gain(model: ShiftModel, states: State, best: State) -> tuple[FloatArray, int, int]:
    """What the best exponent gains over each state's, as an F ratio (r,), with its degrees of freedom."""
    k = best.coefficients.shape[1] + best.theta.shape[1]
    dof = max(degrees_of_freedom(model, nuisance_columns(model, best)) - 1, 1)
    gain = np.maximum(states.rss - best.rss[0], 0.0)
    return np.asarray(gain / k / (best.rss[0] / dof)), k, dof


def misfit(model: ShiftModel, states: State, best: State) -> FloatArray:
    """How badly each state's exponent fits, (r,): up to 1 it belongs into the 95% interval, above 1 it does not.

    The score test alone forgives an exponent far off, where the curve fitted is itself no good and its slope points
    nowhere. So one that the gain test refuses at the 0.5% level (far less in truth, since its degrees of freedom
    are generous) is refused as well.
    """
    tests = score(model, states)
    gain, k, dof = _gain(model, states, best)
    return np.asarray(np.maximum(tests.t / tests.critical, np.sqrt(gain / stats.f.ppf(0.995, k, dof))))


def learning_rate_p(model: ShiftModel) -> float:
    """The p-value of no effect of the learning rate at all: its splines at exponent 0, and its products."""
    unmoved = sm.evaluate(model, np.zeros((1, model.shifts.shape[1])))
    u = standardized(model.u)
    others = model.without_base(u[:, None] * model.shifts[:, 1:] * model.root_weights[:, None])[None]
    design = scaled(np.concatenate([unmoved.design, _products(model), others], axis=-1))
    left = sm.project(design, np.broadcast_to(model.response, (1, model.y.size))[..., None])
    k, dof = design.shape[-1], degrees_of_freedom(model, design)
    rss = float((left**2).sum())
    return float(stats.f.sf((float((model.response**2).sum()) - rss) / k / (rss / dof), k, dof))


def _products(model: ShiftModel) -> FloatArray:
    columns = products(standardized(model.u), standardized(model.shifts[:, 0]))
    return model.without_base(columns * model.root_weights[:, None])[None]


def products(u: FloatArray, v: FloatArray) -> FloatArray:
    """u·v, u²·v and u·v², (n, 3)."""
    return np.column_stack([u * v, u * u * v, u * v * v])


def nuisance_columns(model: ShiftModel, states: State) -> FloatArray:
    """What is allowed for beside the exponent: f, the other shifts, and a depth of f that changes with the knob."""
    depth = states.curve * model.shifts[:, 0] * model.root_weights
    columns = [states.design, sm.shift_tangent(model, states, OTHERS), model.without_base(depth[..., None])]
    return scaled(np.concatenate(columns, axis=-1))


def degrees_of_freedom(model: ShiftModel, design: FloatArray) -> int:
    """What is left of the configurations, at least 1."""
    return max(int(model.y.size - model.base.shape[1] - design.shape[-1]), 1)


def scaled(design: FloatArray) -> FloatArray:
    """The columns with length 1 each."""
    sizes = np.sqrt((design**2).sum(axis=1, keepdims=True))
    return np.asarray(design / np.where(sizes > 0, sizes, 1.0))


def standardized(x: FloatArray) -> FloatArray:
    """x with mean 0 and standard deviation 1."""
    return np.asarray((x - x.mean()) / max(float(x.std()), 1e-300))
