"""How much the objective scatters over seeds at one configuration, and what differences that leaves visible."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, digamma, fdtrc, polygamma, stdtrit
from scipy.stats import norm, rankdata

from hpkb.stats.surrogate import feasible_runs, winsorised
from hpkb.sweep import FloatArray, IntArray, Sweep

FEWEST_CONFIGURATIONS = 3  # with repeats, below which no interval is given


@dataclass(frozen=True)
class Repeats:
    """The runs of configurations that were run more than once.

    `y` and `group` (n,): the winsorised objective and the number of the configuration, from 0; `means`,
    `degrees` and `squares` (groups,): mean, runs less one, and sum of squares within each.
    """

    y: FloatArray
    group: IntArray
    means: FloatArray
    degrees: FloatArray
    squares: FloatArray


@dataclass(frozen=True)
class SeedNoise:
    """A standard deviation over seeds with its 95% interval, and the degrees of freedom behind it."""

    sd: float
    low: float
    high: float
    degrees: float
    n_configurations: int


def repeats_of(sweep: Sweep) -> Repeats:
    """The feasible runs of configurations with at least two of them."""
    usable = np.flatnonzero(feasible_runs(sweep))
    counts = np.bincount(sweep.configuration[usable], minlength=1)
    kept = usable[counts[sweep.configuration[usable]] >= 2]
    y = winsorised(sweep)[kept]
    _, group = np.unique(sweep.configuration[kept], return_inverse=True)
    n = np.bincount(group).astype(float)
    means = np.bincount(group, weights=y) / n
    squares = np.bincount(group, weights=(y - means[group]) ** 2)
    return Repeats(y, group.astype(np.int64), means, n - 1, np.asarray(squares, dtype=np.float64))


def pooled(repeats: Repeats) -> SeedNoise | None:
    """The seed noise pooled over configurations; None below three configurations or where nothing scatters.

    What it estimates is the root of the mean variance of the configurations that were repeated, each counted by its
    degrees of freedom; with configurations of another kind it has nothing to do.

    The variance of ln s² is jackknifed over configurations (Miller 1968), so that it holds for noise of any shape
    and where configurations differ in how much they scatter. It sets the degrees of freedom of a chi-squared
    interval, at most those that were counted: the error of a variance is skewed, and a symmetric interval would
    miss on one side.
    """
    k = repeats.degrees.size
    total, degrees = float(repeats.squares.sum()), float(repeats.degrees.sum())
    if k < FEWEST_CONFIGURATIONS or total <= 0:
        return None
    whole = math.log(total / degrees)
    left = (total - repeats.squares) / (degrees - repeats.degrees)
    pseudo = k * whole - (k - 1) * np.log(np.maximum(left, 1e-12 * total / degrees))
    inflated = float(pseudo.var(ddof=1)) / k * float(stdtrit(k - 1, 0.975) / 1.96) ** 2
    effective = min(degrees, 2 / max(inflated, 1e-12) + 0.5)
    variance = total / degrees
    low, high = (math.sqrt(variance * effective / float(chdtri(effective, tail))) for tail in (0.025, 0.975))
    return SeedNoise(math.sqrt(variance), low, high, effective, k)


def typical(repeats: Repeats) -> SeedNoise | None:
    """The seed noise of a typical configuration; None below three configurations.

    The mean of ln s² over configurations, each less its expectation digamma(d/2) - ln(d/2) at d degrees of freedom
    (Bartlett & Kendall 1946), weighted by 1 / trigamma(d/2), with Student's interval over configurations. Where all
    configurations scatter alike that is the pooled one; where a few scatter far more, as beside a cliff, they count
    as few.
    """
    k = repeats.degrees.size
    if k < FEWEST_CONFIGURATIONS or not repeats.squares.all():
        return pooled(repeats)
    half = repeats.degrees / 2
    logs = np.log(repeats.squares / repeats.degrees) - (digamma(half) - np.log(half))
    weights = 1 / polygamma(1, half)
    mean = float((weights * logs).sum() / weights.sum())
    variance = float((weights * (logs - mean) ** 2).sum() / weights.sum()) / (k - 1)
    margin = float(stdtrit(k - 1, 0.975)) * math.sqrt(variance)
    sd, low, high = (math.exp(x / 2) for x in (mean, mean - margin, mean + margin))
    return SeedNoise(sd, low, high, float(repeats.degrees.sum()), k)


def better_half(repeats: Repeats, sweep: Sweep) -> Repeats:
    """The repeats of configurations whose mean is at most the median of all feasible configurations' means."""
    usable = feasible_runs(sweep)
    y, configuration = winsorised(sweep)[usable], sweep.configuration[usable]
    counts = np.bincount(configuration)
    means = np.bincount(configuration, weights=y)[counts > 0] / counts[counts > 0]
    good = repeats.means <= np.median(means) if means.size else np.zeros(0, dtype=bool)
    rows = good[repeats.group]
    _, group = np.unique(repeats.group[rows], return_inverse=True)
    kept = (repeats.means[good], repeats.degrees[good], repeats.squares[good])
    return Repeats(repeats.y[rows], group.astype(np.int64), *kept)


def floor(sweep: Sweep) -> float | None:
    """The noise floor of a task: the typical deviation over seeds among the better half of its configurations.

    Bad configurations mostly scatter more, and nobody chooses between those. All repeated configurations where
    fewer than three of the better half were repeated; None where fewer than three were at all.
    """
    repeats = repeats_of(sweep)
    noise = typical(better_half(repeats, sweep)) or typical(repeats)
    return noise.sd if noise else None


def minimum_detectable_difference(noise: SeedNoise, seeds: int) -> float:
    """The difference of two configurations' means over n seeds that a test finds four times in five.

    (t(0.975) + t(0.8)) · s · sqrt(2 / n) with the pooled degrees of freedom: a two-sided test at 5% with a power of
    80% (Cohen 1988, *Statistical Power Analysis*, chapter 2).
    """
    quantiles = float(stdtrit(noise.degrees, 0.975) + stdtrit(noise.degrees, 0.8))
    return quantiles * noise.sd * math.sqrt(2 / seeds)


def seeds_needed(noise: SeedNoise, difference: float) -> int:
    """The fewest seeds of each of two configurations at which a difference is found four times in five."""
    return max(1, math.ceil(round((minimum_detectable_difference(noise, 1) / difference) ** 2, 9)))


def between_configurations(repeats: Repeats) -> float | None:
    """The p-value of no difference between configurations beyond seed noise; None where there is no test.

    The F test between and within configurations on the normal scores of the ranks (van der Waerden), whose size
    does not hang on the tails of the noise.
    """
    k, n = repeats.degrees.size, repeats.y.size
    if k < FEWEST_CONFIGURATIONS or np.ptp(repeats.y) == 0:
        return None
    scores = norm.ppf(rankdata(repeats.y) / (n + 1))
    means = np.bincount(repeats.group, weights=scores) / (repeats.degrees + 1)
    within = float(((scores - means[repeats.group]) ** 2).sum())
    between = float(((repeats.degrees + 1) * (means - scores.mean()) ** 2).sum())
    return float(fdtrc(k - 1, n - k, (between / (k - 1)) / max(within / (n - k), 1e-300)))
