"""What `design` says of the runs near the best, of those that taught nothing, and of the checks of the Playbook."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from hpkb.findings import Finding, Verdict, evidence
from hpkb.miners import Context
from hpkb.miners._words import brief
from hpkb.stats import noise
from hpkb.stats.design import hopeless, near, results
from hpkb.stats.feasibility import RISK, effect_of_learning_rate, outcomes_of, wilson
from hpkb.stats.logistic import Fit, firth
from hpkb.stats.nested import variance_ratio
from hpkb.stats.response import Response, response_of
from hpkb.sweep import FloatArray, Hyperparameter, Sweep, metric_of

AT_EDGE = 0.95  # share of the bags with their optimum at the edge that settles it
CLOSE_BY = 0.1  # of the range, to either side of the best value
FEWEST_NEAR = 5  # configurations close by, from which the neighbourhood of the best counts as sampled
BEST = 8  # one in so many configurations is among the best
FEWEST_BEST = 5
FEWEST_RUNS = 10
FEWEST_REPEATED = 8
BEYOND = 4.0  # times the best learning rate: where it is asked whether runs diverge
MOSTLY = 0.5  # of the runs diverge there, and surely more than `RISK`: then the best learning rate lies at the edge
SELDOM = 0.25  # surely fewer: then it does not
INFEASIBLE = 0.4  # of all runs: the Playbook's sign that the space was chosen badly


def words(name: str, *, start: bool = False) -> str:
    """Returns a hyperparameter's name in a sentence, or at its start."""
    text = name.replace("_", " ")
    return text[0].upper() + text[1:] if start else text


@dataclass(frozen=True)
class _Best:
    """Where a number is best, as *response* has it, and whether it matters at all."""

    sweep: Sweep
    at: Sweep
    h: Hyperparameter
    curve: Response
    p_value: float | None


def around_the_best(context: Context, at: Sweep) -> Iterator[Finding]:
    """Yields for each number that matters whether its best value lies at the edge or where little was tried."""
    sweep = context.sweep
    effects, floor = context.effects.main, noise.floor(sweep)
    for i, h in enumerate(sweep.hyperparameters):
        p = effects[h.name]
        if h.scale == "category" or p is None or p > 0.05:
            continue
        line = response_of(sweep, context.process, i, floor)
        if line is not None:
            best = _Best(sweep, at, h, line, p)
            yield _boundary(best)
            yield _sparse(best)
    yield _divergence_edge(sweep)


def _boundary(best: _Best) -> Finding:
    h, line = best.h, best.curve
    low = 0.0 if h.scale == "log" and (h.values == 0).any() else line.edge_low
    share, side = max((line.edge_high, "largest"), (low, "smallest"))
    number = _typed(h, line.values[-1 if side == "largest" else 0])
    name, beyond = words(h.name), "larger" if side == "largest" else "smaller"
    unsettled = f"Whether the best value of {name} lies at the edge of what was tried cannot be told."
    claim = f"The best value of {name} is the {side} that was tried ({brief(number, 3)}): try {beyond} ones."
    finding = _finding(
        best.sweep, (h.name,), "boundary", claim, "supported", claim_if_insufficient=unsettled, estimate=share,
        unit="share of resamples",
        p_value=best.p_value, figure={"kind": "boundary", "gaps": [_beyond(h, number, side)]},
    )  # fmt: skip
    if share >= AT_EDGE:
        return finding.judged()
    if share <= 1 - AT_EDGE:
        claim = f"The best value of {name} does not lie at an edge of what was tried."
        return _finding(best.sweep, (h.name,), "boundary", claim, "rejected", claim_if_insufficient=unsettled,
                        estimate=share, unit="share of resamples", p_value=best.p_value)  # fmt: skip
    return finding.insufficient(f"at the edge in {share:.0%} of the resamples")


def _beyond(h: Hyperparameter, edge: float, side: str) -> dict[str, Any]:
    """What lies beyond the edge, as a gap that is open on one side."""
    ends = {"low": edge, "high": None} if side == "largest" else {"low": None, "high": edge}
    return {"hyperparameter": h.name, **ends}


def _sparse(best: _Best) -> Finding:
    h, name = best.h, words(best.h.name)
    own = best.at.hyperparameter(h.name) or h
    n, share, chance = near(own, best.curve.optimum, CLOSE_BY)
    expected = share * int((~np.isnan(own.transformed)).sum())
    where = f"within {CLOSE_BY:.0%} of the range from it ({brief(_typed(h, best.curve.optimum), 3)})"
    counted = f"{n} configurations lie {where}, where a random design has about {expected:.0f}"
    reach = CLOSE_BY * float(best.curve.values[-1] - best.curve.values[0])
    gap = {"hyperparameter": h.name, "low": _typed(h, best.curve.optimum - reach),
           "high": _typed(h, best.curve.optimum + reach)}  # fmt: skip
    unsettled = f"Whether enough was tried near the best value of {name} is not settled: {counted}."
    common: dict[str, Any] = {"claim_if_insufficient": unsettled, "estimate": float(n), "unit": "configurations"}
    if n >= FEWEST_NEAR:
        claim = f"Enough was tried near the best value of {name}: {counted}."
        return _finding(best.sweep, (h.name,), "sparse_near_optimum", claim, "rejected", **common)
    claim = f"Little was tried near the best value of {name}: only {counted}."
    return _finding(
        best.sweep, (h.name,), "sparse_near_optimum", claim, "supported",
        p_value=max(best.p_value or 0.0, chance, 1e-300), figure={"kind": "gap", "gaps": [gap]}, **common,
    ).judged()  # fmt: skip


