"""How the scatter over seeds depends on the settings, and what it is where no seed was repeated."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, stdtrit

from hpkb.stats.effects import design_block
from hpkb.stats.gaussian import Process
from hpkb.stats.noise import SeedNoise
from hpkb.stats.slopes import Measured, Slope, slope
from hpkb.stats.surrogate import configurations_of, feasible_runs, winsorised
from hpkb.sweep import FloatArray, IntArray, Sweep


def deviations(sweep: Sweep) -> Measured:
    """The logarithm of each repeated configuration's deviation over seeds, less its bias, as a measured quantity.

    The bias is that of half the logarithm of a variance of d degrees of freedom (Bartlett & Kendall 1946), which
    differs between configurations of more and fewer seeds. Configurations that do not scatter at all are left out.
    """
    rows = np.flatnonzero(feasible_runs(sweep))
    y = winsorised(sweep)[rows]
    _, first, member = np.unique(sweep.configuration[rows], return_index=True, return_inverse=True)
    seeds = np.bincount(member, minlength=first.size).astype(float)
    means = np.bincount(member, weights=y, minlength=first.size) / np.maximum(seeds, 1)
    squares = np.bincount(member, weights=(y - means[member]) ** 2, minlength=first.size)
    kept = (seeds >= 2) & (squares > 0)
    half = (seeds[kept] - 1) / 2
    logs = np.log(squares[kept] / (2 * half)) - (digamma(half) - np.log(half))
    return Measured(logs / 2, 2 * half, rows[first[kept]].astype(np.int64))


def by_batch_size(sweep: Sweep) -> Slope | None:
    """d ln deviation / d ln batch_size with the others held; None where it does not vary enough."""
    h = sweep.hyperparameter("batch_size")
    at = deviations(sweep)
    if h is None or h.scale == "category" or at.y.size < 3:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.log(h.values[at.first])
    there = np.isfinite(size)
    at = Measured(at.y[there], at.seeds[there], at.first[there])
    return slope(sweep, at, size[there], ("batch_size",)) if there.any() and np.ptp(size[there]) > 0 else None


def by_distance(sweep: Sweep) -> Slope | None:
    """The change of ln deviation from the best to a middling setting; None where that cannot be told.

    How good a setting is comes from the other configurations alone, by regression: its own mean would go with its own
    deviation wherever noise is skewed.
    """
    at, table = deviations(sweep), configurations_of(sweep)
    if at.y.size < 3:
        return None
    away = _regret(sweep, table.y, table.first)
    if away is None:
        return None
    place = {int(row): i for i, row in enumerate(sweep.configuration[table.first])}
    column = away[[place[int(c)] for c in sweep.configuration[at.first]]]
    return slope(sweep, at, column, tuple(h.name for h in sweep.hyperparameters)) if np.ptp(column) > 0 else None


def _regret(sweep: Sweep, y: FloatArray, first: IntArray) -> FloatArray | None:
    """What the other configurations predict of each, 0 for the best and 1 for the middling one, (n,)."""
    at = sweep.subset(first)
    blocks = [design_block(h, at, 2) for h in at.hyperparameters]
    columns = np.hstack([np.ones((y.size, 1)), *blocks])
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    basis = u[:, s > 1e-9 * s[0]]
    if y.size < 2 * basis.shape[1]:
        return None
    leverage = np.minimum((basis**2).sum(axis=1), 0.99)
    predicted = y - (y - basis @ (basis.T @ y)) / (1 - leverage)
    middle, best = float(np.median(predicted)), float(predicted.min())
    return (predicted - best) / (middle - best) if middle > best else None


def without_repeats(process: Process) -> SeedNoise:
    """The deviation that near-duplicates have about a smooth response: what the process takes for noise.

    Its interval is that of the refits. It holds whatever settings do that is rougher than the response, too.
    """
    logs = np.log(process.noise)
    half = float(stdtrit(logs.size - 2, 0.975)) * float(logs[1:].std(ddof=1))
    low, sd, high = (float(x) for x in np.exp(logs[0] + half * np.array([-1, 0, 1])))
    degrees = float(np.clip(0.5 / max(float(logs[1:].var(ddof=1)), 1e-6), 3, 1e4))
    return SeedNoise(sd, low, high, degrees, len(process.anchors))
