"""What a comparison of levels is fitted to: the configurations, the main effects, and what moves the best rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import fdtrc, ndtri
from scipy.stats import rankdata

from hpkb.stats.effects import design_block
from hpkb.stats.level_curves import LevelCurves, Problem, fit, search
from hpkb.stats.penalized import Penalized, penalized, tamed
from hpkb.stats.slopes import Measured
from hpkb.sweep import FloatArray, Hyperparameter, Sweep

FEWEST_RATES = 4  # learning rates, for a curve
FEWEST_DEGREES = 10.0
FEWEST_PER_LEVEL = 6  # configurations of a level of another category, for a shift of its own
HIGHEST_POWER = 3
SHARE_OF_COEFFICIENTS = 0.55  # of the configurations, at most
ALIASED = 25.0  # a variance so many times that of two groups of their size: told apart by next to nothing
REPEATED = 3  # configurations to a value, before a value that always goes with one level means anything
LEVEL = 0.05
JUMP = float(np.log(100))  # by which the best learning rate moves at most between two levels
MOVERS = ("optimizer", "batch_size", "weight_decay", "momentum", "beta1", "width", "depth")


@dataclass(frozen=True)
class Design:
    """The configurations of a comparison, and what the fits are made of; `u` is ln learning rate, (n,), or None.

    `along` (n,), where given, is a number whose own effect is asked for: it enters as itself and its square, which are
    the first main effects, and may move the best learning rate.
    """

    here: Sweep
    at: Measured
    levels: FloatArray
    others: list[Hyperparameter]
    u: FloatArray | None
    along: FloatArray | None = None

    @property
    def root_weights(self) -> FloatArray:
        return np.asarray(np.sqrt(2 * self.at.seeds / (self.at.seeds + 1)))

    @property
    def targets(self) -> tuple[FloatArray, FloatArray]:
        """The means, and the normal scores of their ranks, with the same spread."""
        y = self.at.y
        return y, np.asarray(ndtri(rankdata(y) / (y.size + 1)))

    def main(self, left: int) -> FloatArray:
        """The main effects of the others for about that many coefficients."""
        degree = int(np.clip(left // max(len(self.others), 1), 1, HIGHEST_POWER))
        blocks = [design_block(h, self.here, degree) for h in self.others]
        own = [] if self.along is None else [self.along[:, None], self.along[:, None] ** 2]
        return np.hstack([np.zeros((self.at.y.size, 0)), *own, *blocks])

    @property
    def budget(self) -> int:
        return int(SHARE_OF_COEFFICIENTS * self.at.y.size) - int(self.levels.shape[1])

    def plain(self) -> tuple[Penalized, Penalized] | None:
        """The plain fits, on both targets; None where they leave too few degrees of freedom."""
        w = self.root_weights[:, None]
        x = np.hstack([self.levels, self._plain_columns]) * w
        none = np.zeros((x.shape[1],) * 2)
        raw, scores = (penalized(x, y * w[:, 0], none) for y in self.targets)
        y, factor = tamed(self.targets[0], raw.residual / w[:, 0])
        raw = penalized(x, y * w[:, 0], none).wider(factor) if factor > 1 else raw
        return (raw, scores) if raw.dof >= FEWEST_DEGREES else None

    @property
    def plain_means(self) -> FloatArray:
        """The means of the columns of the plain fits after the levels."""
        return np.asarray(self._plain_columns.mean(axis=0))

    @cached_property
    def _plain_columns(self) -> FloatArray:
        rate = self.here.hyperparameter("learning_rate") if self.u is not None else None
        own = [design_block(rate, self.here, 3 if self.budget > 12 else 2)] if rate is not None else []
        return np.hstack([self.main(self.budget - 3), *own])

    def is_aliased(self, plain: Penalized, a: int, b: int) -> bool:
        """Whether the other hyperparameters all but say which of the two levels a configuration has."""
        if any(self._tells(h, a, b) for h in self.others):
            return True
        contrast = np.zeros(plain.coefficients.size)
        contrast[a], contrast[b] = 1.0, -1.0
        variance = float(contrast @ plain.covariance @ contrast) / max(plain.sigma2, 1e-300)
        sizes = (self.levels * self.root_weights[:, None] ** 2).sum(axis=0)
        return plain.sigma2 > 0 and not 0.5 < variance / (1 / sizes[a] + 1 / sizes[b]) < ALIASED

    def _tells(self, h: Hyperparameter, a: int, b: int) -> bool:
        """Whether each value of a hyperparameter, having come up several times, goes with one of the two alone."""
        rows = (self.levels[:, a] + self.levels[:, b] > 0) & ~np.isnan(h.values)
        _, value = np.unique(h.values[rows], return_inverse=True)
        counts = np.bincount(value)
        if counts.size < 2 or counts.size * REPEATED > value.size:
            return False
        share = np.bincount(value, weights=self.levels[rows, a]) / counts
        return bool(np.isin(share, (0.0, 1.0)).all()) and 0 < float(self.levels[rows, a].mean()) < 1

    def curves(self) -> tuple[tuple[LevelCurves, LevelCurves] | None, str]:
        """The fits at each level's own best learning rate, on both targets; or None and why not."""
        if self.u is None:
            return None, "the learning rate was not varied"
        if np.unique(self.u).size < FEWEST_RATES:
            return None, f"the learning rate took fewer than {FEWEST_RATES} values"
        left = self.budget - 4 - 3 * (self.levels.shape[1] - 1) // 2
        movers, jumps = self._movers(left - len(self.others))
        main = self.main(max(left - movers.shape[1], 0))
        problem = Problem(self.targets[1], self.u, self.root_weights, self.levels, main, movers, jumps)
        if self.at.y.size - problem.shifts.shape[1] - self.levels.shape[1] - main.shape[1] - 4 < FEWEST_DEGREES:
            return None, "too few configurations for a curve along the learning rate"
        if _p_of_rate(problem) > LEVEL:
            return None, "the learning rate shows no effect"
        theta = search(problem, JUMP)
        raw, scores = (fit(replace(problem, y=y), theta) for y in self.targets)
        return (self._tamed(problem, raw, theta), scores), ""

    def _tamed(self, problem: Problem, raw: LevelCurves, theta: FloatArray) -> LevelCurves:
        """The fit with what is far out of it drawn in, twice: the first fit follows what it is to be held against."""
        y = self.targets[0]
        for _ in range(2):
            y, factor = tamed(self.targets[0], self.targets[0] - y + raw.fit.residual / self.root_weights)
            if factor == 1:
                break
            raw = fit(replace(problem, y=y), theta)
            raw = replace(raw, fit=raw.fit.wider(factor))
        return raw

    def _movers(self, left: int) -> tuple[FloatArray, tuple[int, ...]]:
        """The columns of what is known to move the best learning rate, the most important first, while they fit."""
        blocks, jumps, used = [np.zeros((self.at.y.size, 0))], list[int](), 0
        if self.along is not None:
            blocks, used = [self.along[:, None]], 1
        for name in MOVERS:
            h = next((h for h in self.others if h.name == name), None)
            block = _mover(h) if h is not None else np.zeros((0, 0))
            if h is not None and 0 < block.shape[1] <= left - used:
                jumps += range(used, used + block.shape[1]) if h.scale == "category" else []
                used += block.shape[1]
                blocks.append(block)
        return np.hstack(blocks), tuple(jumps)


