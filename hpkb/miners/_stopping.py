"""Replays of the stopping rules on a task's runs: what each run saves and loses, and by how much losses may go."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, stdtrit

from hpkb.miners._curves import Watched, without_records
from hpkb.stats.curves import Panel, by_configuration, noise
from hpkb.stats.meta import NORMAL
from hpkb.stats.noise import better_half, repeats_of, typical
from hpkb.stats.stopping import (
    CHECKS,
    PATIENCES,
    Stops,
    by_extrapolation,
    by_patience,
    in_pools,
    left_out_means,
    p_of_mean_below,
    smallest_enough,
)
from hpkb.stats.surrogate import ceiling
from hpkb.sweep import FloatArray, IntArray

MOST = 5.0  # noise floors that the regret of one run counts as, at most: no mean can be told otherwise
SURELY = 4.0  # standard errors that a mean regret is below the floor by, for its patience to be chosen
FOLDS = 5
DRAWS = 400
WORTH = 0.05  # of the compute, that a rule must save to be worth its trouble
POOL = 9  # runs that rules which compare runs are replayed in
LEAST = 1e-3  # of how far the runs lie apart, that counts as the noise floor where nothing scatters
SPREAD = 10  # floors within which evaluations of one run lie apart: nothing is learned below


@dataclass(frozen=True)
class Floor:
    """The loss that is no loss: `sd`, the error of its logarithm, and where it is from."""

    sd: float
    log_error: float
    source: str


@dataclass(frozen=True)
class Replayed:
    """The runs of a task with all that the rules are replayed on.

    `worth` (n_runs, m): what each evaluation is worth by a measure that did not choose it; `best` and `last` (n_runs,)
    the places of the best and the last evaluation.
    """

    watched: Watched
    curves: Panel
    worth: FloatArray
    measure: str
    best: IntArray
    last: IntArray
    floor: Floor
    point: float

    @property
    def configuration(self) -> IntArray:
        """The configuration of each run."""
        return self.watched.sweep.configuration

    def at(self, places: IntArray) -> FloatArray:
        """What the evaluations at places (n_runs,) or (n_runs, g) are worth."""
        if places.ndim == 1:
            return self.at(places[:, None])[:, 0]
        return np.asarray(np.take_along_axis(self.worth, places, axis=1))


@dataclass(frozen=True)
class Means:
    """What a rule saves (a share of the compute) and loses, by configuration: (k,), or (k, g) for g settings."""

    saved: FloatArray
    regret: FloatArray


@dataclass(frozen=True)
class Patience:
    """The patience at which the regret is the floor, its 95% interval, and what it costs on other configurations.

    `means` (k,) are of the patience that the other folds chose; `enough` is the place among the patiences of the one
    that is surely enough, `p_value` that of it losing the floor or more; `choices` (FOLDS,) the folds' places.
    """

    estimate: float
    low: float
    high: float
    enough: int
    p_value: float
    means: Means
    choices: IntArray
    whole: Means


def replayed(watched: Watched) -> Replayed:
    """The runs of a task, ready to be stopped."""
    curves = watched.panel(keep_failures=True)
    limit = ceiling(curves.value[np.isfinite(curves.value)])
    curves = replace(curves, value=np.where(curves.there, np.fmin(curves.value, limit), np.nan))
    rows, last = np.arange(curves.count.size), np.maximum(curves.count - 1, 0)
    best = np.argmin(np.where(curves.there, curves.value, np.inf), axis=1)
    worth, measure = _worth(watched, curves)
    late = noise(curves, 0.75)[0]
    point = float(np.nanmedian(late)) if np.isfinite(late).any() else 0.0
    floor = _floor(watched, worth[rows, best], late)
    return Replayed(watched, curves, worth, measure, best, last, floor, point)


def _worth(watched: Watched, curves: Panel) -> tuple[FloatArray, str]:
    """A metric of the test where it was evaluated at the same steps, else the neighbours of each evaluation."""
    if watched.held_out is not None:
        test = watched.panel(watched.held_out, keep_failures=True)
        if np.array_equal(test.count, curves.count) and np.allclose(test.share, curves.share, equal_nan=True):
            limit = ceiling(test.value[np.isfinite(test.value)])
            return np.where(curves.there, np.fmin(test.value, limit), np.nan), watched.held_out
    smooth, top = left_out_means(curves), np.nanmax(curves.value, initial=0.0, where=curves.there)
    return np.where(np.isfinite(smooth), smooth, np.where(curves.there, top, np.nan)), ""


def _floor(watched: Watched, final: FloatArray, late: FloatArray) -> Floor:
    outcome = replace(without_records(watched.sweep), y=final, infeasible=~np.isfinite(final))
    repeats = repeats_of(outcome)
    seeds = typical(better_half(repeats, outcome)) or typical(repeats)
    known = final[np.isfinite(final)]
    least = LEAST * float(np.ptp(np.quantile(known, (0.1, 0.9)))) if known.size else 0.0
    if seeds is not None and seeds.sd > least:
        return Floor(seeds.sd, float(np.log(seeds.high / max(seeds.low, 1e-300))) / (2 * NORMAL), "seeds")
    usual = late[np.isfinite(late) & (late > 0)]
    sd = float(np.median(usual)) if usual.size else 0.0
    return Floor(max(sd, least), 0.0, "the scatter of late evaluations")


def means_of(runs: Replayed, stops: Stops) -> Means:
    """What stopping saves and loses by configuration, (k, g); a loss counts up to `MOST` floors."""
    end = np.take_along_axis(runs.curves.share, runs.last[:, None], 1)
    saved = 1 - np.take_along_axis(runs.curves.share, stops.stop, 1) / end
    most = MOST * runs.floor.sd
    regret = np.clip(runs.at(stops.kept) - runs.at(runs.best)[:, None], -most, most)
    return Means(by_configuration(saved, runs.configuration), by_configuration(regret, runs.configuration))


def patience_of(runs: Replayed, margin: float, seed: int) -> Patience:
    """How little patience is enough, for improvements by more than `margin`."""
    whole, grid = means_of(runs, by_patience(runs.curves, margin)), np.array(PATIENCES)
    k, rng = whole.regret.shape[0], np.random.default_rng(seed)
    weights = rng.multinomial(k, np.full(k, 1 / k), DRAWS) / k
    floors = runs.floor.sd * np.exp(runs.floor.log_error * rng.standard_normal(DRAWS))
    drawn = smallest_enough(weights @ whole.regret, floors, grid)
    estimate = float(smallest_enough(whole.regret.mean(axis=0)[None], runs.floor.sd, grid)[0])
    tail = _tail(k)
    low, high = (float(x) for x in np.quantile(drawn, (tail, 1 - tail)))
    choices = np.array([_choice(whole.regret[np.arange(k) % FOLDS != f], runs.floor.sd) for f in range(FOLDS)])
    own = (np.arange(k), choices[np.arange(k) % FOLDS])
    enough = _choice(whole.regret, runs.floor.sd)
    floor, most = runs.floor.sd, MOST * runs.floor.sd
    p = max(p_of_mean_below(whole.regret[:, i], floor, most) for i in range(enough, grid.size))
    means = Means(whole.saved[own], whole.regret[own])
    return Patience(estimate, min(low, estimate), max(high, estimate), enough, p, means, choices, whole)


def _tail(k: int) -> float:
    """The tail beyond an end of a bootstrap interval of k configurations, as wide as Student's (Hesterberg 2015)."""
    return float(ndtr(-stdtrit(max(k - 1, 1), 0.975) * np.sqrt(k / max(k - 1, 1))))


