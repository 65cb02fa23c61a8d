"""From which learning rate on runs diverge.

Question
--------
How many runs ended infeasible (not a number, out of memory, a loss that ran away), and up to which learning rate is
that rare?

Method
------
Infeasibility is an outcome, not a missing value. Its share has a Wilson interval (Wilson 1927). Its probability is
a logistic regression on the logarithms of learning rate and batch size and on the optimizer, fitted by Firth's
penalised likelihood (Heinze & Schemper 2002, *A solution to the problem of separation in logistic regression*,
Statistics in Medicine 21), which stays finite when every run beyond some learning rate fails. The safe upper bound
is where the probability reaches one in ten, at the median batch size; interval and test are by the penalised
likelihood ratio. Seeds of one configuration that fail together count as less than independent runs.

How to read it
--------------
Below the bound at most one run in ten is expected to fail; the lower end of the interval is the cautious choice.
The best learning rate often lies close below: compare with *response*. An optimizer has a bound of its own, since
their learning rates are not on one scale.

When it misleads
----------------
The regression draws one smooth rise: where small learning rates fail as well (too slow to meet a limit, say), it
misses that. Warmup, clipping and depth move the edge; where they were varied, the bound is an average over them. A
finite but useless loss is infeasible only where the training loss rose to twice its first value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hpkb.findings import Finding, evidence
from hpkb.miners import Context
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
from hpkb.sweep import Sweep

CURVE_POINTS = 33
CAUSES = ("learning_rate", "optimizer", "batch_size")  # what the regression knows of


def mine(context: Context) -> list[Finding]:
    """Returns the share of infeasible runs and the safe upper bound of the learning rate, one an optimizer."""
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
    return [share, *(_bound(sweep, outcomes, level, p_value) for level in _levels(outcomes))]


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
        claim = f"No run was infeasible up to the largest learning_rate that was tried ({largest:.3g})."
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


def _bound(sweep: Sweep, outcomes: Outcomes, level: int, p_value: float | None) -> Finding:
    bound = bound_of(outcomes, level)
    tried = outcomes.u[outcomes.optimizer == level]
    optimizer = sweep.hyperparameter("optimizer")
    name = optimizer.levels[level] if optimizer is not None else ""
    whose = f"With {name}, a" if name else "A"
    estimate, low, high = (_within(x, tried.max()) for x in (bound.estimate, bound.low, bound.high))
    finding = Finding(
        miner="divergence", hyperparameters=("learning_rate",), quantity="safe_upper_bound", verdict="supported",
        claim=f"{whose} learning_rate up to {estimate:.3g} [{_shown(low)}, {_shown(high)}] leaves at most one run "
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
    return "no limit" if value is None else f"{value:.3g}"


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
