"""The probability that a run is infeasible, and the learning rate up to which it stays small."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from hpkb.stats.logistic import Data, Fit, firth, interval_end, likelihood_ratio
from hpkb.sweep import FloatArray, IntArray, Sweep

RISK = 0.1  # the probability of infeasibility that still counts as safe
FEWEST_RUNS = 5  # of an optimizer, for a bound of its own
RISK_LOGIT = math.log(RISK / (1 - RISK))


@dataclass(frozen=True)
class Outcomes:
    """The runs with a learning rate: `u` = ln learning_rate, `failed` 0 or 1, `weight`, (n,) each.

    `batch` (n,) is ln batch_size less `batch_centre`, 0 where it does not vary; `optimizer` (n,) the level's index,
    0 where it does not vary. Seeds of one configuration often fail together: `weight` counts them as that much less
    than independent runs.
    """

    u: FloatArray
    failed: FloatArray
    weight: FloatArray
    batch: FloatArray
    batch_centre: float | None
    optimizer: IntArray

    def data(self, optimizer: int, u_zero: float = 0.0) -> Data:
        """The regression's data with an intercept that stands for one optimizer at one ln learning rate.

        Columns: 1, u less `u_zero`, batch, and indicators of the other optimizers.
        """
        others = np.setdiff1d(np.unique(self.optimizer), optimizer)
        columns = [np.ones_like(self.u), self.u - u_zero]
        columns += [self.batch] if self.batch_centre is not None else []
        columns += [(self.optimizer == level).astype(float) for level in others]
        return Data(np.stack(columns, axis=1), self.failed, self.weight)


@dataclass(frozen=True)
class Bound:
    """The largest ln learning rate with a probability of at most `RISK`, and its 95% interval.

    `estimate` is infinite where the probability does not rise with the learning rate; `low` and `high` are infinite
    where the data do not bound that side.
    """

    estimate: float
    low: float
    high: float
    fit: Fit


def outcomes_of(sweep: Sweep) -> Outcomes | None:
    """The runs as failures over the learning rate; None where it does not vary, or where all or none failed."""
    rate = sweep.hyperparameter("learning_rate")
    if rate is None or rate.scale != "log" or not 0 < sweep.infeasible_share < 1:
        return None
    there = np.flatnonzero(~np.isnan(rate.values))
    failed = sweep.infeasible[there].astype(float)
    if np.unique(rate.values[there]).size < 2 or not 0 < failed.mean() < 1:
        return None
    batch, centre = _batch(sweep, there)
    optimizer = sweep.hyperparameter("optimizer")
    level = np.zeros(there.size) if optimizer is None else np.nan_to_num(optimizer.values[there], nan=-1.0)
    alone = Outcomes(
        rate.transformed[there], failed, np.ones(there.size), batch, centre, level.astype(np.int64)
    )
    data = alone.data(int(alone.optimizer[0]))
    expected = expit(data.x @ firth(data).coefficients)
    weight = cluster_weights(sweep.configuration[there], failed, expected)
    return Outcomes(alone.u, failed, weight, batch, centre, alone.optimizer)


def effect_of_learning_rate(outcomes: Outcomes) -> float:
    """The p-value of failures not depending on the learning rate, given optimizer and batch size."""
    data = outcomes.data(int(outcomes.optimizer[0]))
    return likelihood_ratio(data, np.arange(data.x.shape[1]) == 1)


def effect_of_anything(outcomes: Outcomes) -> float:
    """The p-value of failures depending on none of learning rate, optimizer and batch size."""
    data = outcomes.data(int(outcomes.optimizer[0]))
    return likelihood_ratio(data, np.arange(data.x.shape[1]) > 0)


def bound_of(outcomes: Outcomes, optimizer: int) -> Bound:
    """The safe bound of one optimizer at the median batch size.

    The interval holds every ln learning rate at which the probability could be `RISK` by the penalised likelihood
    ratio (Heinze & Schemper 2002), which stays right where the bound's error is far from symmetric.
    """
    fit = firth(outcomes.data(optimizer))
    intercept, slope = fit.coefficients[:2]
    if slope <= 0:
        return Bound(math.inf, -math.inf, math.inf, fit)
    estimate = float((RISK_LOGIT - intercept) / slope)
    reach = float(np.ptp(outcomes.u))
    low = _limit(outcomes, optimizer, fit, estimate, min(float(outcomes.u.min()), estimate) - reach)
    high = _limit(outcomes, optimizer, fit, estimate, max(float(outcomes.u.max()), estimate) + reach)
    return Bound(estimate, low, high, fit)


def curve(fit: Fit, u: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The probability of failure at u (m,) for the fit's own optimizer, with its 95% Wald band, (m,) each."""
    x = np.stack([np.ones_like(u), u], axis=1)
    eta = x @ fit.coefficients[:2]
    half = 1.96 * np.sqrt(((x @ fit.covariance[:2, :2]) * x).sum(axis=1))
    return expit(eta), expit(eta - half), expit(eta + half)


def cluster_weights(configuration: IntArray, failed: FloatArray, expected: FloatArray) -> FloatArray:
    """What each run counts, (n,): 1 / (1 + (seeds - 1) · rho), rho the correlation within configurations.

    rho is that of the residuals of `failed` from `expected`, at least 0; the variance inflation of cluster samples
    (Kish 1965, *Survey Sampling*).
    """
    residual = (failed - expected) / np.sqrt(np.maximum(expected * (1 - expected), 1e-6))
    _, member, seeds = np.unique(configuration, return_inverse=True, return_counts=True)
    squares = np.bincount(member, weights=residual**2)
    products = np.bincount(member, weights=residual) ** 2 - squares
    pairs = float((seeds * (seeds - 1)).sum())
    rho = products.sum() / pairs / max(float((residual**2).mean()), 1e-12) if pairs else 0.0
    return np.asarray(1 / (1 + (seeds[member] - 1) * float(np.clip(rho, 0, 1))))


def wilson(share: float, n: float) -> tuple[float, float]:
    """The 95% interval of a share of n runs (Wilson 1927), n being what they count in all."""
    z = 1.959964
    centre, spread = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + side * spread) / (1 + z**2 / n) for side in (-1, 1))
    return max(min(low, share), 0.0), min(max(high, share), 1.0)


def _batch(sweep: Sweep, rows: IntArray) -> tuple[FloatArray, float | None]:
    """ln batch_size of the rows less its median, and the median; zeros and None where it does not vary."""
    h = sweep.hyperparameter("batch_size")
    values = h.transformed[rows] if h is not None else np.full(rows.size, np.nan)
    if np.unique(values[~np.isnan(values)]).size < 2:
        return np.zeros(rows.size), None
    centre = float(np.nanmedian(values))
    return np.nan_to_num(values - centre), centre


def _limit(outcomes: Outcomes, optimizer: int, fit: Fit, inside: float, outside: float) -> float:
    """The end of the interval between a point in it and one that is not; infinite where that one is in it too."""
    end = interval_end(lambda u: _distance(outcomes, optimizer, fit, u), inside, outside)
    return math.copysign(math.inf, outside - inside) if end is None else end


def _distance(outcomes: Outcomes, optimizer: int, fit: Fit, u: float) -> float:
    """Twice the penalised log likelihood lost by holding the probability at `u` to `RISK`."""
    data = outcomes.data(optimizer, u)
    free = np.arange(data.x.shape[1]) > 0
    held = firth(data, free, RISK_LOGIT, start=fit.coefficients)
    return 2 * (fit.log_likelihood - held.log_likelihood)
