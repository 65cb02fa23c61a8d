"""From a sweep to the least-squares problem of a ridge: configuration means, the shifts and the main effects."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from hpkb.stats.basis import one_hot, powers
from hpkb.stats.shift_model import ShiftModel
from hpkb.sweep import FloatArray, Hyperparameter, IntArray, Sweep

Scale = Literal["identity", "scores"]
Infeasible = Literal["missing", "worst"]

#: The other hyperparameters that may move the best learning rate, first those that are known to.
MOVERS = ("optimizer", "batch_size", "weight_decay", "momentum", "epochs", "steps")
FEWEST_PER_LEVEL = 8
#: Between two levels of a category the best learning rate moves by at most this, in nats: two decades.
LARGEST_JUMP = float(np.log(100))
#: The largest share of the configurations that may be spent on coefficients.
COEFFICIENTS_PER_CONFIGURATION = 0.5


@dataclass(frozen=True)
class RidgeData:
    """One fit's data. The first shift is that of the knob itself.

    `knob` is its natural logarithm at each configuration, (n,), and `knob_columns` says which additive columns
    are its main effect. `jumps` are the columns of `model.shifts` that belong to a category, so that their shift
    may be large; `reference` (q,) is where the shifts stand for the most common level, named in `drawn_for`.
    `moved_by` names what may move the best learning rate besides the knob, `unadjusted` the hyperparameters for
    which there were too few configurations.
    """

    model: ShiftModel
    knob: FloatArray
    knob_columns: slice
    jumps: tuple[int, ...]
    reference: FloatArray
    drawn_for: tuple[str, ...]
    moved_by: tuple[str, ...]
    unadjusted: tuple[str, ...]


def usable(sweep: Sweep, knob: str) -> Sweep | None:
    """The runs with a positive learning rate and knob, in an order of content alone; None where one is not varied.

    An exact 0 (no weight decay) has no logarithm, so such runs say nothing of an exponent.
    """
    rate, other = sweep.hyperparameter("learning_rate"), sweep.hyperparameter(knob)
    if rate is None or other is None or "category" in (rate.scale, other.scale):
        return None
    keys = [np.nan_to_num(h.values, nan=-np.inf) for h in sweep.hyperparameters]
    order = np.lexsort([np.nan_to_num(sweep.y, nan=np.inf), *reversed(keys)])
    return sweep.subset(order[(rate.values[order] > 0) & (other.values[order] > 0)])


def derived(sweep: Sweep, name: str, knob: str, values: FloatArray) -> Sweep:
    """The sweep with the hyperparameter `name` replaced by a positive number that follows from it, under its own name.

    `values` is (n_runs,); what is not positive, or NaN, is left out of a fit.
    """
    kept = (Hyperparameter(knob, "log", values) if h.name == name else h for h in sweep.hyperparameters)
    return replace(sweep, hyperparameters=tuple(kept))


def ridge_data(sweep: Sweep, knob: str, scale: Scale, infeasible: Infeasible) -> RidgeData:
    """The problem of one knob on the runs of `usable`; raises ValueError where no configuration is left."""
    kept = sweep if infeasible == "worst" else sweep.subset(~sweep.infeasible)
    if kept.n_runs == 0 or kept.infeasible.all():
        raise ValueError("No feasible run.")
    y, weights, first = _configuration_means(kept, on_scale(kept, scale))
    parameters = [Hyperparameter(h.name, h.scale, h.values[first], h.levels) for h in kept.hyperparameters]
    by_name = {h.name: h for h in parameters}
    u, v = np.log(by_name["learning_rate"].values), np.log(by_name[knob].values)
    columns = spline_columns(y.size)
    plan = _Plan(y.size, columns)
    own = powers(v, 3 if y.size >= 60 else 2)
    plan.fill([h for h in parameters if h.name not in ("learning_rate", knob)])
    shifts = np.column_stack([v, *plan.shifts])
    additive = np.column_stack([np.ones(y.size), own, *plan.additive])
    jumps = np.isin(np.arange(shifts.shape[1]), plan.jumps)
    limits = np.where(jumps, LARGEST_JUMP, np.inf)
    model = ShiftModel(y, u, weights, shifts - shifts.mean(axis=0), additive, columns, limits)
    reference = np.where(jumps, -shifts.mean(axis=0), 0.0)
    return RidgeData(
        model, v, slice(1, 1 + own.shape[1]), tuple(plan.jumps), reference,
        tuple(_most_common(by_name[name]) for name in plan.moved_by if by_name[name].scale == "category"),
        tuple(plan.moved_by), tuple(plan.unadjusted),
    )  # fmt: skip


def of_level(sweep: Sweep, name: str, code: int) -> Sweep:
    """The runs with one level of a category, which then says nothing more and is left out."""
    category = sweep.hyperparameter(name)
    runs = sweep if category is None else sweep.subset(category.values == code)
    return replace(runs, hyperparameters=tuple(h for h in runs.hyperparameters if h.name != name))


def index_model(sweep: Sweep, variable: FloatArray, still: Collection[str], scale: Scale) -> ShiftModel:
    """The problem of one variable (n_runs,) in place of ln learning rate.

    What is `still` is in the variable or not at all: it has main effects, and does not move the best value.
    """
    y, weights, first = _configuration_means(sweep, on_scale(sweep, scale))
    parameters = [Hyperparameter(h.name, h.scale, h.values[first], h.levels) for h in sweep.hyperparameters]
    columns = spline_columns(y.size)
    plan = _Plan(y.size, columns)
    plan.fill([h for h in parameters if h.name != "learning_rate"], still)
    shifts = np.column_stack([np.zeros((y.size, 0)), *plan.shifts])
    additive = np.column_stack([np.ones(y.size), *plan.additive])
    limits = np.where(np.isin(np.arange(shifts.shape[1]) + 1, plan.jumps), LARGEST_JUMP, np.inf)
    return ShiftModel(y, variable[first], weights, shifts - shifts.mean(axis=0), additive, columns, limits)


def _most_common(category: Hyperparameter) -> str:
    levels, counts = np.unique(category.values, return_counts=True)
    return f"{category.name} {category.label(float(levels[counts.argmax()]))}"


def spline_columns(n: int) -> int:
    """How many splines n configurations carry."""
    return 5 if n < 40 else 6 if n < 250 else 8


def on_scale(sweep: Sweep, scale: Scale) -> FloatArray:
    """The objective of each run on a scale for least squares, (n,), about 1 in size; infeasible runs have the worst.

    "scores" are the normal scores of the ranks (Blom 1958): the place of the best learning rate is the same on
    every monotone scale, and ranks know no outliers.
    """
    if scale == "identity":
        y = np.where(sweep.infeasible, np.nanmax(sweep.y), sweep.y)
        return np.asarray(y / max(float(np.abs(y).max()), 1e-300))  # squares of the largest floats overflow
    ranks = rankdata(np.where(sweep.infeasible, np.inf, sweep.y))
    return np.asarray(ndtri((ranks - 0.375) / (ranks.size + 0.25)))


def _configuration_means(sweep: Sweep, y: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """The mean over seeds of each configuration, the number of seeds, and a row of each, in the order of the rows."""
    _, first, inverse = np.unique(sweep.configuration, return_index=True, return_inverse=True)
    order = np.argsort(first)
    seeds = np.bincount(inverse)
    return (np.bincount(inverse, y) / seeds)[order], seeds[order].astype(np.float64), first[order]


class _Plan:
    """Which columns a problem gets, the most needed first, as long as there are configurations for them."""

    def __init__(self, n: int, columns: int) -> None:
        self.additive: list[FloatArray] = []
        self.shifts: list[FloatArray] = []
        self.jumps: list[int] = []
        self.moved_by: list[str] = []
        self.unadjusted: list[str] = []
        # Left after the splines, the knob's own three columns, its shift and its effect on the curve's depth.
        self.left = int(COEFFICIENTS_PER_CONFIGURATION * n) - columns - (4 if n < 60 else 5)

    def fill(self, others: list[Hyperparameter], still: Collection[str] = ()) -> None:
        """Takes what moves the best learning rate first (not what is `still`), then main effects and their curves."""
        numbers = {h.name: x for h in others if h.scale != "category" and (x := _centred(h)) is not None}
        categories = {h.name: h.values for h in others if h.scale == "category"}
        for name in (name for name in MOVERS if name not in still):
            if name in categories:
                self._main(name, one_hot(categories[name], fewest=3))
                self._shift(name, one_hot(categories.pop(name), FEWEST_PER_LEVEL), jump=True)
            elif name in numbers:
                self._main(name, numbers[name][:, None])
                self._shift(name, numbers[name][:, None])
        for name, codes in categories.items():
            self._main(name, one_hot(codes, fewest=3))
        for name, x in numbers.items():
            if name not in MOVERS or name in still:
                self._main(name, x[:, None])
        for x in numbers.values():
            self._take(self.additive, powers(x, 2)[:, 1:])

    def _main(self, name: str, block: FloatArray) -> None:
        if not self._take(self.additive, block):
            self.unadjusted.append(name)

    def _shift(self, name: str, block: FloatArray, jump: bool = False) -> None:
        start = 1 + sum(shift.shape[1] for shift in self.shifts)
        if block.shape[1] and self._take(self.shifts, block):
            self.moved_by.append(name)
            self.jumps += range(start, start + block.shape[1]) if jump else []

    def _take(self, blocks: list[FloatArray], block: FloatArray) -> bool:
        if block.shape[1] > self.left:
            return False
        self.left -= block.shape[1]
        blocks.append(block)
        return True


def _centred(parameter: Hyperparameter) -> FloatArray | None:
    """The values on their own scale, centred and scaled, absent ones at 0; None where they are all one."""
    x = parameter.transformed
    if parameter.name in ("momentum", "beta1", "beta2") and (x < 1).any():
        x = np.log(np.maximum(1 - x, 1e-6))  # what moves the optimum is 1 / (1 - momentum)
    there = ~np.isnan(x)
    if not there.any() or np.ptp(x[there]) == 0:
        return None
    x = np.where(there, x - x[there].mean(), 0.0)
    return np.asarray(x / x.std())