def _choice(regret: FloatArray, floor: float) -> int:
    """The place of the smallest patience whose mean regret is surely within the floor, as are those of all longer."""
    if not regret.shape[0]:
        return len(PATIENCES) - 1
    upper = regret.mean(axis=0) + SURELY * regret.std(axis=0) / np.sqrt(regret.shape[0])
    within = np.minimum.accumulate((upper <= floor)[::-1])[::-1]
    return int(np.argmax(within)) if within.any() else len(PATIENCES) - 1


def extrapolated(runs: Replayed) -> Means:
    """What stopping saves and loses where less than a noise floor is still to be gained, (k,) each."""
    found = means_of(runs, by_extrapolation(runs.curves, runs.floor.sd))
    return Means(found.saved[:, 0], found.regret[:, 0])


def pooled(runs: Replayed, rule: str) -> Means:
    """What a rule that compares runs saves and loses in pools of nine configurations, by pool, one seed each."""
    _, first = np.unique(runs.configuration, return_index=True)
    pools = first.size // POOL
    if not pools:
        return Means(np.zeros(0), np.zeros(0))
    # every pool takes configurations from all over the sweep
    rows = first[: pools * POOL].reshape(POOL, pools).T
    places = [np.maximum((runs.curves.share <= c + 1e-9).sum(axis=1) - 1, 0) for c in CHECKS]
    at = np.take_along_axis(np.where(runs.curves.there, runs.curves.value, np.inf), np.stack(places, axis=1), 1)
    saved, regret = in_pools(at[rows], runs.at(runs.best)[rows], rule)
    most = MOST * runs.floor.sd
    return Means(saved, np.minimum(np.nan_to_num(regret, nan=most, posinf=most), most))


def learns(runs: Replayed) -> bool:
    """Whether the runs' evaluations differ by far more than they scatter: else there is nothing to stop."""
    first = np.nanmedian(np.where(runs.curves.there, runs.curves.value, np.nan)[:, :1])
    lowest = np.nanmedian(runs.at(runs.best))
    return bool(first - lowest > SPREAD * max(runs.point, 1e-300))


def student(values: FloatArray) -> tuple[float, float, float]:
    """The mean with Student's 95% interval; without width for one value."""
    mean = float(values.mean())
    if values.size < 2:
        return mean, mean, mean
    half = float(stdtrit(values.size - 1, 0.975) * values.std(ddof=1) / np.sqrt(values.size))
    return mean, mean - half, mean + half
