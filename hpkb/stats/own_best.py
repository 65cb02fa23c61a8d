"""A quantity against the batch size, each batch size at its own best learning rate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit
from scipy.stats import rankdata

from hpkb.stats import shift_model as sm
from hpkb.stats.basis import powers
from hpkb.stats.effects import design_block
from hpkb.stats.ridge import search
from hpkb.stats.ridge_data import RidgeData, ridge_data, usable
from hpkb.stats.ridge_inference import EVERYTHING
from hpkb.stats.shift_model import State
from hpkb.sweep import BoolArray, FloatArray, Sweep

KNOB = "batch_size"
FEWEST_CONFIGURATIONS = 20
FEWEST_SIZES = 3
FEWEST_DEGREES = 10
LARGEST_LEVERAGE = 0.95
NORMAL_MAD = 0.6745  # the median absolute value of a standard normal variable
MARGIN = 2.5  # standard deviations of the noise between what is expected and the limit


@dataclass(frozen=True)
class OwnBest:
    """Configuration means near the best learning rate of their batch size.

    `y` and `batch` are (n,); `base` (n, rank) spans, orthonormal and weighted by `root_weights` (n,), everything
    but the batch size: the curve in the learning rate, what moves it, and the main effects of all else.
    """

    y: FloatArray
    batch: FloatArray
    base: FloatArray
    root_weights: FloatArray

    @property
    def degrees(self) -> int:
        """The degrees of freedom that one more column leaves."""
        return int(self.y.size - self.base.shape[1] - 1)

    def left(self, columns: FloatArray) -> FloatArray:
        """What is left of columns (n, k) beside the base, weighted."""
        weighted = columns * self.root_weights[:, None]
        once = weighted - self.base @ (self.base.T @ weighted)
        return np.asarray(once - self.base @ (self.base.T @ once))

    def on_scores(self) -> OwnBest:
        """The same with the normal scores of the ranks of y in place of y."""
        return replace(self, y=np.asarray(ndtri(rankdata(self.y) / (self.y.size + 1))))


@dataclass(frozen=True)
class Tested:
    """Coefficients of k columns, each with its own y, one at a time: estimate, error and rss (k,), and the degrees.

    The error is the larger of the classical one and one that allows for scatter of any size (HC3, MacKinnon & White
    1985).
    """

    estimate: FloatArray
    error: FloatArray
    rss: FloatArray
    degrees: int

    @property
    def t(self) -> FloatArray:
        """Student's statistics, (k,)."""
        return np.asarray(self.estimate / np.maximum(self.error, 1e-300))

    @property
    def critical(self) -> float:
        """|t| at the 95% level."""
        return float(stdtrit(self.degrees, 0.975))

    @property
    def p_values(self) -> FloatArray:
        """Two-sided, (k,)."""
        return np.asarray(2 * stdtr(self.degrees, -np.abs(self.t)))


def tested(at: OwnBest, y: FloatArray, columns: FloatArray) -> Tested:
    """The coefficient of each column (n, k) in the y beside it, (n, k), all given the base alone."""
    x, rest = at.left(columns), at.left(y)
    size = np.maximum((x**2).sum(axis=0), 1e-12 * max(float((columns**2).sum()), 1e-300))
    estimate = (x * rest).sum(axis=0) / size
    residual = rest - x * estimate
    rss = (residual**2).sum(axis=0)
    hat = np.minimum((at.base**2).sum(axis=1)[:, None] + x**2 / size, LARGEST_LEVERAGE)
    robust = np.sqrt(((x * residual / (1 - hat)) ** 2).sum(axis=0)) / size
    return Tested(estimate, np.maximum(robust, np.sqrt(rss / at.degrees / size)), rss, at.degrees)


def own_best(
    sweep: Sweep, quantity: FloatArray, told: FloatArray | None = None, limit: FloatArray | None = None
) -> OwnBest | None:
    """The configurations near the best learning rate of their batch size, by a quantity (n_runs,), lower is better.

    `told` (n_runs,) is the quantity that their y is of, where it is another one than what they are chosen by. Beyond
    `limit` (n_runs,) a quantity is not seen, as the steps to a target beyond the end of a run: settings where it is
    expected to come near are left out, since there only the lucky runs would be counted.

    The curve in ln(learning rate) slides along with ln(batch size) and whatever else is known to move the best rate;
    the half of the configurations where it is lowest is kept, so that the curve need not have one shape at every batch
    size. Chosen by their settings, not by their outcome: luck makes no selection. None where there are too few, or
    where the batch size cannot be told apart from something else.
    """
    values = quantity if told is None else told
    known = np.isfinite(quantity) & np.isfinite(values) & ~sweep.infeasible
    if sweep.hyperparameter(KNOB) is None or KNOB in sweep.aliases.hidden or not known.any():
        return None
    runs = replace(sweep, y=np.where(known, quantity, np.nan), infeasible=~known).subset(known)
    batch = runs.hyperparameter(KNOB)
    if batch is None or batch.scale == "category" or np.unique(batch.values[batch.values > 0]).size < FEWEST_SIZES:
        return None
    if runs.n_configurations < FEWEST_CONFIGURATIONS or np.ptp(runs.y) == 0:
        return None
    rate = runs.hyperparameter("learning_rate")
    slides = rate is not None and "learning_rate" not in sweep.aliases.hidden and np.unique(rate.values).size >= 4
    own = replace(runs, y=values[known])
    end = np.full(own.n_runs, np.inf) if limit is None else limit[known]
    found = _sliding(runs, own, end) if slides else _still(own)
    return found if found is not None and found.degrees >= FEWEST_DEGREES else None


