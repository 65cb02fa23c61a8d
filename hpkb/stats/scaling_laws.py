"""Which law the best learning rate follows in the batch size: linear, square root, none, or one that levels off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hpkb.stats import shift_model as sm
from hpkb.stats.ridge import Ridge, search
from hpkb.stats.ridge_data import RidgeData, ridge_data, usable
from hpkb.stats.ridge_inference import EVERYTHING, OTHERS, misfit
from hpkb.stats.shift_model import ShiftModel, State
from hpkb.sweep import Sweep

LawName = Literal["linear", "square root", "none", "saturating"]
EXPONENTS: dict[LawName, float] = {"linear": 1.0, "square root": 0.5, "none": 0.0}
BENDS = 5  # places where the law may level off, tried one by one
ROOM = 2.0  # as a factor, between such a place and the smallest or largest batch size


@dataclass(frozen=True)
class LawFit:
    """One law: its weight among all of them, and whether a 5% test refuses it. `bend` is where it levels off."""

    name: LawName
    weight: float
    refused: bool
    bend: float | None = None


def compare_laws(sweep: Sweep, ridge: Ridge) -> tuple[LawFit, ...]:
    """The laws, the best first; none where the ridge has no exponent.

    Each is the shift model of the ridge with the best learning rate bound to the law: its exponent is fixed at 1, 0.5
    or 0, or the rate goes as B / (B + bend), which is linear for small batches and levels off (McCandlish et al.
    2018). Weights are Akaike's (Burnham & Anderson 2002), the bend counted as one more parameter; a law is refused
    where the interval of a free exponent on top of it leaves out what the law says (see `misfit`).
    """
    runs = usable(sweep, "batch_size")
    if runs is None or ridge.exponent is None:
        return ()
    data = ridge_data(runs, "batch_size", ridge.scale, ridge.infeasible)
    free = search(data)
    fits = [(name, None, *_bound(data.model, free, exponent)) for name, exponent in EXPONENTS.items()]
    levelled = _levelled(data, free)
    laws: list[tuple[LawName, float | None, float, float, int]] = [(*fit, 0) for fit in fits]
    if levelled:
        bend, rss, _ = min(levelled, key=lambda fit: fit[1])
        laws.append(("saturating", bend, rss, min(fit[2] for fit in levelled), 1))
    cost = np.array([data.model.y.size * np.log(max(rss, 1e-300)) + 2 * spent for _, _, rss, _, spent in laws])
    weights = np.exp(-(cost - cost.min()) / 2)
    weights /= weights.sum()
    found = [
        LawFit(name, float(w), badness > 1, bend) for (name, bend, _, badness, _), w in zip(laws, weights, strict=True)
    ]
    return tuple(sorted(found, key=lambda law: -law.weight))


def _bound(model: ShiftModel, free: State, exponent: float) -> tuple[float, float]:
    """The rss with the exponent at that value, and how badly it fits beside a free one: above 1 it is refused."""
    theta = free.theta.copy()
    theta[:, 0] = exponent
    bound = sm.descend(model, sm.evaluate(model, theta), OTHERS, 6)
    best = sm.descend(model, bound, EVERYTHING, 8)
    return float(bound.rss[0]), float(misfit(model, bound, best)[0])


def _levelled(data: RidgeData, free: State) -> list[tuple[float, float, float]]:
    """Where the law may level off, its rss and how badly it fits: places far apart first, then around the best."""
    low, high = ROOM * float(np.exp(data.knob.min())), float(np.exp(data.knob.max())) / ROOM
    if high < 2 * low:  # it could not be told from another law
        return []
    coarse = np.geomspace(low, high, BENDS)
    found = [(float(b), *_bound(_levelling(data, b), free, 1.0)) for b in coarse]
    best, step = min(found, key=lambda fit: fit[1])[0], float(coarse[1] / coarse[0])
    fine = best * step ** np.array([-0.75, -0.5, -0.25, 0.25, 0.5, 0.75])
    fine = fine[(fine >= low) & (fine <= high)]
    return found + [(float(b), *_bound(_levelling(data, b), free, 1.0)) for b in fine]


def _levelling(data: RidgeData, bend: float) -> ShiftModel:
    """The problem with ln(B / (B + bend)) in place of ln B as what shifts the curve."""
    batch = np.exp(data.knob)
    column = np.log(batch / (batch + bend))
    shifts = data.model.shifts.copy()
    shifts[:, 0] = column - column.mean()
    return replace(data.model, shifts=shifts)
