"""What the fitted curve of a ridge looks like: whether it has a minimum, where, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hpkb.stats import ridge_inference as inference
from hpkb.stats import shift_model as sm
from hpkb.stats.basis import cubic_splines
from hpkb.stats.ridge_data import RidgeData
from hpkb.stats.shift_model import State
from hpkb.sweep import FloatArray

PLACES = 201
EDGE = 0.02  # the share of the runs at either end that says too little of the curve there
SPLINES = 24
PENALTIES = np.logspace(-5, 4, 28)
DOUBT = 1.4  # the price of a coefficient in cross-validation; 1 is known to follow the noise (Kim & Gu 2004)


def shape(data: RidgeData, best: State) -> Shape:
    """The curve of a fit, smoothed anew at the fit's exponent and shifts.

    The few splines that find the exponent are too stiff to place the minimum beside a cliff. Here there are many,
    held back by a penalty on their second differences (Eilers & Marx 1996) that is chosen by generalised
    cross-validation; the errors are the Bayesian ones, which hold the bias of smoothing too (Nychka 1988).
    """
    model = data.model
    index = model.u - best.theta[0] @ model.shifts.T
    places = np.linspace(np.quantile(index, EDGE), np.quantile(index, 1 - EDGE), PLACES)
    low, high = index.min(), index.max()
    at_runs, at_places = (cubic_splines(x, low, high, SPLINES)[0] for x in (index, places))
    design = model.without_base(at_runs * model.root_weights[:, None])
    coefficients, covariance, dof = _smooth(design, model.response, model.base.shape[1] + best.theta.shape[1])
    return Shape(data, best, places, at_places, at_places @ coefficients, covariance, dof)


def _smooth(design: FloatArray, y: FloatArray, spent: int) -> tuple[FloatArray, FloatArray, float]:
    """The penalised coefficients, their Bayesian covariance, and the residual degrees of freedom."""
    differences = np.diff(np.eye(design.shape[1]), 2, axis=0)
    gram, penalty = design.T @ design, differences.T @ differences
    tiny = 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))
    inverses = np.linalg.inv(gram + tiny + PENALTIES[:, None, None] * penalty)
    coefficients = inverses @ (design.T @ y)
    rss = ((y - coefficients @ design.T) ** 2).sum(axis=1)
    used = spent + np.einsum("rij,ji->r", inverses, gram)
    left = y.size - DOUBT * used
    chosen = int(np.where(left > 1, rss / np.maximum(left, 1) ** 2, np.inf).argmin())
    dof = max(float(y.size - used[chosen]), 1.0)
    return coefficients[chosen], inverses[chosen] * rss[chosen] / dof, dof


@dataclass(frozen=True)
class Shape:
    """The curve f at some places along its axis: `places` and `curve` (m,), its columns (m, k), their covariance."""

    data: RidgeData
    best: State
    places: FloatArray
    columns: FloatArray
    curve: FloatArray
    covariance: FloatArray
    dof: float

    @property
    def at(self) -> int:
        """The place of the minimum."""
        return int(self.curve.argmin())

    @property
    def has_minimum(self) -> bool:
        """Whether the curve rises on both sides of its minimum by more than its error."""
        return not self.reason

    @property
    def reason(self) -> str:
        """Why there is no minimum inside what was tried; empty where there is one."""
        above = self._rise() > stats.t.ppf(0.95, self.dof)
        if not above[: self.at].any():
            return "the best learning rate lies at or below the smallest ones that were tried"
        if not above[self.at :].any():
            return "the best learning rate lies at or above the largest ones that were tried"
        drawn = self.places[self.at] + float(self.data.reference @ self.best.theta[0])
        if not self.data.model.u.min() <= drawn <= self.data.model.u.max():
            given = f" with {', '.join(self.data.drawn_for)}" if self.data.drawn_for else ""
            return f"the best learning rate{given} lies beyond what was tried"
        return ""

    def _rise(self) -> FloatArray:
        """How far the curve stands above its minimum, in standard errors of the difference, (m,)."""
        columns = self.columns - self.columns[self.at]
        variance = np.einsum("mi,ij,mj->m", columns, self.covariance, columns)
        return np.asarray((self.curve - self.curve[self.at]) / np.sqrt(variance + 1e-300))

    def along(self, knob: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """ln of the best learning rate at each ln knob (centred), (m,), with its 95% interval: centre, low, high.

        The interval joins three errors: of the place on the curve (all places that do not stand above the minimum at
        the 95% level), of the shift to the knob's value, and half the distance between two splines, below which
        the curve resolves nothing.
        """
        level = self._rise() <= stats.t.ppf(0.975, self.dof)
        high = self.at + int(np.append(~level[self.at :], True).argmax()) - 1
        low = self.at - int(np.append(~level[: self.at + 1][::-1], True).argmax()) + 1
        moved = np.tile(self.data.reference, (knob.size, 1))
        moved[:, 0] = knob
        variance = np.einsum("mi,ij,mj->m", moved, self._shift_covariance, moved)
        shift = stats.t.ppf(0.975, self.dof) * np.sqrt(variance)
        centre = self.places[self.at] + moved @ self.best.theta[0]
        below, above = (self.places[i] - self.places[self.at] for i in (low, high))
        index = self.data.model.u - self.best.theta[0] @ self.data.model.shifts.T
        blur = np.hypot(shift, 0.5 * np.ptp(index) / (SPLINES - 3))
        return centre, centre - np.hypot(below, blur), centre + np.hypot(above, blur)

    @property
    def _shift_covariance(self) -> FloatArray:
        """HC3's covariance of the exponent and the other shifts, (q, q)."""
        model = self.data.model
        tangent = sm.shift_tangent(model, self.best, inference.EVERYTHING)
        own = sm.project(self.best.design, tangent)
        hat = sm.leverage(model, np.concatenate([self.best.design, own], axis=-1))
        return np.asarray(sm.sandwich(own, self.best.residual, hat)[0])