def hopeless_runs(sweep: Sweep, at: Sweep) -> Iterator[Finding]:
    """Yields how many runs lie at an end of a range that holds none of the better half, for the worst of all ends."""
    y = results(sweep)
    numbers = [h for h in sweep.hyperparameters if h.scale != "category"]
    ends = [(h, end) for h in numbers if (end := hopeless(sweep, h, at, y)) is not None]
    if not ends:
        return
    h, end = min(ends, key=lambda pair: (pair[1].p_value, pair[0].name))
    share, side = float(end.rows.mean()), "above" if end.is_above else "below"
    said = f"{share:.0%} of the runs had a {words(h.name)} {side} {brief(_typed(h, end.edge), 3)}"
    finding = _finding(
        sweep, (h.name,), "hopeless_share", f"{said}, and none of those configurations is among the better half.",
        "supported", estimate=share, unit="share of runs", p_value=min(1.0, end.p_value * len(numbers)),
        claim_if_insufficient=f"No end of a range was demonstrably hopeless: {said}, none among the better half.",
    )  # fmt: skip
    if h.name in sweep.aliases.hidden:
        return
    yield finding.judged()


def infeasible_excess(sweep: Sweep) -> Finding:
    """Returns whether two fifths of the runs or more were infeasible; a count of what is recorded, and no test."""
    share = sweep.infeasible_share
    low, high = wilson(share, float(sweep.n_configurations))
    said = f"{share:.0%} [{100 * low:.0f}, {100 * high:.0f}] of the runs were infeasible"
    common: dict[str, Any] = {"estimate": share, "low": low, "high": high, "unit": "share of runs"}
    if sweep.n_runs < FEWEST_RUNS or share == 1:
        claim = f"{said}; of whether the space was chosen badly too few runs tell."
        return _finding(sweep, (), "infeasible_excess", claim, "insufficient", **common)
    if share >= INFEASIBLE:
        claim = f"{said}, {INFEASIBLE:.0%} or more: much of the space that was searched cannot be trained in."
        return _finding(sweep, (), "infeasible_excess", claim, "supported", p_value=0.0, **common)
    return _finding(sweep, (), "infeasible_excess", f"{said}, fewer than {INFEASIBLE:.0%}.", "rejected", **common)


def noise_against_settings(sweep: Sweep) -> Finding:
    """Returns whether the settings move the result by more than seeds do."""
    repeats, metric = noise.repeats_of(sweep), metric_of(sweep)
    k = repeats.degrees.size
    ratio = None
    if k >= FEWEST_REPEATED:
        ratio = variance_ratio(repeats.y, np.zeros(repeats.y.size, dtype=np.int64), repeats.group)
    if ratio is None:
        claim = f"Whether settings move {metric} by more than seeds do cannot be said: fewer than {FEWEST_REPEATED} " \
            "configurations were repeated, or all are alike."  # fmt: skip
        return _finding(sweep, (), "effect_over_noise", claim, "insufficient")
    estimate, low, high = (math.sqrt(x) for x in (ratio.ratio, ratio.low, ratio.high))
    said = f"the settings tried move {metric} {brief(estimate)} [{brief(low)}, {brief(high)}] times as far as seeds"
    common: dict[str, Any] = {
        "estimate": estimate, "low": low, "high": high, "unit": "seed noise",
        "claim_if_insufficient": f"Whether settings or seeds move {metric} more is not settled: {said}.",
    }  # fmt: skip
    if high <= 1:
        claim = f"Seeds move the result more than settings do: {said}."
        return _finding(sweep, (), "effect_over_noise", claim, "rejected", p_value=ratio.p_value, **common)
    found = _finding(sweep, (), "effect_over_noise", f"{said[0].upper()}{said[1:]}.", "supported",
                     p_value=ratio.p_value, **common)  # fmt: skip
    return found.judged() if low > 1 else found.insufficient("the interval holds 1")


