"""Tests of whether a hyperparameter, or a pair of them together, has any effect on the objective.

A share of variance is never negative, so it cannot be its own test: a forest fitted to noise gives every
hyperparameter a share. The p-values here come from linear models of the configuration means instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from scipy.special import fdtrc
from scipy.stats import norm, rankdata

from hpkb.stats.basis import one_hot, powers
from hpkb.stats.encoding import explained_absence
from hpkb.stats.sampling import drawn
from hpkb.stats.surrogate import Configurations, configurations_of
from hpkb.sweep import FloatArray, Hyperparameter, Sweep

LEVELS_AS_CATEGORY = 4  # a number of so few values gets one column a value, as a category does
RESIDUAL_DEGREES = 8  # no test with fewer degrees of freedom: its size would hang on the shape of the noise
HIGHEST_POWER = 4
LARGEST = 2000  # configurations that are tested, drawn at random: with more the tests only cost more


@dataclass(frozen=True)
class Effects:
    """p-values of main effects (by name) and of pairs (by both names, in the sweep's order).

    None where there is no test: too few configurations, or a hyperparameter that others already explain (aliased).
    """

    main: dict[str, float | None] = field(default_factory=dict)
    pair: dict[tuple[str, str], float | None] = field(default_factory=dict)


def effects_of(sweep: Sweep) -> Effects:
    """The p-values of all main effects and pairs of a sweep, by F tests on the means of configurations.

    A main effect is tested given the other main effects, on the normal scores of the ranks of the means (van der
    Waerden), so that no tail of the noise can make one. A pair is tested given all main effects, both on those
    scores and on the winsorised means, and the larger p counts: an interaction that a change of the objective's
    scale takes away is not one (Loftus 1978). Numbers enter as powers on their own scale, as many as the number
    of configurations affords; conditional hyperparameters only where they are present.

    An interaction that is not in the model makes the scatter depend on the hyperparameters that take part in it, so
    the smaller of two statistics counts: the classical one and one that allows for that (HC3). What is aliased (see
    `hpkb.stats.aliasing`) is not tested, nor is a pair with it: two that change together interact with themselves.
    """
    names = [h.name for h in sweep.hyperparameters]
    pairs = list(combinations(range(len(names)), 2))
    table = _some(configurations_of(sweep))
    if not names or table.y.size < 2 or np.ptp(table.y) == 0:
        return Effects(dict.fromkeys(names), {(names[i], names[j]): None for i, j in pairs})
    weight = np.sqrt(2 * table.seeds / (table.seeds + 1))[:, None]
    scores = norm.ppf(rankdata(table.y) / (table.y.size + 1))
    targets = weight * np.stack([scores, table.y], axis=1)
    degree = int(np.clip((table.y.size - RESIDUAL_DEGREES) // (2 * len(names)), 1, HIGHEST_POWER))
    at = sweep.subset(table.first)
    blocks = [weight * design_block(h, at, degree) for h in at.hyperparameters]
    hidden = sweep.aliases.hidden
    main = {
        name: None
        if name in hidden
        else _largest(_partial_f(np.hstack([weight, *blocks[:i], *blocks[i + 1 :]]), block, targets[:, :1]))
        for i, (name, block) in enumerate(zip(names, blocks, strict=True))
    }
    everything = _orthonormal(np.hstack([weight, *blocks]))
    low = [[design_block(h, at, power) for h in at.hyperparameters] for power in (2, 1)]
    pair = {
        (names[i], names[j]): None
        if hidden & {names[i], names[j]}
        else _pair_test(everything, [weight * _products(b[i], b[j]) for b in low], targets)
        for i, j in pairs
    }
    return Effects(main, pair)


def _some(table: Configurations) -> Configurations:
    """At most `LARGEST` of the configurations, always the same ones."""
    if table.y.size <= LARGEST:
        return table
    kept = drawn(table.y.size, LARGEST)
    return Configurations(table.rows[kept], table.y[kept], table.seeds[kept], table.first[kept])


def design_block(h: Hyperparameter, sweep: Sweep, degree: int) -> FloatArray:
    """The columns of one hyperparameter, (n, columns), for at most `degree` powers; 0 where it is absent."""
    x = h.transformed
    present = ~np.isnan(x)
    if h.scale == "category" or np.unique(x[present]).size <= min(LEVELS_AS_CATEGORY, degree + 1):
        return one_hot(x, fewest=2)
    columns = np.zeros((x.size, 0))
    if present.any():
        inside = powers(x[present], degree)
        columns = np.zeros((x.size, inside.shape[1]))
        columns[present] = inside
    if present.all() or explained_absence(h, sweep.hyperparameters):
        return columns
    return np.hstack([columns, present[:, None].astype(float)])


def _products(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray((a[:, :, None] * b[:, None, :]).reshape(len(a), -1))


def _pair_test(everything: FloatArray, candidates: list[FloatArray], targets: FloatArray) -> float | None:
    """The p-value of the richest of the candidates' product columns that degrees of freedom allow."""
    for products in candidates:
        p = _largest(_partial_f(everything, products, targets, orthonormal=True))
        if p is not None:
            return p
    return None


def _largest(p_values: FloatArray | None) -> float | None:
    return None if p_values is None else float(p_values.max())


def _partial_f(
    base: FloatArray, extra: FloatArray, targets: FloatArray, *, orthonormal: bool = False
) -> FloatArray | None:
    """The p-values of the F test of `extra` columns given `base`, one a column of targets; None: not testable."""
    q = base if orthonormal else _orthonormal(base)
    residual = targets - q @ (q.T @ targets)
    scale = np.linalg.norm(extra, axis=0)
    left = (extra - q @ (q.T @ extra))[:, scale > 0] / scale[scale > 0]
    # Twice: once leaves rounding errors in columns that the base all but explains.
    added = _orthonormal(left - q @ (q.T @ left), floor=1e-6)
    degrees = len(targets) - q.shape[1] - added.shape[1]
    if not added.shape[1] or degrees < RESIDUAL_DEGREES:
        return None
    coefficients = added.T @ residual
    rest = residual - added @ coefficients
    leverage = np.minimum((q**2).sum(axis=1) + (added**2).sum(axis=1), 0.99)[:, None]
    plain = (coefficients**2).sum(axis=0) / np.maximum((rest**2).sum(axis=0) / degrees, 1e-300)
    robust = _wald(added, coefficients, rest / (1 - leverage))
    return np.asarray(fdtrc(added.shape[1], degrees, np.minimum(plain, robust) / added.shape[1]))


def _wald(columns: FloatArray, coefficients: FloatArray, jackknifed: FloatArray) -> FloatArray:
    """The Wald statistic of orthonormal columns with the HC3 covariance (MacKinnon & White 1985), one a target."""
    statistics = []
    for b, e in zip(coefficients.T, jackknifed.T, strict=True):
        scores = columns * e[:, None]
        statistics.append(float(b @ np.linalg.pinv(scores.T @ scores, hermitian=True) @ b))
    return np.array(statistics)


def _orthonormal(columns: FloatArray, floor: float = 0.0) -> FloatArray:
    """An orthonormal basis of the columns' span, (n, rank); directions shorter than `floor` do not count."""
    if not columns.size:
        return np.empty((len(columns), 0))
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(u[:, s > max(floor, 1e-9 * float(s[0]), 1e-300)])
