"""The difference of the objective between two levels of a category, each at its own best learning rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.special import stdtr, stdtrit

from hpkb.stats.contrast_design import FEWEST_DEGREES, Design
from hpkb.stats.level_curves import LevelCurves
from hpkb.stats.penalized import Penalized
from hpkb.stats.slopes import measured
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import BoolArray, FloatArray, Hyperparameter, Sweep

FEWEST_CONFIGURATIONS = 6  # of a level
FEWEST_ON_A_SIDE = 2  # configurations of a level beyond its best learning rate


@dataclass(frozen=True)
class Groups:
    """Runs in groups to be compared: `codes` (n_runs,) the index into `labels`, NaN for a run of none.

    `own` names the hyperparameters that make the groups, so that they are not held.
    """

    codes: FloatArray
    labels: tuple[str, ...]
    own: tuple[str, ...]


@dataclass(frozen=True)
class Contrast:
    """The objective (lower is better) of level `a` less that of `b`; `estimate` None where `reason` says why.

    `at_own_best`: each at its own best learning rate, which lies inside what was tried. Else at a common one, and
    `reason` says why. `p_value` is that of no difference, on the objective and on the normal scores of its ranks,
    whichever is larger. `n_a`, `n_b` count feasible configurations, `infeasible_a`, `infeasible_b` are shares of runs.
    `rate_ratio` is the best learning rate of a over that of b with its 95% interval and p-value of none.
    `best_a`, `best_b` are the best learning rates, at the middle of all else. `value_a`, `value_b` are the objective
    there (or at the common rates) with their errors. `score`, `score_error`, `score_degrees` are the difference on the
    normal scores.
    """

    a: str
    b: str
    estimate: float | None = None
    error: float = 0.0
    degrees: float = 0.0
    p_value: float | None = None
    n_a: int = 0
    n_b: int = 0
    infeasible_a: float = 0.0
    infeasible_b: float = 0.0
    at_own_best: bool = False
    reason: str = ""
    rate_ratio: float | None = None
    rate_low: float | None = None
    rate_high: float | None = None
    rate_p: float | None = None
    best_a: float | None = None
    best_b: float | None = None
    value_a: float = 0.0
    value_b: float = 0.0
    error_a: float = 0.0
    error_b: float = 0.0
    score: float = 0.0
    score_error: float = 0.0
    score_degrees: float = 0.0

    @property
    def half_width(self) -> float:
        """Half of Student's 95% interval."""
        return float(stdtrit(self.degrees, 0.975)) * self.error if self.degrees > 0 else 0.0


def groups_of(h: Hyperparameter) -> Groups:
    """The levels of a category, or the values of a number, as groups, the labels in the order of the alphabet."""
    if h.scale != "category":
        values = np.unique(h.values[~np.isnan(h.values)])
        codes = np.where(np.isnan(h.values), np.nan, np.searchsorted(values, h.values) * 1.0)
        return Groups(codes, tuple(h.label(float(v)) for v in values), (h.name,))
    order = sorted(range(len(h.levels)), key=lambda i: h.levels[i])
    rank = np.argsort(order).astype(float)
    there = ~np.isnan(h.values)
    codes = np.where(there, rank[np.where(there, h.values, 0).astype(np.int64)] if rank.size else np.nan, np.nan)
    return Groups(codes, tuple(h.levels[i] for i in order), (h.name,))


def contrasts(sweep: Sweep, name: str, within: BoolArray | None = None) -> list[Contrast]:
    """All pairs of levels of a hyperparameter, among the runs `within` (n_runs,); empty where it does not vary."""
    h = sweep.hyperparameter(name)
    return [] if h is None else contrasts_between(sweep, groups_of(h), within)


