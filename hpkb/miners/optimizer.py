"""Which optimizer gives the better result at an equal tuning budget.

Question
--------
After one, four, sixteen configurations tried at random, which optimizer has the better result? Does the answer change
with the budget, because one is good at once and the other only when tuned?

Method
------
The expected best of k configurations (Dodge et al. 2019, "Show your work") of each optimizer, for k = 1, 4, 16, …, up
to half of what was tried. It is estimated without bias by the mean over all subsets of k configurations; the plug-in
estimator is biased where k is not small (Tang et al. 2020). The unit is the configuration, a mean over its seeds; an
infeasible run counts as the worst result of the task, since a search pays for it. The error is the jackknife's over
configurations (Efron & Stein 1981), with degrees of freedom that shrink where a few lucky ones decide (Satterthwaite
1946); by simulation the interval of the difference covers at its rate for k up to half of n. The p-value must hold on
the ranks as well. Tasks are never pooled: differences are divided by the spread of their task's results and combined by
random-effects meta-analysis (REML; Hartung & Knapp 2001).

How to read it
--------------
*Supported* at k = 1 and not at k = 16: the first needs less tuning, but a tuned second is as good. *Supported* at
k = 16 alone: it pays to tune. *Rejected*: the whole interval lies within the scatter over seeds. The budget counts
configurations, not time: an optimizer with dearer steps is not charged for them.

When it misleads
----------------
The answer is one about a search, with the ranges that were searched: an optimizer that was searched near its best
value looks easy to tune (Choi et al. 2019; Schmidt, Schneider & Hennig 2021). Runs that a sampler steered (TPE, BOHB,
by hand) are no random search, and the caveats say where rates are not spread evenly. Where other hyperparameters went
along with the optimizer, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from hpkb.findings import LEVEL, Finding, Verdict, evidence
from hpkb.miners import Context
from hpkb.miners._pairs import pairs_over_tasks
from hpkb.miners._words import interval
from hpkb.stats.best_of_k import Difference, difference, expected_best, normal_scores
from hpkb.stats.noise import floor
from hpkb.stats.surrogate import ceiling, feasible_runs
from hpkb.sweep import FloatArray, Hyperparameter, Sweep, direction_of, metric_of

NAME = "optimizer"
BUDGETS = (1, 4, 16, 64)
FEWEST = 12  # configurations of an optimizer, so that the best of k says something
MOST_OPTIMIZERS = 5  # all pairs of so many; of more, each against the most common one
OWN = ("learning_rate", "momentum", "nesterov", "beta1", "beta2", "epsilon")  # that an optimizer may have for itself
WENT_ALONG = 0.2  # a correlation from which on the difference may be that of another hyperparameter
BY_CHANCE = 3.3  # standard errors: one design in a thousand has a larger correlation where there is none
UNEVEN = 1.63  # of Kolmogorov's distance times the root of n: one design in a hundred that is even


@dataclass(frozen=True)
class _Searched:
    """The configurations of one optimizer: `y` (n,) lower is better, `rates` (n,) their learning rates where known."""

    name: str
    y: FloatArray
    rates: FloatArray
    infeasible_share: float


def mine(context: Context) -> list[Finding]:
    """Returns for each pair of optimizers the difference of their expected best of k, for each budget k."""
    sweep = context.sweep
    h = sweep.hyperparameter(NAME)
    if h is None or h.scale != "category" or not feasible_runs(sweep).any():
        return []
    searched, found = _searched(sweep, h), list[Finding]()
    few = [s.name for s in searched if s.y.size < FEWEST]
    enough = [s for s in searched if s.y.size >= FEWEST]
    along, noise = _went_along(sweep), floor(sweep)
    for one, other in _pairs(enough):
        found += _compare(sweep, one, other, along, noise)
    if few and len(searched) > 1:
        found.append(_too_few(sweep, few))
    return found


def _searched(sweep: Sweep, h: Hyperparameter) -> list[_Searched]:
    """The configurations of each optimizer, in the order of the alphabet; far-out results cut, failures the worst."""
    usable = feasible_runs(sweep)
    cut = np.where(usable, np.minimum(sweep.y, ceiling(sweep.y[usable])), np.nan)
    y = np.where(usable, cut, np.nanmax(cut))
    rate = sweep.hyperparameter("learning_rate")
    found = []
    for level in sorted(range(len(h.levels)), key=lambda i: h.levels[i]):
        rows = np.flatnonzero(h.values == level)
        _, first, member = np.unique(sweep.configuration[rows], return_index=True, return_inverse=True)
        if first.size:
            means = np.bincount(member, weights=y[rows]) / np.bincount(member)
            rates = np.full(first.size, np.nan) if rate is None else rate.transformed[rows[first]]
            found.append(_Searched(h.levels[level], means, rates, float(1 - usable[rows].mean())))
    return found


def _pairs(searched: Sequence[_Searched]) -> Iterator[tuple[_Searched, _Searched]]:
    """The pairs to compare, the first of the alphabet last."""
    common = max(searched, key=lambda s: s.y.size, default=None)
    for one, other in combinations(searched, 2):
        if len(searched) <= MOST_OPTIMIZERS or one is common or other is common:
            yield other, one


def _went_along(sweep: Sweep) -> list[str]:
    """What changed together with the optimizer, beside what an optimizer has for itself."""
    aliases = sweep.aliases
    found = [name for group in aliases.groups if NAME in group for name in group]
    limit = max(WENT_ALONG, BY_CHANCE / max(sweep.n_configurations, 1) ** 0.5)
    found += [name for pair, r in aliases.correlation.items() if NAME in pair and r > limit for name in pair]
    return sorted({name for name in found if name != NAME and name not in OWN})


def _compare(
    sweep: Sweep, one: _Searched, other: _Searched, along: Sequence[str], noise: float | None
) -> Iterator[Finding]:
    caveats = (*_caveats(one, other), *_uneven(one), *_uneven(other))
    scores = normal_scores(one.y, other.y)
    for k in BUDGETS:
        if k > min(one.y.size, other.y.size) // 2:
            break
        found = difference(one.y, other.y, k)
        p = max(found.p_value, difference(*scores, k).p_value)
        if found.error > 0:
            yield _finding(sweep, one, other, k, found, p, along, noise, caveats)


def _finding(
    sweep: Sweep, one: _Searched, other: _Searched, k: int, found: Difference, p: float, along: Sequence[str],
    noise: float | None, caveats: tuple[str, ...],
) -> Finding:  # fmt: skip
    sign, metric, half = direction_of(sweep), metric_of(sweep), found.half_width
    verdict: Verdict = "insufficient"
    if p <= LEVEL and abs(found.estimate) > half:
        verdict = "supported"
    elif noise is not None and abs(found.estimate) + half <= noise:
        verdict = "rejected"
    if along:
        verdict = "insufficient"
        caveats = (*caveats, f"Went along with the optimizer, so that the difference may be its: {', '.join(along)}.")
    estimate, (low, high) = sign * found.estimate, sorted((sign * found.estimate - half, sign * found.estimate + half))
    budget = "a single configuration" if k == 1 else f"the best of {k} configurations"
    number = f"{metric} differs by {interval(estimate, low, high)}"
    way = "better" if found.estimate < 0 else "worse"
    claims: dict[Verdict, str] = {
        "supported": f"The result of {budget} is {way} with {one.name} than with {other.name}: {number}.",
        "rejected": f"The results of {budget} differ by less than seeds do, {one.name} and {other.name}: {number}.",
        "insufficient": f"Whether {one.name} or {other.name} is better in {budget} is not settled: {number}.",
    }
    return Finding(
        miner="optimizer", hyperparameters=(NAME,), quantity="difference_at_equal_budget", claim=claims[verdict],
        claim_if_insufficient=claims["insufficient"], verdict=verdict, estimate=estimate, low=low, high=high,
        unit=metric, p_value=p, condition=f"{one.name} against {other.name}, k={k}", caveats=caveats,
        figure=_figure(sweep, one, other), **evidence(sweep),
    )  # fmt: skip


def _caveats(one: _Searched, other: _Searched) -> Iterator[str]:
    yield f"{one.y.size} configurations of {one.name}, {other.y.size} of {other.name}, each over its own ranges."
    if max(one.infeasible_share, other.infeasible_share) > 0:
        shares = f"{one.infeasible_share:.0%} with {one.name}, {other.infeasible_share:.0%} with {other.name}"
        yield f"Infeasible runs count as the worst result: {shares}."


def _uneven(searched: _Searched) -> Iterator[str]:
    """Whether the learning rates were spread evenly over their range, as by a random or a space-filling design."""
    u = np.sort(searched.rates[np.isfinite(searched.rates)])
    if u.size < FEWEST or u[-1] == u[0]:
        return
    x = (u - u[0]) / (u[-1] - u[0])
    # ties count once at their middle: a grid is even
    places, counts = np.unique(x, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / x.size
    even = places if places.size > x.size / 2 else (np.arange(places.size) + 0.5) / places.size
    if np.abs(middle - even).max() * np.sqrt(x.size) > UNEVEN:
        yield f"The learning rates of {searched.name} are not spread evenly: no random search, but a steered one."


def _too_few(sweep: Sweep, few: Sequence[str]) -> Finding:
    return Finding(
        miner="optimizer", hyperparameters=(NAME,), quantity="difference_at_equal_budget", verdict="insufficient",
        claim=f"What tuning is worth cannot be said of {', '.join(few)}: fewer than {FEWEST} configurations.",
        **evidence(sweep),
    )  # fmt: skip


def _figure(sweep: Sweep, one: _Searched, other: _Searched) -> dict[str, Any]:
    """The expected best of either at each budget; `spread` brings the tasks to one scale."""
    sign, rows = direction_of(sweep), []
    for searched in (one, other):
        for k in BUDGETS:
            if k <= searched.y.size // 2:
                at = expected_best(searched.y, k)
                half = difference(searched.y, searched.y, k).half_width / np.sqrt(2)
                rows.append({"label": f"{searched.name}, best of {k}", "estimate": sign * at.estimate,
                             "low": sign * at.estimate - half, "high": sign * at.estimate + half,
                             "verdict": "supported"})  # fmt: skip
    both = np.concatenate([one.y, other.y])
    spread = float(np.subtract(*np.quantile(both, [0.75, 0.25]))) / 1.349
    return {
        "kind": "forest", "x": {"label": metric_of(sweep)}, "rows": rows, "references": [], "spread": spread,
        "lower_is_better": sign > 0,
    }  # fmt: skip


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of each pair of optimizers at each budget."""
    return list(pairs_over_tasks(findings, "difference_at_equal_budget"))
