"""How the best learning rate moves with another hyperparameter: d ln lr* / d ln knob, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import stats

from hpkb.stats import ridge_inference as inference
from hpkb.stats import shift_model as sm
from hpkb.stats.interaction import interaction_share
from hpkb.stats.ridge_data import Infeasible, RidgeData, Scale, ridge_data, usable
from hpkb.stats.ridge_inference import EVERYTHING, OTHERS, scaled
from hpkb.stats.ridge_shape import Shape, shape
from hpkb.stats.sampling import drawn
from hpkb.stats.shift_model import State, thinned
from hpkb.sweep import FloatArray, Sweep

LARGEST_EXPONENT = 3.0
FEWEST_CONFIGURATIONS = 20
ALPHA = 0.05
SEARCHED = 2_000  # configurations on which the best fit is looked for
NEAREST = 2_000  # configurations that the exponent near the best rate rests on


@dataclass(frozen=True)
class RidgePoint:
    """The best learning rate at a value of the knob, with its 95% interval; in the units of the two."""

    knob: float
    learning_rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Ridge:
    """What a sweep says of the best learning rate along a knob.

    `exponent` is d ln lr* / d ln knob with its 95% interval, None on a side that the runs leave open; None
    throughout, with the `reason`, where no exponent can be stated. `p_value` is that of no interaction of the two.
    `interaction_share` is the share of the variance of the fitted response that no sum of main effects can hold.
    `drawn_for` says for which optimizer `line` stands; `moved_by` what else was allowed to move the best rate.
    """

    exponent: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    interaction_share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    line: tuple[RidgePoint, ...] = ()
    reason: str = ""
    n_configurations: int = 0
    scale: Scale = "identity"
    infeasible: Infeasible = "missing"
    drawn_for: tuple[str, ...] = ()
    moved_by: tuple[str, ...] = ()
    unadjusted: tuple[str, ...] = ()


def fit_ridge(sweep: Sweep, knob: str) -> Ridge:
    """The ridge of the learning rate along a knob: a varied number of the sweep, as "weight_decay" or "batch_size".

    A knob that is derived, as 1 - momentum (see `derived`), stands in the sweep under its own name.

    The shift model on configuration means, weighted by their seeds: objective = f(ln lr - exponent · ln knob -
    other shifts) + main effects, f a cubic spline. Diverged runs are missing at first; where no rise to the right
    is seen without them, they count as the worst value.
    """
    runs = usable(sweep, knob)
    if runs is None or runs.n_runs == 0:
        return Ridge(reason=f"learning rate and {_words(knob)} were not both varied")
    tried = runs.n_configurations
    if runs.aliases.hidden & {"learning_rate", knob}:
        return Ridge(reason="they cannot be told apart from what changed together with them", n_configurations=tried)
    feasible = runs.subset(~runs.infeasible)
    if feasible.n_configurations < FEWEST_CONFIGURATIONS:
        return Ridge(reason=_too_few(feasible, knob), n_configurations=tried)
    if np.ptp(feasible.y) == 0:
        return Ridge(reason="the objective is the same in every run", n_configurations=tried)
    for name, fewest in (("learning_rate", 4), (knob, 3)):
        parameter = feasible.hyperparameter(name)
        if parameter is None or np.unique(parameter.values).size < fewest:
            return Ridge(reason=f"{_words(name)} took fewer than {fewest} values", n_configurations=tried)
    return _fit(runs, knob)


def near_best(sweep: Sweep, knob: str, ridge: Ridge) -> Sweep | None:
    """The feasible runs of the half of the configurations whose settings lie nearest to the ridge, by the fitted curve.

    Chosen by their settings, so that luck makes no selection; of very many, a part that is fixed by their order. None
    where fewer than 40 configurations would be left.
    """
    runs = usable(sweep, knob)
    if runs is None or ridge.exponent is None:
        return None
    feasible = runs.subset(~runs.infeasible)
    data = ridge_data(feasible, knob, ridge.scale, "missing")
    best = search(data)
    _, first, member = np.unique(feasible.configuration, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # the configurations stand in the order of their first rows
    within = np.flatnonzero(best.curve[0] <= np.median(best.curve[0]))
    near = feasible.subset(np.isin(order[member], within[drawn(within.size, NEAREST)]))
    return near if near.n_configurations >= 2 * FEWEST_CONFIGURATIONS else None


def _words(name: str) -> str:
    return name.replace("_", " ")


def _too_few(feasible: Sweep, knob: str) -> str:
    there = feasible.n_configurations
    noun = "configuration" if there == 1 else "configurations"
    return (
        f"{there} feasible {noun} with a positive {_words(knob)} are too few: "
        f"at least {FEWEST_CONFIGURATIONS} are needed, and 40 or more for a useful interval"
    )


@dataclass(frozen=True)
class _Candidate:
    """The best fit of one version of the data; `predicts` is the rank correlation of left-out predictions."""

    data: RidgeData
    scale: Scale
    infeasible: Infeasible
    best: State
    predicts: float

    @cached_property
    def shape(self) -> Shape:
        return shape(self.data, self.best)


def _fit(runs: Sweep, knob: str) -> Ridge:
    chosen, ranks = _choose(runs, knob, "missing")
    if not chosen.shape.has_minimum and runs.infeasible.any():
        with_infeasible = _choose(runs, knob, "worst")
        chosen, ranks = with_infeasible if with_infeasible[0].shape.has_minimum else (chosen, ranks)
    return _conclude(chosen, ranks, runs.n_configurations)


def _choose(runs: Sweep, knob: str, infeasible: Infeasible) -> tuple[_Candidate, _Candidate]:
    """The scale and the number of splines with which the model predicts best, and the fit to the ranks beside it."""
    raw, ranks = _candidate(runs, knob, "identity", infeasible), _candidate(runs, knob, "scores", infeasible)
    coarse = max(raw, ranks, key=lambda c: c.predicts)
    return max(coarse, _finer(coarse), key=lambda c: c.predicts), ranks


def _candidate(runs: Sweep, knob: str, scale: Scale, infeasible: Infeasible) -> _Candidate:
    data = ridge_data(runs, knob, scale, infeasible)
    best = search(data)
    return _Candidate(data, scale, infeasible, best, _predicts(data, best))


def _finer(coarse: _Candidate) -> _Candidate:
    """The same with more splines, from where the coarse fit stands: a cliff needs them, and they need runs."""
    model = coarse.data.model
    if model.y.size < 4 * (model.additive.shape[1] + model.columns):
        return coarse
    data = replace(coarse.data, model=replace(model, columns=model.columns + 4))
    best = sm.descend(data.model, sm.evaluate(data.model, coarse.best.theta), EVERYTHING, 8)
    return replace(coarse, data=data, best=best, predicts=_predicts(data, best))


def search(data: RidgeData) -> State:
    """The best fit over all exponents and shifts, one row: a coarse grid, then the best four of it to the bottom.

    Where there are many configurations, some of them show where to look, and all of them where the bottom is.
    """
    few = thinned(data.model, SEARCHED)
    q = few.shifts.shape[1]
    starts = [np.zeros(q)]
    for column in data.jumps:
        starts += [np.where(np.arange(q) == column, shift, 0.0) for shift in (-3.0, 3.0)]
    exponents = np.linspace(-LARGEST_EXPONENT, LARGEST_EXPONENT, 9)
    theta = np.repeat(np.array(starts), exponents.size, axis=0)
    theta[:, 0] = np.tile(exponents, len(starts))
    rough = sm.descend(few, sm.evaluate(few, theta), OTHERS, 2)
    deepest = np.argsort(rough.rss, kind="stable")[:4]
    best = sm.descend(few, rough.take(deepest), EVERYTHING, 12)
    best = best.take(int(best.rss.argmin()))
    return best if few is data.model else sm.descend(data.model, sm.evaluate(data.model, best.theta), EVERYTHING, 6)


def _predicts(data: RidgeData, best: State) -> float:
    """Spearman's correlation of each configuration with its prediction from the others: blind to the scale."""
    model = data.model
    design = scaled(np.concatenate([best.design, sm.shift_tangent(model, best, EVERYTHING)], axis=-1))
    hat = np.minimum(sm.leverage(model, design)[0], 0.99)
    left_out = model.y - best.residual[0] / (1 - hat) / model.root_weights
    if np.ptp(model.y) == 0 or np.ptp(left_out) == 0:
        return 0.0
    return float(stats.spearmanr(left_out, model.y).statistic)