def contrasts_between(sweep: Sweep, groups: Groups, within: BoolArray | None = None) -> list[Contrast]:
    """All pairs of groups that have runs, with `reason` for those that cannot be compared.

    The shift model of `hpkb.stats.level_curves` on the means of configurations, weighted by their seeds. Where the
    learning rate was not varied or has no effect, the plain difference with the other hyperparameters held; where
    its best value lies at the edge of what was tried, the difference at the best place inside.
    """
    member = np.isfinite(groups.codes) & (True if within is None else within)
    codes = np.where(member, groups.codes, np.nan)
    there = [i for i in range(len(groups.labels)) if (codes == i).any()]
    counts = {i: _count(sweep, codes == i) for i in there}
    kept = tuple(i for i in there if counts[i][0] >= FEWEST_CONFIGURATIONS)
    compared = _Comparison.of(sweep, groups, codes, kept)
    too_few = f"fewer than {FEWEST_CONFIGURATIONS} feasible configurations of one of the two"
    found = []
    for i, j in combinations(there, 2):
        pair = Contrast(
            groups.labels[i], groups.labels[j], n_a=counts[i][0], n_b=counts[j][0],
            infeasible_a=counts[i][1], infeasible_b=counts[j][1], reason=too_few,
        )  # fmt: skip
        both = compared is not None and i in kept and j in kept
        found.append(compared.answer(pair, kept.index(i), kept.index(j)) if compared and both else pair)
    return found


def _count(sweep: Sweep, rows: BoolArray) -> tuple[int, float]:
    """The feasible configurations among the rows and the share of the runs that are infeasible."""
    usable = rows & feasible_runs(sweep)
    return int(np.unique(sweep.configuration[usable]).size), float(1 - usable.sum() / rows.sum())


