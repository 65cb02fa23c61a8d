"""The best value of a number, each at its own best learning rate, from a parabola."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from hpkb.stats.contrast_design import FEWEST_DEGREES, Design
from hpkb.stats.penalized import Penalized
from hpkb.stats.slopes import measured
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import FloatArray, Sweep

FEWEST_VALUES = 4
FEWEST_CONFIGURATIONS = 20


@dataclass(frozen=True)
class QuadraticOptimum:
    """The bottom of a parabola in x; `estimate` None where `reason` says why there is none.

    The interval is Fieller's (1954); a side is None where the data leave it open. `p_value` is that of no curvature, on
    the objective and on the normal scores of its ranks, whichever is larger. `at_own_best` says whether each x was
    taken at its own best learning rate. `curve` are places, heights and errors, (m, 3), the lowest height being 0.
    """

    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    at_own_best: bool = False
    reason: str = ""
    n: int = 0
    curve: FloatArray | None = None
    level: float = 0.0


def quadratic_optimum(sweep: Sweep, x: FloatArray, own: tuple[str, ...]) -> QuadraticOptimum:
    """The optimum of x (n_runs,), NaN where it takes no part; all hyperparameters but those named `own` are held."""
    rate = sweep.hyperparameter("learning_rate")
    if rate is not None and (rate.scale == "category" or "learning_rate" in own):
        rate = None
    usable = feasible_runs(sweep) & np.isfinite(x)
    if rate is not None:
        usable &= rate.values > 0
    at = measured(sweep, np.where(usable, sweep.y, np.nan)) if usable.any() else None
    if at is None or at.y.size < FEWEST_CONFIGURATIONS or np.ptp(at.y) == 0:
        return QuadraticOptimum(reason=f"fewer than {FEWEST_CONFIGURATIONS} feasible configurations with it")
    if np.unique(x[at.first]).size < FEWEST_VALUES:
        return QuadraticOptimum(reason=f"it took fewer than {FEWEST_VALUES} values", n=at.y.size)
    here, middle, spread = sweep.subset(at.first), float(x[at.first].mean()), float(x[at.first].std())
    others = [h for h in here.hyperparameters if h.name not in (*own, "learning_rate")]
    u = None if rate is None else np.log(rate.values[at.first])
    design = Design(here, at, np.ones((at.y.size, 1)), others, u, (x[at.first] - middle) / spread)
    fits, at_own_best = _fits(design)
    if fits is None:
        return QuadraticOptimum(reason="too few configurations to hold the other hyperparameters", n=at.y.size)
    found = _bottom(fits, design.along if design.along is not None else u, at.y.size)
    return replace(_unscaled(found, middle, spread), at_own_best=at_own_best)


def _fits(design: Design) -> tuple[tuple[Penalized, Penalized] | None, bool]:
    plain = design.plain()
    curves, _ = design.curves() if plain else (None, "")
    if curves is None:
        return plain, False
    return (curves[0].fit, curves[1].fit), all(any(c.rises[side] for c in curves) for side in (0, 1))


def _bottom(fits: tuple[Penalized, Penalized], x: FloatArray | None, n: int) -> QuadraticOptimum:
    """The optimum on the scale of the parabola; coefficients 1 and 2 are those of x and its square."""
    raw, scores = fits
    if x is None or min(f.dof for f in fits) < FEWEST_DEGREES:
        return QuadraticOptimum(reason="too few configurations", n=n)
    p = max(_p(f, 2) for f in fits)
    slope, bend = raw.coefficients[1:3]
    curve, level = _curve(raw, x), float(raw.coefficients[0])
    if bend <= 0 or scores.coefficients[2] <= 0:
        return QuadraticOptimum(p_value=p, reason="the result does not get worse on both sides", n=n)
    bottom = -slope / (2 * bend)
    if not x.min() <= bottom <= x.max():
        side = "smallest" if bottom < x.min() else "largest"
        return QuadraticOptimum(p_value=p, reason=f"the best value lies at the {side} ones that were tried", n=n)
    low, high = _fieller(raw)
    return QuadraticOptimum(float(bottom), low, high, p, n=n, curve=curve, level=level)


def _p(fit: Penalized, place: int) -> float:
    one = np.eye(fit.coefficients.size)[place]
    estimate, error = fit.of(one)
    return 2 * float(stdtr(fit.dof, -abs(estimate) / error)) if error > 0 else 1.0


def _fieller(fit: Penalized) -> tuple[float | None, float | None]:
    """The x at which the slope of the parabola may be 0, by either covariance; None where there is no such bound."""
    slope, bend = fit.coefficients[1:3]
    t2 = float(stdtrit(fit.dof, 0.975)) ** 2
    ends = []
    for covariance in (fit.covariance, fit.robust):
        v = covariance[1:3, 1:3]
        a, b, c = 4 * (bend**2 - t2 * v[1, 1]), 4 * (slope * bend - t2 * v[0, 1]), slope**2 - t2 * v[0, 0]
        root = b**2 - 4 * a * c
        if a <= 0 or root < 0:
            return None, None
        ends += [(-b - np.sqrt(root)) / (2 * a), (-b + np.sqrt(root)) / (2 * a)]
    return float(min(ends)), float(max(ends))


def _curve(fit: Penalized, x: FloatArray) -> FloatArray:
    places = np.linspace(x.min(), x.max(), 9)
    rows = []
    for place in places:
        at = np.zeros(fit.coefficients.size)
        at[:3] = 1.0, place, place**2
        rows.append((place, *fit.of(at)))
    return np.array(rows)


def _unscaled(found: QuadraticOptimum, middle: float, spread: float) -> QuadraticOptimum:
    def back(value: float | None) -> float | None:
        return None if value is None else middle + spread * value

    curve = None if found.curve is None else found.curve * np.array([spread, 1, 1]) + np.array([middle, 0, 0])
    return replace(found, estimate=back(found.estimate), low=back(found.low), high=back(found.high), curve=curve)
