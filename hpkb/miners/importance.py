"""Which hyperparameters make the difference, and which of them act together.

Question
--------
Of all that the result varied over the settings that were tried, how much goes back to each hyperparameter alone,
and how much to pairs that must be chosen together?

Method
------
A forest is fitted to the means of the feasible configurations and decomposed exactly into main effects and
interactions of pairs (functional ANOVA: Hutter, Hoos & Leyton-Brown 2014, *An efficient approach for assessing
hyperparameter importance*, ICML), over the range that was tried on each hyperparameter's own scale: logarithmic for
a learning rate, one weight for each level of a category. Intervals come from forests fitted to resampled
configurations. Whether a share is more than noise is tested apart, by an F test of the hyperparameter given the
others, because a share is never negative and a forest gives some to anything.

How to read it
--------------
A share of 54% means: were everything else averaged over, the learning rate alone would still carry 54% of the
variance. The share of a pair is what the two do together *beyond* what each does alone. What is missing to 100% is
interactions of three and more. A hyperparameter with a small share can be left at any value that was tried.

When it misleads
----------------
Shares belong to the range that was tried: a learning rate tried from 1e-4 to 3e-4 has hardly any. They count all of
the range alike, bad regions included, so that what matters near the optimum can be hidden by what ruins a run.
Infeasible runs take no part (see *divergence*), and far-out results are cut. A hyperparameter that only some runs
have, as momentum, is held at its median elsewhere. Two that were always changed together cannot be told apart.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

from hpkb.findings import Finding, evidence
from hpkb.miners import Context
from hpkb.stats.effects import effects_of
from hpkb.stats.fanova import Decomposition, decompose
from hpkb.sweep import Sweep, metric_of

ROWS = 12  # of the chart


def mine(context: Context) -> list[Finding]:
    """Returns the share of variance of each hyperparameter and of each pair."""
    sweep = context.sweep
    shares = decompose(context.surrogate)
    if shares is None:
        return [_unknown(sweep, h.name) for h in sweep.hyperparameters]
    effects, names = effects_of(sweep), [h.name for h in sweep.hyperparameters]
    found = [_main(sweep, shares, i, effects.main[name]) for i, name in enumerate(names)]
    pairs = combinations(range(len(names)), 2)
    found += [_pair(sweep, shares, i, j, effects.pair[names[i], names[j]]) for i, j in pairs]
    top = max(range(len(names)), key=lambda i: float(shares.main[i]))
    return [_with_figure(f, found) if i == top else f for i, f in enumerate(found)]


def _unknown(sweep: Sweep, name: str) -> Finding:
    return Finding(
        miner="importance", hyperparameters=(name,), quantity="variance_share", verdict="insufficient",
        claim=f"How much {name} matters cannot be said: fewer than ten feasible configurations, or all alike.",
        unit="share", **evidence(sweep),
    )  # fmt: skip


def _main(sweep: Sweep, shares: Decomposition, i: int, p_value: float | None) -> Finding:
    name = sweep.hyperparameters[i].name
    estimate, low, high = float(shares.main[i]), float(shares.main_low[i]), float(shares.main_high[i])
    said = _percent(estimate, low, high)
    return Finding(
        miner="importance", hyperparameters=(name,), quantity="variance_share", verdict="supported",
        claim=f"{name} explains {said} of the variance of {metric_of(sweep)} over the space that was tried.",
        claim_if_insufficient=f"{name} has no demonstrable effect on {metric_of(sweep)} (share {said}).",
        estimate=estimate, low=low, high=high, unit="share", p_value=p_value,
        caveats=_caveats(sweep), **evidence(sweep),
    ).judged()  # fmt: skip


def _pair(sweep: Sweep, shares: Decomposition, i: int, j: int, p_value: float | None) -> Finding:
    one, other = sweep.hyperparameters[i].name, sweep.hyperparameters[j].name
    estimate, low, high = (
        float(part[i, j]) for part in (shares.pair, shares.pair_low, shares.pair_high)
    )
    said = _percent(estimate, low, high)
    return Finding(
        miner="importance", hyperparameters=(one, other), quantity="variance_share", verdict="supported",
        claim=f"{one} and {other} interact: together they explain {said} of the variance of {metric_of(sweep)} "
        "beyond what each explains alone.",
        claim_if_insufficient=f"{one} and {other} do not demonstrably interact (share {said}).",
        estimate=estimate, low=low, high=high, unit="share", p_value=p_value,
        caveats=_caveats(sweep), **evidence(sweep),
    ).judged()  # fmt: skip


def _with_figure(finding: Finding, found: list[Finding]) -> Finding:
    return replace(finding, figure=_figure(found))


def _figure(found: list[Finding]) -> dict[str, Any]:
    """The largest shares with their intervals."""
    largest = sorted(found, key=lambda f: -float(f.estimate or 0))[:ROWS]
    rows = [
        {
            "label": " × ".join(f.hyperparameters), "estimate": f.estimate, "low": f.low, "high": f.high,
            "verdict": f.verdict,
        }
        for f in largest
    ]  # fmt: skip
    return {"kind": "forest", "x": {"label": "share of variance"}, "rows": rows, "references": []}


def _percent(estimate: float, low: float, high: float) -> str:
    return f"{estimate:.0%} [{100 * low:.0f}, {100 * high:.0f}]"


def _caveats(sweep: Sweep) -> tuple[str, ...]:
    infeasible = int(sweep.infeasible.sum())
    return (f"{infeasible} infeasible runs take no part",) if infeasible else ()
