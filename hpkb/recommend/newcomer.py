"""A task with a few runs of its own, seen through the process over the other tasks: where it may still improve.

Its results are in its own units, and how far its best and its median are nobody knows yet. Both are taken where the
posterior is highest, on a grid: the distance from best to median around those of the other tasks where they have the
same objective, the regret of the best run so far from 0 up. On that scale the task is one more of the process
(`population`), correlated with all others, and the next configuration is the one with the largest expected improvement
(Jones, Schonlau & Welch 1998) over the lowest predicted mean among its runs, which single lucky results do not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.stats import norm

from hpkb.recommend.population import CONSTANT, CONSTANT_OF_TASK, Population
from hpkb.recommend.regret import CAP, configuration_means
from hpkb.sweep import FloatArray, Sweep

LISTED = 2  # runs by the list that covers all tasks, before its own results lead; with four, eight runs reached less
SPREADS = np.linspace(-2.0, 2.0, 9)  # the grid of the distance from best to median, in deviations of its logarithm
LEAST_SPREAD = 0.7  # that deviation, at least
OWN_SPREAD = 1.5  # that deviation where no other task has the same objective
REGRETS_OF_BEST = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8)
LEAST_GAIN = 0.1  # that may be left, in units of the process: where 0 lies is itself an estimate
LEAST_SLOPE = 0.01  # regret below which its square root is taken to be no steeper


@dataclass(frozen=True)
class Newcomer:
    """The posterior of the task: its rows and its results in units of the process, as far as they are known."""

    population: Population
    rows: FloatArray
    places: FloatArray  # results in units of the process, (n,)
    noise: FloatArray  # their variances, (n,)

    @classmethod
    def of(cls, population: Population, rows: FloatArray, y: FloatArray, width: tuple[float, float]) -> Newcomer:
        """The posterior after runs of the task's own: `rows` (n, columns) and results `y` (n,), the lower the better,
        infinite where the run was infeasible. `width` is what `usual_width` or `own_width` returns.
        """
        blank = cls(population, rows, np.zeros(y.size), np.full(y.size, np.exp(population.kernel.noise) + 1e-6))
        return replace(blank, places=blank._on_scale(y, width)) if y.size else blank

    def believing(self, rows: FloatArray) -> Newcomer:
        """The posterior if runs that are not finished, (n, columns), gave what is predicted of them."""
        if not len(rows):
            return self
        mean, _ = self.predict(rows)
        noise = np.append(self.noise, np.full(len(rows), 1e-3))
        return Newcomer(self.population, np.concatenate([self.rows, rows]), np.append(self.places, mean), noise)

    def predict(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The mean and the deviation at rows, (n,) each, in units of the process."""
        mean, whitened = self.population.unseen_task(rows)
        variance = self.population.variance - (whitened**2).sum(axis=0)
        if self.places.size:
            before, seen, lower = self._own
            gain = solve_triangular(lower, self._between(self.rows, rows) - seen.T @ whitened, lower=True)
            mean = mean + gain.T @ solve_triangular(lower, self.places - before, lower=True)
            variance = variance - (gain**2).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, 1e-9))

    def improvement(self, rows: FloatArray) -> FloatArray:
        """The improvement that is expected of each row, (n,); before the first run the lowest mean has the largest.

        No regret is below 0, so that no more is expected of a place of which nothing is known than is left to gain.
        """
        mean, deviation = self.predict(rows)
        if not self.places.size:
            return -mean
        best = float(self.predict(self.rows)[0].min())
        floor = min(float(self.population.placed(np.zeros(1))[0]), best - LEAST_GAIN)
        return _expected_below(best, mean, deviation) - _expected_below(floor, mean, deviation)

    def _between(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return self.population.kernel.between(a, b) + CONSTANT + CONSTANT_OF_TASK

    @cached_property
    def _own(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Of its own rows: what `unseen_task` says of them, and the Cholesky factor of their results' covariance."""
        mean, seen = self.population.unseen_task(self.rows)
        covariance = self._between(self.rows, self.rows) - seen.T @ seen + np.diag(self.noise)
        return mean, seen, np.asarray(cholesky(covariance, lower=True))

    def _on_scale(self, y: FloatArray, width: tuple[float, float]) -> FloatArray:
        """Its results in units of the process, (n,), on the scale with the highest posterior."""
        mean, _, lower = self._own
        feasible = np.isfinite(y)
        best = float(y[feasible].min()) if feasible.any() else 0.0
        centre, deviation = width
        found, highest = np.zeros(y.size), -np.inf
        for off in SPREADS:
            spread = np.exp(centre + deviation * off)
            for regret_of_best in REGRETS_OF_BEST:
                regret = np.clip(np.where(feasible, (y - best) / spread + regret_of_best, CAP), 0.0, CAP)
                places = self.population.placed(regret)
                z = solve_triangular(lower, places - mean, lower=True)
                slopes = np.log(2 * np.sqrt(np.maximum(regret[feasible], LEAST_SLOPE)) * spread)
                posterior = -0.5 * float(z @ z) - 0.5 * off**2 - float(slopes.sum())
                if posterior > highest:
                    found, highest = places, posterior
        return found


def _expected_below(level: float, mean: FloatArray, deviation: FloatArray) -> FloatArray:
    """How far normal values lie below a level in expectation, those above it counting as at it."""
    z = (level - mean) / deviation
    return np.asarray(deviation * (z * norm.cdf(z) + norm.pdf(z)))


def usual_width(sweeps: Sequence[Sweep]) -> tuple[float, float] | None:
    """Returns how far the best and the median of such tasks lie apart, in their unit: mean and deviation of its ln.

    None where no task shows it.
    """
    means = [configuration_means(s, s.y) for s in sweeps]
    feasible = [m[np.isfinite(m)] for m in means]
    widths = [float(np.median(m) - m.min()) for m in feasible if m.size]
    logs = np.log([w for w in widths if w > 0])
    return (float(logs.mean()), max(float(logs.std()), LEAST_SPREAD)) if logs.size else None


def own_width(y: FloatArray) -> tuple[float, float]:
    """Returns the same from the scatter of a task's own results, (n,)."""
    finite = y[np.isfinite(y)]
    spread = float(finite.std()) if finite.size else 0.0
    if spread == 0:
        spread = float(np.abs(finite).max()) / 10 if finite.size and finite.any() else 1.0
    return float(np.log(spread)), OWN_SPREAD