@dataclass(frozen=True)
class _Comparison:
    """The fits of one set of groups; `codes` (n_runs,) and `kept` as of the groups, numbered anew in `design`."""

    sweep: Sweep
    groups: Groups
    codes: FloatArray
    kept: tuple[int, ...]
    design: Design
    plain: tuple[Penalized, Penalized] | None
    curves: tuple[LevelCurves, LevelCurves] | None
    reason: str

    @classmethod
    def of(cls, sweep: Sweep, groups: Groups, codes: FloatArray, kept: tuple[int, ...]) -> _Comparison | None:
        """The fits; None where fewer than two groups are kept, or all objectives are alike."""
        usable = feasible_runs(sweep) & np.isin(codes, kept)
        rate = None if "learning_rate" in groups.own else sweep.hyperparameter("learning_rate")
        if rate is not None and rate.scale == "category":
            rate = None
        if rate is not None:
            usable &= rate.values > 0
        at = measured(sweep, np.where(usable, sweep.y, np.nan)) if len(kept) > 1 and usable.any() else None
        if at is None or at.y.size < FEWEST_DEGREES or np.ptp(at.y) == 0:
            return None
        here = sweep.subset(at.first)
        others = [h for h in here.hyperparameters if h.name not in (*groups.own, "learning_rate")]
        levels = (codes[at.first][:, None] == np.array(kept, dtype=float)) * 1.0
        design = Design(here, at, levels, others, None if rate is None else np.log(rate.values[at.first]))
        plain = design.plain()
        curves, reason = design.curves() if plain else (None, "")
        return cls(sweep, groups, codes, kept, design, plain, curves, reason)

    def answer(self, pair: Contrast, a: int, b: int) -> Contrast:
        """The pair with what the fits say of its levels, by their places among those kept."""
        if self.plain is None:
            return replace(pair, reason="too few configurations to hold the other hyperparameters")
        if min(self.design.levels[:, a].sum(), self.design.levels[:, b].sum()) < FEWEST_CONFIGURATIONS:
            return pair
        if self.design.is_aliased(self.plain[0], a, b):
            return replace(pair, reason="the two went along with another hyperparameter")
        if self.curves is None:
            return self._at_common_rate(pair, self.plain, a, b)
        return self._at_own_best(pair, self.curves, a, b)

    def _at_common_rate(self, pair: Contrast, fits: tuple[Penalized, Penalized], a: int, b: int) -> Contrast:
        raw, scores = fits
        at = [self._at(raw, level) for level in (a, b)]
        difference = at[0] - at[1]
        found = _stated(pair, raw.of(difference), raw.dof, scores.of(difference), scores.dof)
        (value_a, error_a), (value_b, error_b) = (raw.of(level) for level in at)
        return replace(
            found, value_a=value_a, value_b=value_b, error_a=error_a, error_b=error_b,
            reason=self.reason if found.estimate is not None else found.reason,
        )  # fmt: skip

    def _at(self, plain: Penalized, level: int) -> FloatArray:
        """The columns of a level at the mean of everything else."""
        at, k = np.zeros(plain.coefficients.size), self.design.levels.shape[1]
        at[level], at[k:] = 1.0, self.design.plain_means
        return at

    def _at_own_best(self, pair: Contrast, fits: tuple[LevelCurves, LevelCurves], a: int, b: int) -> Contrast:
        raw, scores = fits
        found = _stated(pair, raw.height(a, b), raw.fit.dof, scores.height(a, b), scores.fit.dof)
        if found.estimate is None:
            return found
        shift, shift_error = raw.shift(a, b)
        half = float(stdtrit(raw.fit.dof, 0.975)) * shift_error
        ratio, low, high, best_a, best_b = (
            float(np.exp(np.clip(x, -50, 50)))
            for x in (shift, shift - half, shift + half, self._best(raw, a), self._best(raw, b))
        )
        edge = self._edge(fits, a, b)
        (value_a, error_a), (value_b, error_b) = raw.value(a), raw.value(b)
        return replace(
            found, at_own_best=not edge, reason=edge, rate_ratio=ratio, rate_low=low, rate_high=high,
            rate_p=max(_p(*f.shift(a, b), f.fit.dof) for f in fits), best_a=best_a, best_b=best_b,
            value_a=value_a, value_b=value_b, error_a=error_a, error_b=error_b,
        )  # fmt: skip

    def _best(self, curves: LevelCurves, level: int) -> float:
        """ln of the best learning rate of a level, at the mean of what else moves it."""
        return -float(curves.away(np.zeros(1), level, np.zeros((1, curves.problem.movers.shape[1])))[0])

    def _edge(self, fits: tuple[LevelCurves, LevelCurves], a: int, b: int) -> str:
        """Why it is not certain that each was at its own best; empty where it is."""
        left, right = (any(f.rises[side] for f in fits) for side in (0, 1))
        if not (left and right):
            return f"the best learning rate lies at the {'largest' if left else 'smallest'} ones that were tried"
        for level in (a, b):
            side = self._open_side(fits[0], level)
            if side:
                name = self.groups.labels[self.kept[level]]
                return f"the best learning rate with {name} lies at the {side} ones that were tried"
        return ""

    def _open_side(self, curves: LevelCurves, level: int) -> str:
        """On which side hardly anything was tried beyond the best learning rate of a level; empty where it was."""
        if self.design.u is None:
            return ""
        own = self.design.levels[:, level] > 0
        away = curves.away(self.design.u[own], level, curves.problem.shifts[own, curves.problem.own :])
        if (away < 0).sum() < FEWEST_ON_A_SIDE:
            return "smallest"
        above = int((away > 0).sum()) + self._infeasible_above(curves, level)
        return "largest" if above < FEWEST_ON_A_SIDE else ""

    def _infeasible_above(self, curves: LevelCurves, level: int) -> int:
        """The infeasible configurations of a level above its best learning rate, at the mean of what else moves it."""
        rate = self.sweep.hyperparameter("learning_rate")
        if rate is None:
            return 0
        failed = (self.codes == self.kept[level]) & ~feasible_runs(self.sweep)
        above = failed & (rate.values > np.exp(self._best(curves, level)))
        return int(np.unique(self.sweep.configuration[above]).size)


def _stated(
    pair: Contrast, raw: tuple[float, float], raw_dof: float, scores: tuple[float, float], score_dof: float
) -> Contrast:
    """The pair with a difference and its error on both scales."""
    if raw[1] <= 0 or scores[1] <= 0:
        return replace(pair, reason="the objective does not scatter")
    p = max(_p(*raw, raw_dof), _p(*scores, score_dof))
    return replace(
        pair, estimate=raw[0], error=raw[1], degrees=raw_dof, p_value=p, score=scores[0], score_error=scores[1],
        score_degrees=score_dof, reason="",
    )  # fmt: skip


def _p(estimate: float, error: float, degrees: float) -> float:
    return 2 * float(stdtr(degrees, -abs(estimate) / error)) if error > 0 else 1.0