def _conclude(chosen: _Candidate, ranks: _Candidate, tried: int) -> Ridge:
    """What the chosen fit says; whether there is anything at all must show on the ranks as well.

    Least squares follow an outlier wherever it lies, and with a curve that can move they follow it closely: the F
    tests on raw objectives with heavy tails are wrong by many orders of magnitude, those on normal scores are not.
    """
    data, best = chosen.data, chosen.best
    fits = [chosen] if chosen.scale == "scores" else [chosen, ranks]
    common = Ridge(
        p_value=max(_interaction_p(fit) for fit in fits), n_configurations=tried, scale=chosen.scale,
        infeasible=chosen.infeasible, drawn_for=data.drawn_for, moved_by=data.moved_by, unadjusted=data.unadjusted,
    )  # fmt: skip
    if max(inference.learning_rate_p(fit.data.model) for fit in fits) > ALPHA:
        return replace(common, reason="the learning rate itself has no effect that stands out of the noise")
    share = interaction_share(data, best)
    common = replace(common, interaction_share=share.estimate, share_low=share.low, share_high=share.high)
    if not chosen.shape.has_minimum:
        return replace(common, reason=chosen.shape.reason)
    exponent = float(best.theta[0, 0])
    low, high = (bound if math.isfinite(bound) else None for bound in _interval(data, best))
    return replace(common, exponent=exponent, low=low, high=high, line=_line(data, chosen.shape))