def _divergence_edge(sweep: Sweep) -> Finding:
    """Whether runs diverge at learning rates just above the best ones, with the optimizer of the best runs."""
    rate, names = sweep.hyperparameter("learning_rate"), ("learning_rate",)
    unknown = "Whether the best learning rate lies at the edge of divergence cannot be said"
    if rate is None or rate.scale != "log" or rate.name in sweep.aliases.hidden:
        return _finding(sweep, names if rate else (), "divergence_edge", f"{unknown}: it was not varied by itself.",
                        "insufficient")  # fmt: skip
    if not sweep.infeasible.any():
        largest = brief(float(np.nanmax(rate.values)), 3)
        claim = f"No run was infeasible up to the largest learning rate that was tried ({largest})."
        enough = sweep.n_runs >= FEWEST_RUNS
        return _finding(sweep, names, "divergence_edge", claim, "rejected" if enough else "insufficient", estimate=0.0,
                        unit="probability of divergence")  # fmt: skip
    outcomes, level = outcomes_of(sweep), _best_optimizer(sweep)
    best = _best_rates(sweep, level)
    if outcomes is None or best is None or (outcomes.optimizer == level).sum() < FEWEST_RUNS:
        return _finding(sweep, names, "divergence_edge", f"{unknown}: too few runs.", "insufficient")
    return _edge_finding(sweep, best, firth(outcomes.data(level)), effect_of_learning_rate(outcomes))


def _edge_finding(sweep: Sweep, best: FloatArray, fit: Fit, p_value: float) -> Finding:
    place = float(best.mean())
    at = np.array([1.0, place + math.log(BEYOND)])
    eta, slope = float(at @ fit.coefficients[:2]), float(fit.coefficients[1])
    # the error of the regression, and that of the place of the best
    variance = float(at @ fit.covariance[:2, :2] @ at) + slope**2 * float(best.var(ddof=1)) / best.size
    half = 1.96 * math.sqrt(variance)
    estimate, low, high = (float(expit(x)) for x in (eta, eta - half, eta + half))
    said = (
        f"at {BEYOND:g} times the best learning rate ({brief(math.exp(place))}) {estimate:.0%} [{100 * low:.0f}, "
        f"{100 * high:.0f}] of the runs diverge"
    )
    common: dict[str, Any] = {
        "estimate": estimate, "low": low, "high": high, "unit": "probability of divergence", "p_value": p_value,
        "claim_if_insufficient": f"Whether the best learning rate lies at the edge of divergence is open: {said}.",
    }  # fmt: skip
    names = ("learning_rate",)
    if high < SELDOM:
        claim = f"The best learning rate does not lie at the edge of divergence: {said}."
        return _finding(sweep, names, "divergence_edge", claim, "rejected", **common)
    claim = f"The best learning rate lies at the edge of divergence: {said}. Warmup or clipping may move the edge."
    found = _finding(sweep, names, "divergence_edge", claim, "supported", **common)
    if estimate >= MOSTLY and low >= RISK:
        return found.judged()
    return found.insufficient(f"fewer than {MOSTLY:.0%}, or not surely more than {RISK:.0%}")


def _best_rates(sweep: Sweep, level: int) -> FloatArray | None:
    """The ln learning rates of the best eighth of the configurations of one optimizer, None where they are few."""
    optimizer, rate = sweep.hyperparameter("optimizer"), sweep.hyperparameter("learning_rate")
    assert rate is not None
    own = np.ones(sweep.n_runs, dtype=bool) if optimizer is None else optimizer.values == level
    usable = own & ~sweep.infeasible & np.isfinite(sweep.y) & ~np.isnan(rate.transformed)
    _, first, member = np.unique(sweep.configuration[usable], return_index=True, return_inverse=True)
    if first.size < BEST:
        return None
    y = np.bincount(member, weights=sweep.y[usable]) / np.bincount(member)
    count = max(FEWEST_BEST, first.size // BEST)
    return np.asarray(rate.transformed[usable][first][np.argsort(y, kind="stable")[:count]])


def _best_optimizer(sweep: Sweep) -> int:
    """The optimizer of most of the best eighth of the runs; 0 where it does not vary."""
    optimizer = sweep.hyperparameter("optimizer")
    if optimizer is None:
        return 0
    y = np.where(sweep.infeasible | np.isnan(optimizer.values), np.inf, np.where(np.isfinite(sweep.y), sweep.y, np.inf))
    best = np.argsort(y, kind="stable")[: max(FEWEST_BEST, sweep.n_runs // BEST)]
    levels = optimizer.values[best][~np.isnan(optimizer.values[best])]
    return int(np.bincount(levels.astype(np.int64)).argmax()) if levels.size else 0


def _typed(h: Hyperparameter, x: float) -> float:
    """A value of the own scale as a person would type it; an exact 0 for what stands in its place."""
    if h.scale != "log":
        return float(x)
    smallest = float(np.min(h.values[h.values > 0], initial=np.inf))
    return 0.0 if (h.values == 0).any() and x < np.log(smallest) - 1e-9 else float(np.exp(x))


def _finding(sweep: Sweep, names: tuple[str, ...], quantity: str, claim: str, verdict: Verdict, **more: Any) -> Finding:
    return Finding(
        miner="design", hyperparameters=names, quantity=quantity, claim=claim,
        verdict=verdict, **more, **evidence(sweep),
    )  # fmt: skip