def _sliding(runs: Sweep, own: Sweep, limit: FloatArray) -> OwnBest | None:
    positive = usable(runs, KNOB)
    if positive is None or positive.n_configurations < FEWEST_CONFIGURATIONS:
        return None
    place = {run: i for i, run in enumerate(own.run_ids)}
    rows = np.array([place[run] for run in positive.run_ids], dtype=np.int64)
    own, limit = own.subset(rows), limit[rows]
    data = ridge_data(positive, KNOB, "identity", "missing")
    model, best = data.model, search(data)
    scale = max(float(np.abs(own.y).max()), 1e-300)  # which the data are divided by
    seen = _seen(data, best, _by_configuration(positive, limit) / scale)
    near = _near(best.curve[0], np.exp(data.knob), seen)
    if near.sum() < FEWEST_CONFIGURATIONS or np.unique(data.knob[near]).size < FEWEST_SIZES:
        return None
    index = model.u - model.shifts @ best.theta[0]
    curve = powers(index[near], 3)
    moved = sm.shift_tangent(model, best, EVERYTHING)[0] / model.root_weights[:, None]
    others = np.delete(model.additive, range(*data.knob_columns.indices(model.additive.shape[1])), axis=1)
    columns = np.hstack([others[near], curve, moved[near]])
    y = ridge_data(own, KNOB, "identity", "missing").model.y * scale
    return _spanned(y[near], np.exp(data.knob[near]), columns, model.weights[near])


def _seen(data: RidgeData, best: State, limit: FloatArray) -> BoolArray:
    """The configurations whose fitted value lies well within their limit."""
    residual = best.residual[0] / data.model.root_weights
    sd = float(np.median(np.abs(residual))) / NORMAL_MAD
    return np.asarray(data.model.y - residual + MARGIN * sd <= limit)


def _by_configuration(sweep: Sweep, limit: FloatArray) -> FloatArray:
    """The lowest limit of each configuration's runs, in the order in which the configurations first appear."""
    _, first, member = np.unique(sweep.configuration, return_index=True, return_inverse=True)
    lowest = np.full(first.size, np.inf)
    np.minimum.at(lowest, member, limit)
    return np.asarray(lowest[np.argsort(first)])


def _near(curve: FloatArray, batch: FloatArray, seen: BoolArray) -> BoolArray:
    """Of the configurations seen, the half of each batch size where the curve is lowest; all, where they are few."""
    near = np.zeros(curve.size, dtype=np.bool_)
    for size in np.unique(batch[seen]):
        rows = np.flatnonzero(seen & (batch == size))
        near[rows] = curve[rows] <= np.median(curve[rows])
    return near if near.sum() >= 2 * FEWEST_CONFIGURATIONS else seen


def _still(runs: Sweep) -> OwnBest | None:
    """The same where the learning rate was not varied: main effects alone."""
    _, first, member = np.unique(runs.configuration, return_index=True, return_inverse=True)
    seeds = np.bincount(member).astype(np.float64)
    here = runs.subset(first.astype(np.int64))
    batch = here.hyperparameter(KNOB)
    if batch is None:
        return None
    blocks = [design_block(h, here, 2) for h in here.hyperparameters if h.name != KNOB]
    y, kept = np.bincount(member, runs.y) / seeds, batch.values > 0
    columns = np.hstack([np.ones((seeds.size, 1)), *blocks])[kept]
    return _spanned(y[kept], batch.values[kept], columns, seeds[kept])


def _spanned(y: FloatArray, batch: FloatArray, columns: FloatArray, weights: FloatArray) -> OwnBest:
    root = np.sqrt(2 * weights / (weights + 1))
    sizes = np.sqrt((columns**2).sum(axis=0))
    u, s, _ = np.linalg.svd((columns / np.where(sizes > 0, sizes, 1.0)) * root[:, None], full_matrices=False)
    return OwnBest(y, batch, np.asarray(u[:, s > 1e-7 * s[0]]), np.asarray(root))
