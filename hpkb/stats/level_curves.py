"""Curves of one shape along the learning rate, one a level of a category, each with its own place, depth and height.

The model is y = height of level + depth of level · f(u - shift of level - other shifts) + main effects, u being the
natural logarithm of the learning rate and f a smooth curve that is 0 at its minimum. The height of a level is
therefore its objective at its own best learning rate, whatever the shift and the depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from hpkb.stats import shift_model as sm
from hpkb.stats.basis import cubic_splines
from hpkb.stats.penalized import Penalized, penalized
from hpkb.stats.shift_model import ShiftModel
from hpkb.sweep import FloatArray

EVERYTHING = slice(None)
PLACES = 101
EDGE = 0.02  # the share of the configurations at either end that says too little of the curve there
SPLINES = 16
ROUNDS = 5
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

    @property
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
    rows = np.unique(np.linspace(0, n - 1, min(n, SEARCHED)).astype(np.int64))
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
    rough = sm.descend(model, sm.evaluate(model, np.array(starts)), EVERYTHING, 3)
    best = sm.descend(model, rough.take(np.argsort(rough.rss, kind="stable")[:2]), EVERYTHING, 8)
    return np.asarray(best.theta[int(best.rss.argmin())])


def fit(problem: Problem, theta: FloatArray) -> LevelCurves:
    """The fit from shifts of a rough one: Gauss-Newton over shifts and depths, the curve smoothed by penalised splines.

    Splines with a penalty on second differences (Eilers & Marx 1996), its size by generalised cross-validation. Shifts
    and depths of levels are drawn towards none, as far as few runs leave them open; the errors hold that.
    """
    place = _Place(theta, np.ones(problem.own + 1), float(np.median(problem.u)))
    place = replace(place, minimum=_minimum(problem, place, _columns(problem, place)))
    penalty = None
    for last in (*(False,) * ROUNDS, True):
        columns = _columns(problem, place)
        smoothness = _smoothness(problem, columns) if penalty is None or last else penalty
        penalty = smoothness
        solved = _solve(problem, place, columns, penalty)
        if last:
            break
        place = _moved(problem, place, solved)
    low, high = columns.reach
    places = _middle(columns.index)
    at = cubic_splines(places, low, high, SPLINES)[0] - _at(place.minimum, low, high)
    return LevelCurves(problem, place, solved, at, places)


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


def _minimum(problem: Problem, place: _Place, columns: _Columns) -> float:
    """The place of the lowest point of the curve fitted at these shifts and depths."""
    w = problem.root_weights[:, None]
    x = np.column_stack([problem.levels, problem.main, columns.values * columns.depth[:, None]]) * w
    penalty = np.zeros((x.shape[1],) * 2)
    penalty[-SPLINES:, -SPLINES:] = _smoothness(problem, columns) * _roughness()
    return _lowest(columns, penalized(x, problem.y * w[:, 0], penalty).coefficients[-SPLINES:])


def _lowest(columns: _Columns, coefficients: FloatArray) -> float:
    places = _middle(columns.index)
    curve = cubic_splines(places, *columns.reach, SPLINES)[0] @ coefficients
    return float(places[int(curve.argmin())])


def _solve(problem: Problem, place: _Place, columns: _Columns, smoothness: float) -> Penalized:
    """The fit of everything, linear about the place: heights, main effects, curve, moves of shifts and depths."""
    w = problem.root_weights[:, None]
    curve = (columns.values - _at(place.minimum, *columns.reach)) * columns.depth[:, None]
    first = np.column_stack([problem.levels, problem.main])
    k = first.shape[1]
    simple = np.column_stack([first, curve]) * w
    penalty = np.zeros((simple.shape[1],) * 2)
    penalty[k:, k:] = smoothness * _roughness()
    plain = penalized(simple, problem.y * w[:, 0], penalty)
    c = plain.coefficients[k:]
    moves = -(columns.slopes @ c * columns.depth)[:, None] * problem.shifts
    deeper = (curve / columns.depth[:, None] @ c)[:, None] * problem.levels
    x = np.column_stack([simple, moves * w, deeper * w])
    full = np.zeros((x.shape[1],) * 2)
    full[: len(penalty), : len(penalty)] = penalty
    start = len(penalty)
    believed = np.zeros(x.shape[1])
    spreads = np.concatenate([np.full(moves.shape[1], SHIFT_SPREAD), np.full(deeper.shape[1], DEPTH_SPREAD)])
    full[start:, start:] = np.diag(plain.sigma2 / spreads**2)
    believed[start:] = -np.concatenate([place.theta, place.depth - 1])
    return penalized(x, problem.y * w[:, 0], full, believed)


def _moved(problem: Problem, place: _Place, solved: Penalized) -> _Place:
    """The place after one step, at most 1.5 nats for a shift and half of the common depth for a depth."""
    q, levels = place.theta.size, place.depth.size
    tail = solved.coefficients[-(q + levels) :]
    theta = place.theta + np.clip(tail[:q], -1.5, 1.5)
    depth = np.clip(place.depth + np.clip(tail[q:], -0.5, 0.5), *DEPTHS)
    moved = _Place(theta, depth, place.minimum)
    return replace(moved, minimum=_minimum(problem, moved, _columns(problem, moved)))

