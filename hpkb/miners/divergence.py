"""From which learning rate on runs diverge.

Question
--------
How many runs ended infeasible (not a number, out of memory, a loss that ran away), and up to which learning rate is
that rare? What moves that edge? Is the best learning rate right at it? What do curves look like before?

Method
------
Infeasibility is an outcome, not a missing value. Its share has a Wilson interval (Wilson 1927). Its probability is
a logistic regression on the logarithms of learning rate and batch size and on the optimizer, fitted by Firth's
penalised likelihood (Heinze & Schemper 2002, *A solution to the problem of separation in logistic regression*,
Statistics in Medicine 21), which stays finite when every run beyond some learning rate fails. The safe upper bound
is where the probability reaches one in ten, at the median batch size; interval and test are by the penalised
likelihood ratio. Seeds of one configuration that fail together count as less than independent runs. What moves the
edge (batch size, warmup, clipping, precision, depth, width, weight decay) enters the same regression; how far it moves
is minus the ratio of its coefficient to the learning rate's, with the interval of the likelihood ratio. How far the
best learning rate lies below the edge is the distance to the lowest point of a Gaussian process along the learning
rate at good settings of all else, with the errors of both. Before the edge, the spikes of the training loss are
regressed on the learning rate with all else held, and the growth of gradients is compared between runs that end
infeasible and the others (Welch 1947, and on ranks).

How to read it
--------------
Below the bound at most one run in ten is expected to fail; the lower end of the interval is the cautious choice.
A best learning rate right at the edge says that something that lets the edge move up (warmup, clipping) may let a
larger learning rate win: the Deep Learning Tuning Playbook's sign of instability. An optimizer has a bound of its own,
since their learning rates are not on one scale.

When it misleads
----------------
The regression draws one smooth rise: where small learning rates fail as well (too slow to meet a limit, say), it
misses that. Where warmup, clipping and depth were varied, the bound is at the middle of what was tried of them. A
finite but useless loss is infeasible only where the training loss rose to twice its first value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hpkb.findings import LEVEL, Finding, evidence
from hpkb.miners import Context
from hpkb.miners._words import brief
from hpkb.stats.boundary import Margin, Shift, margin, shifts
from hpkb.stats.feasibility import (
    FEWEST_RUNS,
    Bound,
    Outcomes,
    bound_of,
    cluster_weights,
    curve,
    effect_of_anything,
    effect_of_learning_rate,
    outcomes_of,
    wilson,
)
from hpkb.stats.instability import Difference, gradient_growth, spikes
from hpkb.stats.slopes import Slope
from hpkb.sweep import Sweep

CURVE_POINTS = 33
AT_EDGE = 3.0  # a best learning rate within this factor of the edge lies at it
CAUSES = ("learning_rate", "optimizer", "batch_size")  # what the regression knows of


def mine(context: Context) -> list[Finding]:
    """Returns the share of infeasible runs, the safe bound of each optimizer, what moves it and what comes before."""
    sweep = context.sweep
    if not sweep.n_runs:
        return []
    outcomes = outcomes_of(sweep)
    share = _share(sweep, outcomes)
    if sweep.hyperparameter("learning_rate") is None:
        return [share]
    if outcomes is None:
        return [share, _no_bound(sweep)]
    p_value = None if "learning_rate" in sweep.aliases.hidden else effect_of_learning_rate(outcomes)
    bounds = [(level, bound_of(outcomes, level)) for level in _levels(outcomes)]
    found = [share, *(_bound(sweep, outcomes, level, p_value, bound) for level, bound in bounds)]
    if p_value is not None and p_value <= LEVEL:  # without an edge, nothing moves it and nothing comes before it
        found += [_moved(sweep, s, p_value) for s in shifts(sweep, outcomes)]
        found += _margins(context, bounds, p_value)
        found += _before_the_edge(sweep)
    return found


def _moved(sweep: Sweep, shift: Shift, p_value: float) -> Finding:
    name = shift.hyperparameter.name
    p = max(shift.p_value, p_value)
    bounds: tuple[float | None, ...] = (shift.estimate, shift.low, shift.high)
    if shift.unit == "ln":
        quantity, numbers, unit = "boundary_exponent", bounds, "exponent"
        said = f"the learning_rate from which runs diverge goes as {name} to the power"
        condition = ""
    else:
        quantity, unit = "boundary_factor", "factor"
        numbers = tuple(None if x is None else math.exp(min(max(x, -50.0), 50.0)) for x in bounds)
        condition = f"{shift.unit} against {shift.against}" if shift.against else ""
        who = f"{name} {condition}" if condition else f"from the smallest {name} to the largest, {name}"
        said = f"{who} multiplies the learning_rate from which runs diverge by"
    estimate, low, high = numbers
    number = f"{_shown(estimate)} [{_shown(low)}, {_shown(high)}]"
    up = "up" if shift.estimate > 0 else "down"
    return Finding(
        miner="divergence", hyperparameters=(name,), quantity=quantity, verdict="supported",
        claim=f"{name} is associated with an edge further {up}: {said} {number}.",
        claim_if_insufficient=f"Whether {name} moves the edge of divergence is not settled: {said} {number}.",
        estimate=estimate, low=low, high=high, unit=unit, p_value=p, condition=condition, **evidence(sweep),
    ).judged()  # fmt: skip


def _margins(context: Context, bounds: Sequence[tuple[int, Bound]], p_value: float) -> Iterator[Finding]:
    sweep = context.sweep
    optimizer = sweep.hyperparameter("optimizer")
    for level, bound in bounds:
        rows = np.ones(sweep.n_runs, dtype=bool) if optimizer is None else optimizer.values == level
        found = margin(sweep, context.process, bound, rows)
        if found is not None:
            yield _margin(sweep, found, optimizer.levels[level] if optimizer is not None else "", p_value)


def _margin(sweep: Sweep, found: Margin, optimizer: str, p_value: float) -> Finding:
    """Whether the best learning rate lies within a factor of three of the edge."""
    factor, low, high = (
        math.exp(min(max(x, -50.0), 50.0))
        for x in (found.estimate, found.estimate - found.half_width, found.estimate + found.half_width)
    )
    whose = f"With {optimizer}, t" if optimizer else "T"
    said = f"the edge of divergence is {brief(factor)} [{brief(low)}, {brief(high)}] times the best learning_rate"
    beyond = found.beyond(math.log(AT_EDGE))
    finding = Finding(
        miner="divergence", hyperparameters=("learning_rate",), quantity="best_rate_margin", verdict="supported",
        claim=f"{whose}he best learning_rate ({brief(math.exp(found.best), 3)}) lies at the edge of divergence: {said}."
        " Longer warmup or clipping may let a larger one win.",
        claim_if_insufficient=f"{whose}hat the best learning_rate lies at the edge of divergence is not shown: {said}.",
        estimate=factor, low=low, high=high, unit="factor", p_value=max(beyond, p_value),
        condition=f"optimizer={optimizer}" if optimizer else "", **evidence(sweep),
    )  # fmt: skip
    if low > AT_EDGE:
        claim = f"{whose}he best learning_rate lies well below the edge of divergence: {said}."
        return replace(finding, verdict="rejected", claim=claim)
    return finding.judged()


def _before_the_edge(sweep: Sweep) -> Iterator[Finding]:
    """Returns what curves show before runs diverge: spikes towards the edge, and gradients that grow."""
    found = spikes(sweep)
    if found is not None:
        yield _spikes(sweep, *found)
    growth = gradient_growth(sweep)
    if growth is not None:
        yield _growth(sweep, growth)


def _spikes(sweep: Sweep, metric: str, found: Slope) -> Finding:
    ten = math.log(10)
    factor, low, high = (
        math.exp(min(max(ten * x, -50.0), 50.0))
        for x in (found.estimate, found.estimate - found.half_width, found.estimate + found.half_width)
    )
    number = f"{brief(factor)} [{brief(low)}, {brief(high)}] times per tenfold learning_rate"
    way = "more" if found.estimate > 0 else "fewer"
    return Finding(
        miner="divergence", hyperparameters=("learning_rate",), quantity="spike_factor", verdict="supported",
        claim=f"Towards the edge {metric} spikes {way} often, also in runs that end well: one more than its spikes "
        f"grow {number}.",
        claim_if_insufficient=f"Whether {metric} spikes more often towards the edge is not settled: {number}.",
        estimate=factor, low=low, high=high, unit="factor per decade", p_value=found.p_value, **evidence(sweep),
    ).judged()  # fmt: skip


def _growth(sweep: Sweep, found: Difference) -> Finding:
    factor, low, high = (
        math.exp(min(max(x, -50.0), 50.0))
        for x in (found.estimate, found.estimate - found.half_width, found.estimate + found.half_width)
    )
    number = f"{brief(factor)} [{brief(low)}, {brief(high)}] times as much as in the others"
    return Finding(
        miner="divergence", hyperparameters=(), quantity="gradient_growth", verdict="supported",
        claim=f"In runs that end infeasible the gradient norm has grown {number} by the end of what was logged.",
        claim_if_insufficient="That gradients grow before a run ends infeasible is not shown: "
        f"the norm grew {number}.",
        estimate=factor, low=low, high=high, unit="factor", p_value=found.p_value,
        caveats=("the largest norm in the last fifth over the median of the first half",), **evidence(sweep),
    ).judged()  # fmt: skip


def _share(sweep: Sweep, outcomes: Outcomes | None) -> Finding:
    share, failed = sweep.infeasible_share, sweep.infeasible.astype(float)
    counts = cluster_weights(sweep.configuration, failed, np.full(sweep.n_runs, share)).sum()
    low, high = wilson(share, float(counts))
    said = f"{share:.0%} [{100 * low:.0f}, {100 * high:.0f}] of the runs were infeasible"
    finding = Finding(
        miner="divergence", hyperparameters=(), quantity="infeasible_share", verdict="supported",
        claim=f"{said}; which ones depends on {_causes(sweep)}.",
        claim_if_insufficient=f"{said}; on what it depends is not to be told.",
        estimate=share, low=low, high=high, unit="share",
        p_value=None if outcomes is None or sweep.aliases.hidden.intersection(CAUSES) else effect_of_anything(outcomes),
        **evidence(sweep),
    )  # fmt: skip
    if share in (0.0, 1.0):
        everyone = "no run was infeasible" if share == 0 else "all runs were infeasible"
        return finding.insufficient(everyone)
    return finding.judged()


def _causes(sweep: Sweep) -> str:
    known = [n for n in CAUSES if sweep.hyperparameter(n) is not None]
    return " or ".join([", ".join(known[:-1]), known[-1]] if len(known) > 1 else known)


def _no_bound(sweep: Sweep) -> Finding:
    """Where all runs or none were infeasible: the largest learning rate that was tried, or nothing."""
    rate = sweep.hyperparameter("learning_rate")
    largest = float(np.nanmax(rate.values)) if rate is not None and np.isfinite(rate.values).any() else None
    if sweep.infeasible_share == 0 and largest is not None:
        claim = f"No run was infeasible up to the largest learning_rate that was tried ({brief(largest, 3)})."
        safe: float | None = largest
    else:
        claim, safe = "No learning_rate that was tried is known to be safe.", None
    return Finding(
        miner="divergence", hyperparameters=("learning_rate",), quantity="safe_upper_bound", claim=claim,
        verdict="insufficient", estimate=safe, caveats=("nothing to compare: all runs ended alike",),
        **evidence(sweep),
    )  # fmt: skip


def _levels(outcomes: Outcomes) -> list[int]:
    """The optimizers with enough runs for a bound."""
    levels, counts = np.unique(outcomes.optimizer, return_counts=True)
    return [int(level) for level, count in zip(levels, counts, strict=True) if count >= FEWEST_RUNS and level >= 0]


def _bound(sweep: Sweep, outcomes: Outcomes, level: int, p_value: float | None, bound: Bound) -> Finding:
    tried = outcomes.u[outcomes.optimizer == level]
    optimizer = sweep.hyperparameter("optimizer")
    name = optimizer.levels[level] if optimizer is not None else ""
    whose = f"With {name}, a" if name else "A"
    estimate, low, high = (_within(x, tried.max()) for x in (bound.estimate, bound.low, bound.high))
    finding = Finding(
        miner="divergence", hyperparameters=("learning_rate",), quantity="safe_upper_bound", verdict="supported",
        claim=f"{whose} learning_rate up to {_shown(estimate)} [{_shown(low)}, {_shown(high)}] leaves at most one run "
        "in ten infeasible.",
        claim_if_insufficient=f"{whose} bound on the learning_rate beyond which runs fail cannot be told.",
        estimate=estimate, low=low, high=high, p_value=p_value, condition=f"optimizer={name}" if name else "",
        caveats=_caveats(outcomes), figure=_figure(sweep, outcomes, level, bound), **evidence(sweep),
    ).judged()  # fmt: skip
    return _in_range(finding, bound, float(tried.min()), float(tried.max()))


def _in_range(finding: Finding, bound: Bound, smallest: float, largest: float) -> Finding:
    """The finding without its verdict where the bound lies outside of what was tried."""
    if finding.verdict != "supported" or smallest <= bound.estimate < largest:
        return finding
    if bound.estimate < smallest:
        return finding.insufficient("the bound lies below the smallest learning rate that was tried")
    return finding.insufficient("the bound lies beyond the largest learning rate that was tried")


def _within(u: float, largest: float) -> float | None:
    """exp(u), at most the largest learning rate that was tried; None where there is no limit below."""
    return None if u == -math.inf else math.exp(min(u, largest))


def _shown(value: float | None) -> str:
    return "no limit" if value is None else f"{brief(value, 3)}"


def _caveats(outcomes: Outcomes) -> tuple[str, ...]:
    failed = int(outcomes.failed.sum())
    caveats = [f"only {failed} infeasible runs"] if failed < 10 else []
    if outcomes.batch_centre is not None:
        caveats.append(f"at batch_size {math.exp(outcomes.batch_centre):.0f}")
    return tuple(caveats)


def _figure(sweep: Sweep, outcomes: Outcomes, level: int, bound: Bound) -> dict[str, Any]:
    """The probability over the learning rate, with the runs of that optimizer at 0 or 1."""
    rate, optimizer = sweep.hyperparameter("learning_rate"), sweep.hyperparameter("optimizer")
    assert rate is not None
    mine_ = np.ones(sweep.n_runs, dtype=bool) if optimizer is None else optimizer.values == level
    rows = np.flatnonzero(mine_ & np.isfinite(rate.values))
    tried = outcomes.u[outcomes.optimizer == level]
    u = np.linspace(tried.min(), tried.max(), CURVE_POINTS)
    line = [
        {"x": math.exp(x), "y": float(y), "low": float(low), "high": float(high)}
        for x, y, low, high in zip(u, *curve(bound.fit, u), strict=True)
    ]
    points = [
        {
            "x": float(rate.values[i]), "y": float(sweep.infeasible[i]), "run_id": sweep.run_ids[i],
            "infeasible": bool(sweep.infeasible[i]),
        }
        for i in rows
    ]  # fmt: skip
    safe = [math.exp(tried.min()), math.exp(min(bound.estimate, tried.max()))]
    return {
        "kind": "response",
        "x": {"label": "learning_rate", "scale": rate.scale, "levels": []},
        "y": {"label": "probability of divergence", "scale": "linear"},
        "points": points,
        "line": line,
        "plateau": safe if safe[0] < safe[1] else [],
        "optimum": None,
    }
