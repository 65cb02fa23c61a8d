"""What moves the edge of the feasible region in learning rate, and how far the best learning rate is from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from hpkb.stats.feasibility import Bound, Outcomes
from hpkb.stats.gaussian import Process, profiles
from hpkb.stats.logistic import Data, firth, interval_end, likelihood_ratio
from hpkb.sweep import BoolArray, FloatArray, Hyperparameter, Sweep

#: What may move the edge, beside the optimizer, which has a bound of its own.
MOVERS = (
    "batch_size", "warmup_steps", "warmup_fraction", "gradient_clip_norm", "gradient_clip_value", "precision", "depth",
    "width", "weight_decay", "normalization",
)  # fmt: skip
FEWEST_FAILURES = 8  # and as many successes, a mover
ALIASED = 0.05  # of a column that the others leave: with less, what it moves is moved by another one
GRID = 41


@dataclass(frozen=True)
class Shift:
    """How far the edge moves in ln learning rate for one unit of a mover, with its 95% interval, None where open.

    `unit` says what one unit is: "ln" a factor of e of the mover, "range" from its smallest value to its largest, or
    the level of a category against the commonest one.
    """

    hyperparameter: Hyperparameter
    unit: str
    against: str
    estimate: float
    low: float | None
    high: float | None
    p_value: float


@dataclass(frozen=True)
class Margin:
    """How far the best learning rate lies below the edge, in nats, with its standard error and degrees of freedom."""

    estimate: float
    error: float
    degrees: int
    best: float

    def beyond(self, nats: float) -> float:
        """The p-value of the margin being at least so many nats."""
        return float(stdtr(self.degrees, (self.estimate - nats) / max(self.error, 1e-12)))

    @property
    def half_width(self) -> float:
        """Half of Student's 95% interval."""
        return float(stdtrit(self.degrees, 0.975)) * self.error


def shifts(sweep: Sweep, outcomes: Outcomes) -> list[Shift]:
    """How far each mover that was varied moves the edge, given the learning rate, the optimizer and the others."""
    failures = float((outcomes.weight * outcomes.failed).sum())
    if min(failures, float(outcomes.weight.sum()) - failures) < FEWEST_FAILURES:
        return []
    rate = sweep.hyperparameter("learning_rate")
    assert rate is not None
    there = ~np.isnan(rate.values)
    movers = [h for h in sweep.hyperparameters if h.name in MOVERS and h.name not in sweep.aliases.hidden]
    columns = [(h, *c) for h in movers for c in _columns(h, there)]
    whole = outcomes.data(int(outcomes.optimizer[0]))
    start = 2 + (outcomes.batch_centre is not None)  # 1, ln rate, perhaps batch size, then the other optimizers
    held = np.hstack([whole.x[:, :2], whole.x[:, start:]])
    if not columns:
        return []
    together = np.stack([values for *_, values in columns], axis=1)
    found = []
    for i, (h, unit, against, values) in enumerate(columns):
        rest = np.hstack([held, np.delete(together, i, axis=1)])
        if _is_new(rest, values):
            data = Data(np.hstack([rest, values[:, None]]), whole.y, whole.weight)
            found.append(_shift(h, unit, against, data))
    return [s for s in found if s is not None]


def _columns(h: Hyperparameter, there: BoolArray) -> Iterator[tuple[str, str, FloatArray]]:
    """The unit, what it is against, and the values of each column of a mover, (n,), 0 in the middle."""
    values = h.transformed[there]
    known = values[~np.isnan(values)]
    if known.size < values.size / 2 or np.unique(known).size < 2:
        return
    if h.scale == "category":
        levels, counts = np.unique(known, return_counts=True)
        commonest = levels[counts.argmax()]
        for level, count in zip(levels, counts, strict=True):
            if level != commonest and count >= FEWEST_FAILURES:
                yield h.levels[int(level)], h.levels[int(commonest)], (values == level).astype(float)
        return
    size = 1.0 if h.scale == "log" else float(np.ptp(known))
    yield "ln" if h.scale == "log" else "range", "", np.nan_to_num((values - np.median(known)) / size)


def _is_new(rest: FloatArray, values: FloatArray) -> bool:
    left = values - rest @ np.linalg.lstsq(rest, values, rcond=1e-9)[0]
    return bool(np.linalg.norm(left) > ALIASED * np.linalg.norm(values - values.mean()))


def _shift(h: Hyperparameter, unit: str, against: str, data: Data) -> Shift | None:
    """The shift in which the mover's column (the last) and ln learning rate (the second) go together in the fit.

    The interval holds every shift that the penalised likelihood ratio does not rule out: with the learning rate less
    the shift in its place, the mover's own column then has nothing left to do.
    """
    fit = firth(data)
    slope, own = float(fit.coefficients[1]), float(fit.coefficients[-1])
    last = np.arange(data.x.shape[1]) == data.x.shape[1] - 1
    p_value = likelihood_ratio(data, last)
    if slope <= 0:
        return None
    estimate = -own / slope
    reach = 3 * max(abs(estimate), math.sqrt(float(fit.covariance[-1, -1])) / slope)

    def distance(shift: float) -> float:
        moved = data.x.copy()
        moved[:, 1] -= shift * moved[:, -1]
        held = firth(Data(moved, data.y, data.weight), ~last, start=fit.coefficients)
        return 2 * (fit.log_likelihood - held.log_likelihood)

    low, high = (interval_end(distance, estimate, estimate + side * reach) for side in (-1, 1))
    return Shift(h, unit, against, estimate, low, high, p_value)


def margin(sweep: Sweep, process: Process | None, bound: Bound, rows: BoolArray) -> Margin | None:
    """How far below the edge the best learning rate of the runs `rows` (n_runs,) lies; None where that is unknown.

    The best one is the lowest point of the process along the learning rate, at the best quarter of the configurations,
    among rates up to the edge; its error is that of the refits, and the edge's that of its interval.
    """
    names = [h.name for h in sweep.hyperparameters]
    if process is None or "learning_rate" not in names or not math.isfinite(bound.estimate):
        return None
    if not (math.isfinite(bound.low) or math.isfinite(bound.high)):
        return None
    u = sweep.hyperparameters[names.index("learning_rate")].transformed
    tried = u[rows & ~np.isnan(u)]
    top = min(float(tried.max(initial=-np.inf)), bound.estimate)
    if tried.size == 0 or not tried.min() < top:
        return None
    places = np.linspace(float(tried.min()), top, GRID)
    curves = profiles(sweep, process, names.index("learning_rate"), places, rows)
    if curves is None:
        return None
    best = places[np.argmin(curves.mean(axis=1), axis=1)]
    sides = [abs(end - bound.estimate) for end in (bound.low, bound.high) if math.isfinite(end)]
    error = math.hypot(float(best[1:].std(ddof=1)), max(sides) / 1.96)
    return Margin(bound.estimate - float(best[0]), error, len(best) - 2, float(best[0]))