def _mover(h: Hyperparameter) -> FloatArray:
    """The columns of one hyperparameter that moves the best learning rate, on the scale on which it does."""
    x = h.transformed
    there = ~np.isnan(x)
    if h.scale == "category":
        codes, counts = np.unique(x[there], return_counts=True)
        kept = [c for c, n in zip(codes, counts, strict=True) if n >= FEWEST_PER_LEVEL]
        return np.asarray((x[:, None] == np.array(kept[1:])[None, :]) * 1.0)
    if h.name in ("momentum", "beta1"):
        x = np.log(np.maximum(1 - x, 1e-6))
    if not there.any() or np.ptp(x[there]) == 0:
        return np.zeros((x.size, 0))
    x = np.where(there, x - x[there].mean(), 0.0)
    return np.asarray((x / x.std())[:, None])


def _p_of_rate(problem: Problem) -> float:
    """The p-value of no effect of the learning rate: powers of it, and its products with levels and movers."""
    w = problem.root_weights[:, None]
    u = (problem.u - problem.u.mean()) / max(float(problem.u.std()), 1e-300)
    products = u[:, None] * problem.shifts
    tested = np.column_stack([u, u**2, u**3, products]) * w
    base = np.column_stack([problem.levels, problem.main]) * w
    none = np.zeros((base.shape[1],) * 2)
    small = penalized(base, problem.y * w[:, 0], none)
    x = np.column_stack([base, tested])
    large = penalized(x, problem.y * w[:, 0], np.zeros((x.shape[1],) * 2))
    k = small.dof - large.dof
    if k < 0.5 or large.sigma2 <= 0:
        return 1.0
    f = (small.residual @ small.residual - large.residual @ large.residual) / k / large.sigma2
    return float(fdtrc(k, large.dof, max(float(f), 0.0)))
