"""How a measured quantity changes along one hyperparameter, with all others held: a slope with its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit
from scipy.stats import norm, rankdata

from hpkb.stats.effects import design_block
from hpkb.stats.surrogate import ceiling
from hpkb.sweep import BoolArray, FloatArray, IntArray, Sweep

FEWEST_DEGREES = 12  # of freedom: with fewer the error of a slope hangs on the shape of the noise
HIGHEST_POWER = 3
ALIASED = 0.05  # of a column's length that the others leave: with less, its slope is that of another one


@dataclass(frozen=True)
class Measured:
    """A quantity by configuration: `y` (n,) its mean over seeds, `seeds` (n,), `first` (n,) a run of each."""

    y: FloatArray
    seeds: FloatArray
    first: IntArray


@dataclass(frozen=True)
class Slope:
    """The change of a quantity per unit of a column, with its standard error and degrees of freedom.

    `p_value` is that of no slope, on the quantity and on the normal scores of its ranks, whichever is larger.
    """

    estimate: float
    error: float
    degrees: int
    p_value: float
    n_configurations: int

    @property
    def half_width(self) -> float:
        """Half of Student's 95% interval."""
        return float(stdtrit(self.degrees, 0.975)) * self.error


def measured(sweep: Sweep, quantity: FloatArray, usable: BoolArray | None = None) -> Measured:
    """The means over seeds of a quantity of runs, (n_runs,), NaN where unknown, cut where it is far out on a side."""
    rows = np.flatnonzero(np.isfinite(quantity) & (True if usable is None else usable))
    known = quantity[rows]
    cut = np.clip(known, -ceiling(-known), ceiling(known))
    _, first, member = np.unique(sweep.configuration[rows], return_index=True, return_inverse=True)
    seeds = np.bincount(member, minlength=first.size).astype(float)
    means = np.bincount(member, weights=cut, minlength=first.size) / seeds
    return Measured(means, seeds, rows[first].astype(np.int64))


def slope(
    sweep: Sweep, at: Measured, column: FloatArray, own: tuple[str, ...], given: Sequence[FloatArray] = ()
) -> Slope | None:
    """The slope of a quantity in `column` (n,), one value a configuration, given all hyperparameters but `own`.

    `given` are further columns (n,) to be held. The others enter as powers on their own scales or as indicators, as
    many as the configurations afford. Least squares with errors that allow for scatter of any size anywhere (HC2,
    MacKinnon & White 1985), never smaller than those of even scatter. None where the configurations are too few, or
    where the others say already what the column says (see `hpkb.stats.aliasing` for those that change together).
    """
    if sweep.aliases.hidden.intersection(own):
        return None
    here = sweep.subset(at.first)
    others = [h for h in here.hyperparameters if h.name not in own]
    degree = int(np.clip((at.y.size - FEWEST_DEGREES) // (3 * max(len(others), 1)), 1, HIGHEST_POWER))
    weight = np.sqrt(2 * at.seeds / (at.seeds + 1))
    held = [x[:, None] for x in (np.ones(at.y.size), *given)]
    base = np.hstack([*held, *(design_block(h, here, degree) for h in others)])
    left = _left_over(base * weight[:, None], np.column_stack([column * weight, at.y * weight, _scores(at.y) * weight]))
    rank = int(np.linalg.matrix_rank(base))
    degrees = at.y.size - rank - 1
    x = left[:, 0]
    whole = np.linalg.norm((column - column.mean()) * weight)
    if degrees < FEWEST_DEGREES or whole == 0 or np.linalg.norm(x) < ALIASED * whole:
        return None
    leverage = _leverage(base * weight[:, None], x)
    found = [_fit(x, y, leverage) for y in left[:, 1:].T]
    (estimate, error), (on_ranks, rank_error) = found
    if not error > 0:
        return None
    p = max(_p(estimate / error, degrees), _p(on_ranks / rank_error, degrees) if rank_error > 0 else 1.0)
    return Slope(estimate, error, degrees, p, at.y.size)


def _scores(y: FloatArray) -> FloatArray:
    return np.asarray(norm.ppf(rankdata(y) / (y.size + 1)))


def _left_over(base: FloatArray, columns: FloatArray) -> FloatArray:
    """What the base does not explain of the columns."""
    return np.asarray(columns - base @ np.linalg.lstsq(base, columns, rcond=1e-9)[0])


def _leverage(base: FloatArray, x: FloatArray) -> FloatArray:
    u, s, _ = np.linalg.svd(base, full_matrices=False)
    of_base = (u[:, s > 1e-9 * s[0]] ** 2).sum(axis=1)
    return np.asarray(np.minimum(of_base + x**2 / (x @ x), 0.99))


def _fit(x: FloatArray, y: FloatArray, leverage: FloatArray) -> tuple[float, float]:
    """The slope and its standard error, the larger of HC2 and the classical one."""
    estimate = float(x @ y / (x @ x))
    residual = y - estimate * x
    robust = float(np.sqrt((x**2 * residual**2 / (1 - leverage)).sum())) / float(x @ x)
    classical = float(np.sqrt(residual @ residual / max(x.size - leverage.sum(), 1.0) / (x @ x)))
    return estimate, max(robust, classical)


def _p(t: float, degrees: int) -> float:
    return 2 * float(stdtr(degrees, -abs(t)))