def _interaction_p(fit: _Candidate) -> float:
    """The p-value of no interaction on the scale of one fit."""
    null = _profile(fit.data, fit.best, np.zeros(1))
    return inference.interaction_p(fit.data.model, null, fit.best)


def _grids(exponent: float, error: float) -> tuple[FloatArray, FloatArray]:
    """Exponents to try, fine ones around the best, and the same with coarse ones over all."""
    fine = exponent + np.clip(error, 1e-4, 0.5) * np.linspace(-6, 6, 17)
    inside = fine[np.abs(fine) < LARGEST_EXPONENT]
    coarse = np.linspace(-LARGEST_EXPONENT, LARGEST_EXPONENT, 25)
    return np.unique([exponent, *inside]), np.unique([0.0, exponent, *coarse, *inside])


def _profile(data: RidgeData, best: State, exponents: FloatArray) -> State:
    """The best fit at each exponent."""
    theta = np.repeat(best.theta, exponents.size, axis=0)
    theta[:, 0] = exponents
    return sm.descend(data.model, sm.evaluate(data.model, theta), OTHERS, 2)


def _interval(data: RidgeData, best: State) -> tuple[float, float]:
    """The exponents around the best that no test refuses (see `misfit`), widened to the delta interval if wider.

    Inverting a test needs no assumption that the exponent is well determined, and may leave a side open
    (Fieller 1954; Gleser & Hwang 1987 show that an interval that cannot is wrong for such a quantity).
    """
    exponent = float(best.theta[0, 0])
    at_best = inference.score(data.model, best)
    for grid in _grids(exponent, float(at_best.error[0])):
        misfit = inference.misfit(data.model, _profile(data, best, grid), best)
        start = int(np.searchsorted(grid, exponent))
        low = _crossing(grid[: start + 1][::-1], misfit[: start + 1][::-1])
        high = _crossing(grid[start:], misfit[start:])
        if math.isfinite(low) and math.isfinite(high):
            break
    delta = at_best.critical * float(at_best.error[0])
    return _open(min(low, exponent - delta)), _open(max(high, exponent + delta))


def _open(bound: float) -> float:
    return math.copysign(math.inf, bound) if abs(bound) >= LARGEST_EXPONENT else bound


def _crossing(grid: FloatArray, misfit: FloatArray) -> float:
    """Where the misfit first passes 1 on the way from the first exponent; infinite where it never does."""
    beyond = np.flatnonzero(misfit[1:] > 1) + 1
    if not beyond.size:
        return math.copysign(math.inf, grid[-1] - grid[0] if grid.size > 1 else grid[0])
    i = int(beyond[0])
    before = min(float(misfit[i - 1]), 1.0)
    share = (1 - before) / (float(misfit[i]) - before)
    return float(grid[i - 1] + share * (grid[i] - grid[i - 1]))


def _line(data: RidgeData, found: Shape) -> tuple[RidgePoint, ...]:
    """The best learning rate along the knob, at the most common optimizer, with the band of the delta method."""
    values = np.unique(data.knob)
    if values.size > 12:
        values = np.linspace(values[0], values[-1], 13)
    points = np.column_stack([values, *found.along(values - data.knob.mean())])
    points = np.exp(np.clip(points, -300.0, 300.0))
    return tuple(RidgePoint(*(float(x) for x in row)) for row in points)
