"""Curves of one shape along the learning rate, one a level of a category, each with its own place, depth and height.

The model is y = height of level + depth of level · f(u - shift of level - other shifts) + main effects, u being the
natural logarithm of the learning rate and f a smooth curve that is 0 at its minimum. The height of a level is
therefore its objective at its own best learning rate, whatever the shift and the depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import stdtrit

from hpkb.stats import shift_model as sm
from hpkb.stats.basis import cubic_splines
from hpkb.stats.penalized import Penalized, penalized, rough
from hpkb.stats.shift_model import ShiftModel
from hpkb.sweep import FloatArray, IntArray

EVERYTHING = slice(None)
PLACES = 101
EDGE = 0.02  # the share of the configurations at either end that says too little of the curve there
SPLINES = 16
ROUNDS = 4
PENALTIES = np.logspace(-4, 4, 17)
DOUBT = 1.4  # the price of a coefficient in cross-validation; 1 is known to follow the noise (Kim & Gu 2004)
DEPTH_SPREAD = 0.5  # of the levels' depths about 1, believed beforehand
SHIFT_SPREAD = 2.0  # of the best ln learning rate between levels, believed beforehand
DEPTHS = (0.25, 2.5)  # the least and the largest
SEARCHED = 1500  # configurations; a rough search needs no more


@dataclass(frozen=True)
class Problem:
    """The data, one row a configuration: y, u, root weights (n,); `levels` (n, L) indicators of the levels.

    `main` (n, p) are the main effects of other hyperparameters; `movers` (n, q) what else may move the best learning
    rate, of which those at `jumps` are indicators of a category.
    """

    y: FloatArray
    u: FloatArray
    root_weights: FloatArray
    levels: FloatArray
    main: FloatArray
    movers: FloatArray
    jumps: tuple[int, ...]

    def take(self, rows: IntArray) -> Problem:
        """The same with some of the rows."""
        return Problem(
            self.y[rows], self.u[rows], self.root_weights[rows], self.levels[rows], self.main[rows], self.movers[rows],
            self.jumps,
        )  # fmt: skip

    @cached_property
    def shifts(self) -> FloatArray:
        """The columns that shift the curve: the levels after the first, then the movers; centred, (n, L - 1 + q)."""
        columns = np.column_stack([self.levels[:, 1:], self.movers])
        return np.asarray(columns - columns.mean(axis=0))

    @property
    def own(self) -> int:
        """How many of the shifts are those of the levels."""
        return int(self.levels.shape[1]) - 1


@dataclass(frozen=True)
class _Place:
    """Where a fit stands: shifts (L - 1 + q,), depths (L,), the place of the minimum on the common axis."""

    theta: FloatArray
    depth: FloatArray
    minimum: float


@dataclass(frozen=True)
class LevelCurves:
    """A fit. Its coefficients: L heights, main effects, splines, moves of the shifts, moves of the depths."""

    problem: Problem
    place: _Place
    fit: Penalized
    curve_columns: FloatArray  # of f at PLACES places, (PLACES, splines)
    places: FloatArray

    def height(self, a: int, b: int) -> tuple[float, float]:
        """The height of level a less that of b, each at its own best learning rate, and the error."""
        contrast = np.zeros(self.fit.coefficients.size)
        contrast[a], contrast[b] = 1.0, -1.0
        return self.fit.of(contrast)

    def value(self, a: int) -> tuple[float, float]:
        """The objective of level a at its own best learning rate, at the mean of the main effects, and its error."""
        contrast, start = np.zeros(self.fit.coefficients.size), self.problem.levels.shape[1]
        contrast[a], contrast[start : self._splines.start] = 1.0, self.problem.main.mean(axis=0)
        return self.fit.of(contrast)

    def shift(self, a: int, b: int) -> tuple[float, float]:
        """ln of the best learning rate of level a less that of b, and the error."""
        start = self._splines.stop
        contrast, at = np.zeros(self.fit.coefficients.size), np.zeros(self.problem.own)
        for level, sign in ((a, 1.0), (b, -1.0)):
            if level:
                contrast[start + level - 1], at[level - 1] = sign, sign
        moved, error = self.fit.of(contrast)
        return float(at @ self.place.theta[: self.problem.own]) + moved, error

    @property
    def rises(self) -> tuple[bool, bool]:
        """Whether the common curve rises by more than its error to the left and to the right of its minimum."""
        part = self._splines
        curve = self.curve_columns @ self.fit.coefficients[part]
        variance = np.einsum("mi,ij,mj->m", self.curve_columns, self.fit.covariance[part, part], self.curve_columns)
        above = curve / np.sqrt(variance + 1e-300) > stdtrit(self.fit.dof, 0.95)
        return bool(above[self.places < self.place.minimum].any()), bool(above[self.places > self.place.minimum].any())

    def away(self, u: FloatArray, level: int, shifts_of_movers: FloatArray) -> FloatArray:
        """How far each ln learning rate lies above the best one of the level, (m,), movers at (m, q), as centred."""
        mean = self.problem.levels[:, 1:].mean(axis=0)
        own = (np.arange(1, self.problem.own + 1) == level) - mean
        theta, k = self.place.theta, self.problem.own
        return np.asarray(u - own @ theta[:k] - shifts_of_movers @ theta[k:] - self.place.minimum)

    @property
    def _splines(self) -> slice:
        start = self.problem.levels.shape[1] + self.problem.main.shape[1]
        return slice(start, start + SPLINES)


def search(problem: Problem, limit: float) -> FloatArray:
    """The shifts of a rough fit with few splines and one depth for all levels, (L - 1 + q,); `limit` bounds a jump."""
    n, q = problem.y.size, problem.shifts.shape[1]
    rows = _some(n)
    jumps = np.isin(np.arange(q), [*range(problem.own), *(problem.own + j for j in problem.jumps)])
    additive = np.column_stack([problem.levels, problem.main])[rows]
    columns = 5 if rows.size < 40 else 6 if rows.size < 250 else 8
    shifts = problem.shifts[rows]
    limits = np.where(jumps, limit, np.inf)
    model = ShiftModel(
        problem.y[rows], problem.u[rows], problem.root_weights[rows] ** 2, shifts - shifts.mean(axis=0), additive,
        columns, limits,
    )  # fmt: skip
    starts = [np.zeros(q)]
    starts += [np.where(np.arange(q) == j, side, 0.0) for j in np.flatnonzero(jumps) for side in (-3.0, 3.0)]
    coarse = sm.descend(model, sm.evaluate(model, np.array(starts)), EVERYTHING, 3)
    best = sm.descend(model, coarse.take(np.argsort(coarse.rss, kind="stable")[:2]), EVERYTHING, 8)
    return np.asarray(best.theta[int(best.rss.argmin())])


def fit(problem: Problem, theta: FloatArray) -> LevelCurves:
    """The fit from shifts of a rough one: Gauss-Newton over shifts and depths, the curve smoothed by penalised splines.

    Splines with a penalty on second differences (Eilers & Marx 1996), its size by generalised cross-validation. Shifts
    and depths of levels are drawn towards none, as far as few runs leave them open; the errors hold that.
    """
    some = problem.take(_some(problem.y.size))
    place = _Place(theta, np.ones(problem.own + 1), 0.0)
    smoothness = _smoothness(some, _columns(some, place))
    for _ in range(ROUNDS):
        columns = _columns(some, place)
        linear = _linear(some, place, columns, smoothness)
        place = _moved(place, rough(linear.x, linear.y, linear.penalty, linear.towards)[0])
    columns = _columns(problem, place)
    linear = _linear(problem, place, columns, _smoothness(problem, columns))
    solved = penalized(linear.x, linear.y, linear.penalty, linear.towards)
    places = _middle(columns.index)
    at = cubic_splines(places, *columns.reach, SPLINES)[0] - _at(linear.minimum, *columns.reach)
    return LevelCurves(problem, replace(place, minimum=linear.minimum), solved, at, places)


@dataclass(frozen=True)
class _Columns:
    """At a place: the index of each row, the ends of the splines, their columns and slopes, and the depth of each."""

    index: FloatArray
    reach: tuple[FloatArray, FloatArray]
    values: FloatArray
    slopes: FloatArray
    depth: FloatArray


def _columns(problem: Problem, place: _Place) -> _Columns:
    index = problem.u - problem.shifts @ place.theta
    reach = (index.min(), index.max())
    values, slopes = cubic_splines(index, *reach, SPLINES)
    depth = problem.levels @ place.depth
    return _Columns(index, reach, values, slopes, depth)


def _middle(index: FloatArray) -> FloatArray:
    """Places over what was tried, (PLACES,), without the ends."""
    return np.linspace(float(np.quantile(index, EDGE)), float(np.quantile(index, 1 - EDGE)), PLACES)


def _at(where: float, low: FloatArray, high: FloatArray) -> FloatArray:
    return cubic_splines(np.array([where]), low, high, SPLINES)[0]


def _roughness() -> FloatArray:
    differences = np.diff(np.eye(SPLINES), 2, axis=0)
    return np.asarray(differences.T @ differences + 1e-6 * np.eye(SPLINES))


def _smoothness(problem: Problem, columns: _Columns) -> float:
    """The size of the penalty with the least generalised cross-validation."""
    w = problem.root_weights[:, None]
    base = np.linalg.qr(np.column_stack([problem.levels, problem.main]) * w)[0]
    x, y = columns.values * columns.depth[:, None] * w, problem.y * w[:, 0]
    x, y = x - base @ (base.T @ x), y - base @ (base.T @ y)
    gram = x.T @ x
    inverses = np.linalg.inv(gram + PENALTIES[:, None, None] * _roughness())
    rss = ((y - (inverses @ (x.T @ y)) @ x.T) ** 2).sum(axis=1)
    used = base.shape[1] + problem.shifts.shape[1] + np.einsum("rij,ji->r", inverses, gram)
    left = y.size - DOUBT * used
    return float(PENALTIES[int(np.where(left > 1, rss / np.maximum(left, 1) ** 2, np.inf).argmin())])


@dataclass(frozen=True)
class _Linear:
    """A fit made linear about a place: weighted columns and target, what is believed of the coefficients, the minimum.

    The columns are those of heights, main effects, curve, moves of shifts and moves of depths.
    """

    x: FloatArray
    y: FloatArray
    penalty: FloatArray
    towards: FloatArray
    minimum: float


def _linear(problem: Problem, place: _Place, columns: _Columns, smoothness: float) -> _Linear:
    w = problem.root_weights[:, None]
    first, y = np.column_stack([problem.levels, problem.main]), problem.y * w[:, 0]
    k = first.shape[1]
    simple = np.column_stack([first, columns.values * columns.depth[:, None]]) * w
    of_simple = np.zeros((k + SPLINES,) * 2)
    of_simple[k:, k:] = smoothness * _roughness()
    coefficients, sigma2 = rough(simple, y, of_simple)
    c = coefficients[k:]
    places = _middle(columns.index)
    minimum = float(places[int((cubic_splines(places, *columns.reach, SPLINES)[0] @ c).argmin())])
    curve = columns.values - _at(minimum, *columns.reach)
    moves = -(columns.slopes @ c * columns.depth)[:, None] * problem.shifts
    deeper = (curve @ c)[:, None] * problem.levels
    x = np.column_stack([first, curve * columns.depth[:, None], moves, deeper]) * w
    spreads = np.concatenate([np.full(moves.shape[1], SHIFT_SPREAD), np.full(deeper.shape[1], DEPTH_SPREAD)])
    penalty = np.zeros((x.shape[1],) * 2)
    penalty[: k + SPLINES, : k + SPLINES] = of_simple
    penalty[k + SPLINES :, k + SPLINES :] = np.diag(sigma2 / spreads**2)
    towards = np.concatenate([np.zeros(k + SPLINES), -place.theta, 1 - place.depth])
    return _Linear(x, y, penalty, towards, minimum)


def _moved(place: _Place, coefficients: FloatArray) -> _Place:
    """The place after one step, at most 1.5 nats for a shift and half of the common depth for a depth."""
    q, levels = place.theta.size, place.depth.size
    tail = np.clip(coefficients[-(q + levels) :], -1.5, 1.5)
    depth = np.clip(place.depth + np.clip(tail[q:], -0.5, 0.5), *DEPTHS)
    return _Place(place.theta + tail[:q], depth, place.minimum)


def _some(n: int) -> IntArray:
    """Rows, evenly over all, that do for a search."""
    return np.unique(np.linspace(0, n - 1, min(n, SEARCHED)).astype(np.int64))
