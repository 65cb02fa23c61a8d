"""What each task tells a rule of scale: its size in numbers, and where its best learning rate lies, with the error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hpkb.recommend.candidates import features, placed
from hpkb.recommend.regret import CAP, configuration_means, run_regrets
from hpkb.sweep import FloatArray, Sweep

FACTS = ("parameter_count", "training_examples", "batch_size", "steps", "depth", "width")
FEWEST = 12  # configurations that a parabola is fitted to
TRIMS = 3  # times that the parabola is refitted to what lies near its bottom


@dataclass(frozen=True)
class Optimum:
    """The best learning rate of one task: `log_rate`, its natural logarithm, with its standard error.

    `facts` are natural logarithms of the task's own sizes. A size that the task varies stands there at the mean of its
    logarithm, where `log_rate` belongs, and in `slopes` with d ln lr* / d ln size and the standard error of that.
    `curvature` is half the second derivative there: regret = lowest + curvature · (ln lr - log_rate)².
    """

    task: str
    log_rate: float
    error: float
    facts: dict[str, float]
    curvature: float
    slopes: dict[str, tuple[float, float]] = field(default_factory=dict)

    def regret_at(self, log_rate: float) -> float:
        """The normalised regret above the task's own best that a learning rate has on the parabola, at most the cap."""
        return min(self.curvature * (log_rate - self.log_rate) ** 2, CAP)


def sizes(sweep: Sweep) -> dict[str, float]:
    """Returns the natural logarithms of the sizes that are the same in all of a task's runs."""
    found: dict[str, float] = {}
    for name in FACTS:
        recorded = sweep.records.numbers("n_examples.training") if name == "training_examples" else np.empty(0)
        known = np.unique(recorded[np.isfinite(recorded)])
        value = float(known[0]) if known.size == 1 else _number(sweep.fixed.get(name, ""))
        if np.isfinite(value) and value > 0:
            found[name] = float(np.log(value))
    return found


def optimum_of(sweep: Sweep) -> Optimum | None:
    """Returns where the task's learning rate is best, None where its runs show no minimum inside what was tried.

    A parabola in ln lr on the configurations' normalised regrets, the other hyperparameters as main effects (and a
    size that varies also as a shift of the minimum), refitted to the half of the configurations nearest to its bottom
    along ln lr; there a cubic term takes up that the rise to the right is often the steeper one. The errors are those
    of the delta method on the heteroscedasticity-consistent covariance HC3 (MacKinnon & White 1985): neither curve is
    the whole truth.
    """
    rate = sweep.hyperparameter("learning_rate")
    if rate is None or rate.scale != "log" or sweep.n_configurations < FEWEST:
        return None
    _, first = np.unique(sweep.configuration, return_index=True)
    y, u = configuration_means(sweep, run_regrets(sweep)), rate.transformed[first]
    rows = placed(sweep)[first]
    names = [h.name for h in sweep.hyperparameters]
    varied = [n for n in FACTS if n in names and sweep.hyperparameters[names.index(n)].scale != "category"]
    usable = np.isfinite(rows).all(axis=1) & np.isfinite(y)
    if usable.sum() < FEWEST or np.unique(u[usable]).size < 5:
        return None
    others = [i for i, n in enumerate(names) if n != "learning_rate" and n not in varied]
    logs = np.column_stack([np.log(sweep.hyperparameters[names.index(n)].values[first]) for n in varied]) \
        if varied else np.empty((u.size, 0))  # fmt: skip
    side = features([sweep.hyperparameters[i] for i in others], rows[:, others]) if others else np.empty((u.size, 0))
    return _bottom(sweep, y[usable], u[usable], logs[usable], side[usable], varied)


def _bottom(
    sweep: Sweep, y: FloatArray, u: FloatArray, logs: FloatArray, side: FloatArray, varied: Sequence[str]
) -> Optimum | None:
    centre, middle = float(np.median(u)), logs.mean(axis=0)
    x, z, near = u - centre, logs - middle, np.ones(u.size, dtype=np.bool_)
    design = np.column_stack([np.ones(x.size), x, x**2, z, z**2, x[:, None] * z, _scaled(side)])
    columns = 3 + 3 * z.shape[1]
    slopes_at = 3 + 2 * z.shape[1]
    at, slopes = 0.0, np.zeros(z.shape[1])
    for trim in range(TRIMS + 1):
        fitted = _least_squares(design[near], y[near])
        if fitted is None or fitted[0][2] <= 0:
            return None
        beta, covariance = fitted
        at, slopes = -beta[1] / (2 * beta[2]), -beta[slopes_at:columns] / (2 * beta[2])
        if trim < TRIMS:
            away = np.abs(x - at - z @ slopes)
            fewest = min(2 * design.shape[1], x.size)  # configurations that its terms need
            near = away <= max(float(np.quantile(away, 0.5)), float(np.sort(away)[fewest - 1]))
    cubic = _least_squares(np.column_stack([design, (x - at) ** 3])[near], y[near])
    if cubic is None or not u.min() < centre + at < u.max():
        return None
    (beta, covariance), start = cubic, at
    at, curvature = _lowest(beta, at)
    if curvature <= 0 or not u.min() < centre + at < u.max():
        return None
    gradient = np.zeros(beta.size)
    gradient[[1, 2, -1]] = np.array([1, 2 * at, 3 * (at - start) ** 2]) / curvature
    error = float(np.sqrt(gradient @ covariance @ gradient))
    moves: dict[str, tuple[float, float]] = {}
    for j, name in enumerate(varied):
        slope, gradient = -beta[slopes_at + j] / curvature, np.zeros(beta.size)
        gradient[[slopes_at + j, 2]] = -1 / curvature, -2 * slope / curvature
        moves[name] = (float(slope), float(np.sqrt(gradient @ covariance @ gradient)))
    facts = sizes(sweep) | {name: float(m) for name, m in zip(varied, middle, strict=True)}
    return Optimum(sweep.task, centre + float(at), error, facts, float(curvature) / 2, moves)


def _lowest(beta: FloatArray, start: float) -> tuple[float, float]:
    """Where c1 x + c2 x² + c3 (x - start)³ is lowest next to `start`, and its second derivative there (Newton)."""
    at = start
    for _ in range(20):
        slope = beta[1] + 2 * beta[2] * at + 3 * beta[-1] * (at - start) ** 2
        curvature = 2 * beta[2] + 6 * beta[-1] * (at - start)
        if curvature <= 0:
            return at, float(curvature)
        at -= float(np.clip(slope / curvature, -0.5, 0.5))
    return at, float(2 * beta[2] + 6 * beta[-1] * (at - start))


def _least_squares(design: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """The coefficients and their HC3 covariance; None with fewer than four rows to spare."""
    if y.size < design.shape[1] + 4:
        return None
    inverse = np.linalg.pinv(design.T @ design)
    beta = inverse @ design.T @ y
    leverage = np.minimum(np.einsum("ij,jk,ik->i", design, inverse, design), 0.95)
    residual = (y - design @ beta) / (1 - leverage)
    meat = (design * residual[:, None] ** 2).T @ design
    return beta, np.asarray(inverse @ meat @ inverse)


def _scaled(columns: FloatArray) -> FloatArray:
    """Columns about their mean, in their spread; without those that never change."""
    spread = columns.std(axis=0)
    return np.asarray((columns - columns.mean(axis=0))[:, spread > 0] / spread[spread > 0])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
