"""Which of several variables is the right one: how well each alone predicts configurations that were left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from hpkb.stats import shift_model as sm
from hpkb.stats.ridge_data import index_model
from hpkb.stats.ridge_inference import EVERYTHING, scaled
from hpkb.stats.shift_model import ShiftModel
from hpkb.sweep import FloatArray, Sweep

FEWEST_CONFIGURATIONS = 30
LARGEST_LEVERAGE = 0.9
STARTS = (0.0, -1.0, 1.0)  # of every shift, in standard deviations of what shifts


@dataclass(frozen=True)
class Gain:
    """How much more of the variance one variable predicts than another, with its 95% interval.

    The p-value is that of no difference.
    """

    estimate: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Predictions:
    """How well each of k variables predicts configurations that were left out.

    `r2` (k,) is the share of the variance of the configurations' scores that each predicts; `errors` (n, k) are the
    squared errors in units of that variance. Scores are normal scores of the ranks of the objective, so that a huge
    loss is an error of bounded size.
    """

    r2: FloatArray
    errors: FloatArray

    def gain(self, better: int, other: int) -> Gain:
        """By how much the one predicts more than the other.

        A paired test on the squared errors of left-out configurations (Diebold & Mariano 1995) with Student's
        distribution. Where neither predicts anything the two share their noise, and the test is conservative.
        """
        difference = self.errors[:, other] - self.errors[:, better]
        n = difference.size
        estimate, error = float(difference.mean()), float(difference.std(ddof=1)) / float(np.sqrt(n))
        if not error > 0:
            return Gain(estimate, estimate, estimate, 1.0)
        half = float(stdtrit(n - 1, 0.975)) * error
        return Gain(estimate, estimate - half, estimate + half, 2 * float(stdtr(n - 1, -abs(estimate) / error)))


def predictions(sweep: Sweep, variables: Sequence[FloatArray], made_of: Collection[str]) -> Predictions | None:
    """How well one curve in each of the variables, (n_runs,) each, predicts configurations that are left out.

    Each model is a cubic spline in its variable in place of ln learning rate, plus main effects; what the variables
    are `made_of` moves the curve through them alone, whatever else is known to move the best rate may move it.
    Left-out errors by the leverage of the fit and its shifts. None where there are too few configurations, or where
    nothing varies.
    """
    rows = np.isfinite(np.column_stack(list(variables))).all(axis=1) & ~sweep.infeasible
    feasible = sweep.subset(rows)
    if feasible.n_configurations < FEWEST_CONFIGURATIONS or np.ptp(feasible.y) == 0:
        return None
    models = [index_model(feasible, x[rows], made_of, "scores") for x in variables]
    errors = np.column_stack([_left_out(m) for m in models]) ** 2 / max(float(models[0].y.var()), 1e-300)
    return Predictions(1 - errors.mean(axis=0), errors)


def _left_out(model: ShiftModel) -> FloatArray:
    """The error of each configuration's prediction from the others, (n,)."""
    q = model.shifts.shape[1]
    starts = np.unique(np.array([[s] * q for s in STARTS]), axis=0)
    fits = sm.descend(model, sm.evaluate(model, starts), EVERYTHING, 10)
    best = fits.take(int(fits.rss.argmin()))
    design = scaled(np.concatenate([best.design, sm.shift_tangent(model, best, EVERYTHING)], axis=-1))
    hat = np.minimum(sm.leverage(model, design)[0], LARGEST_LEVERAGE)
    return np.asarray(best.residual[0] / (1 - hat) / model.root_weights)
