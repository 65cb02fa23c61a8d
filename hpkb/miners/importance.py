"""Which hyperparameters make the difference, and which of them act together.

Question
--------
Of all that the result varied over the settings that were tried, how much goes back to each hyperparameter alone,
and how much to pairs that must be chosen together? What still matters among good settings? What decides whether a run
is feasible at all?

Method
------
A Gaussian process with one length for each hyperparameter is fitted to the means of the feasible configurations and
decomposed exactly into main effects and interactions of pairs (functional ANOVA: Hutter, Hoos & Leyton-Brown 2014, *An
efficient approach for assessing hyperparameter importance*, ICML; for a process: Durrande et al. 2013), over the range
that was tried on each hyperparameter's own scale: logarithmic for a learning rate, one weight for each level of a
category. Up to a thousand configurations the stated share is the mean of the process's and that of a forest (boosted
extremely randomised trees, Geurts, Ernst & Wehenkel 2006), which errs differently. Intervals come from refits on
resampled configurations, each with lengths that the data leave open. Whether a share is more than noise is tested
apart, by an F test of the hyperparameter given the others, because a share is never negative and noise gives some to
anything. The *best quarter* is the same with every result cut at the best quarter's worst, infeasible runs counted as
such (Hutter et al. cut in the same way; Watanabe, Bansal & Hutter 2023, *PED-ANOVA*): what separates good settings from
the rest, and from each other. *Whether a run is feasible* is the same for an outcome of 0 or 1.

How to read it
--------------
A share of 54% means: were everything else averaged over, the learning rate alone would still carry 54% of the
variance. The share of a pair is what the two do together *beyond* what each does alone. What is missing to 100% is
interactions of three and more. A hyperparameter with a small share can be left at any value that was tried; one with a
small share over the whole space and a large one in the best quarter is worth tuning last, but worth tuning.

When it misleads
----------------
Shares belong to the range that was tried: a learning rate tried from 1e-4 to 3e-4 has hardly any. They count all of
the range alike, bad regions included; the best quarter says what is left of that. Infeasible runs take no part in the
shares of the result, and far-out results are cut. A hyperparameter that only some runs have, as momentum, is held at
its median elsewhere. Two that were always changed together cannot be told apart, so neither is credited, nor any pair
with one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from hpkb.findings import Finding, evidence
from hpkb.miners import Context
from hpkb.stats.effects import Effects, effects_of
from hpkb.stats.fanova import Decomposition, decompose
from hpkb.stats.forest_anova import forest_shares
from hpkb.stats.gaussian import process_of
from hpkb.stats.surrogate import configurations_of, feasible_runs
from hpkb.sweep import Sweep, metric_of

ROWS = 12  # of the chart
FOREST_CONFIGURATIONS = 1000  # beyond, a forest takes long, and the process alone is good enough
# A smooth process rounds the step between feasible and not, in the fit and in its refits alike; measured on the planted
# laws (`bench/truth.py --miner importance`), its shares scatter by so much more than its refits.
STEPPED = 1.5
GOOD = 0.25  # the best so many of the configurations


@dataclass(frozen=True)
class _Part:
    """What is decomposed: the runs with the outcome that it is of, and the words for it."""

    sweep: Sweep
    quantity: str
    of: str
    condition: str
    caveats: tuple[str, ...]
    wider: float = 1.0  # than the refits say are the intervals


def mine(context: Context) -> list[Finding]:
    """Returns the shares of hyperparameters and pairs: over all, in the best quarter, and of feasibility."""
    sweep = context.sweep
    shares = shares_of(context)
    if shares is None:
        found = [_unknown(sweep, h.name) for h in sweep.hyperparameters]
    else:
        of = f"the variance of {metric_of(sweep)} over the space that was tried"
        over = _Part(sweep, "variance_share", of, "", ())
        found = _findings(sweep, over, shares, context.effects)
    for part in (_best_quarter(sweep), _feasibility(sweep)):
        of_part = decompose(process_of(part.sweep, context.seed, bounded=True), part.wider) if part else None
        if part and of_part:
            found += _findings(sweep, part, of_part, effects_of(part.sweep))
    return found


def shares_of(context: Context) -> Decomposition | None:
    """The shares of all that the results vary: means of the process's and the forest's, the process's intervals.

    The two err differently: the process is smooth where there are cliffs, the forest steps where it is smooth. On 300
    random runs of tables that are known whole their mean is nearer to the truth than either (`bench/importance.py`).
    An interval reaches at least to the mean.
    """
    shares = decompose(context.process)
    small = context.sweep.n_configurations <= FOREST_CONFIGURATIONS
    forest = forest_shares(context.surrogate) if shares and small else None
    if shares is None or forest is None:
        return shares
    d = shares.main.size
    main, pair = (shares.main + forest[:d]) / 2, shares.pair.copy()
    above = np.triu_indices(d, 1)
    pair[above] = (pair[above] + forest[d:]) / 2
    return Decomposition(
        main, np.minimum(shares.main_low, main), np.maximum(shares.main_high, main),
        pair, np.fmin(shares.pair_low, pair), np.fmax(shares.pair_high, pair),
    )  # fmt: skip


def _best_quarter(sweep: Sweep) -> _Part | None:
    """The same runs with every result cut at the worst of the best quarter; infeasible ones stand there too."""
    y = configurations_of(sweep).y
    if y.size < 2:
        return None
    worst = float(np.quantile(y, GOOD))
    cut = np.where(feasible_runs(sweep), np.minimum(sweep.y, worst), worst)
    metric = metric_of(sweep)
    return _Part(
        replace(sweep, y=cut, infeasible=np.zeros_like(sweep.infeasible)), "best_quarter_share",
        f"the variance of {metric} within the best quarter and against the rest", "best quarter",
        ("results are cut at the worst of the best quarter, infeasible runs there too",),
    )  # fmt: skip


def _feasibility(sweep: Sweep) -> _Part | None:
    """The same runs with 1 for infeasible and 0 for feasible as their result."""
    if not 0 < sweep.infeasible_share < 1:
        return None
    failed = replace(sweep, y=sweep.infeasible.astype(float), infeasible=np.zeros_like(sweep.infeasible))
    condition = "whether a run is feasible"
    return _Part(failed, "infeasibility_share", f"what decides {condition}", condition, (), STEPPED)


def _unknown(sweep: Sweep, name: str) -> Finding:
    return Finding(
        miner="importance", hyperparameters=(name,), quantity="variance_share", verdict="insufficient",
        claim=f"How much {name} matters cannot be said: fewer than ten feasible configurations, or all alike.",
        unit="share", **evidence(sweep),
    )  # fmt: skip


def _findings(sweep: Sweep, part: _Part, shares: Decomposition, effects: Effects) -> list[Finding]:
    """One finding a hyperparameter and one a pair, the figure with the one of the largest share."""
    names = [h.name for h in sweep.hyperparameters]
    found = [
        _share(sweep, part, (name,), (shares.main[i], shares.main_low[i], shares.main_high[i]), effects.main[name])
        for i, name in enumerate(names)
    ]
    found += [
        _share(
            sweep, part, (names[i], names[j]), (shares.pair[i, j], shares.pair_low[i, j], shares.pair_high[i, j]),
            effects.pair[names[i], names[j]],
        )
        for i, j in combinations(range(len(names)), 2)
    ]  # fmt: skip
    top = int(np.argmax(shares.main))
    return [replace(f, figure=_figure(found, part)) if i == top else f for i, f in enumerate(found)]


def _share(
    sweep: Sweep, part: _Part, names: tuple[str, ...], share: Sequence[float], p_value: float | None
) -> Finding:
    estimate, low, high = (float(x) for x in share)
    low, high = min(low, estimate), max(high, estimate)
    said = _percent(estimate, low, high)
    claim, nothing = _single(part, names[0], said) if len(names) == 1 else _together(part, names, said)
    infeasible = int(sweep.infeasible.sum())
    caveats = part.caveats if infeasible == 0 or part.condition else (f"{infeasible} infeasible runs take no part",)
    return Finding(
        miner="importance", hyperparameters=names, quantity=part.quantity, verdict="supported", claim=claim,
        claim_if_insufficient=nothing, estimate=estimate, low=low, high=high, unit="share", p_value=p_value,
        caveats=caveats, condition=part.condition, **evidence(sweep),
    ).judged()  # fmt: skip


def _single(part: _Part, name: str, said: str) -> tuple[str, str]:
    return f"{name} explains {said} of {part.of}.", f"{name} has no demonstrable share in {part.of} ({said})."


def _together(part: _Part, names: tuple[str, ...], said: str) -> tuple[str, str]:
    one, other = names
    claim = f"{one} and {other} interact: together they explain {said} of {part.of} beyond what each explains alone."
    return claim, f"{one} and {other} do not demonstrably interact in {part.of} (share {said})."


def _figure(found: list[Finding], part: _Part) -> dict[str, Any]:
    """The largest shares with their intervals."""
    largest = sorted(found, key=lambda f: -float(f.estimate or 0))[:ROWS]
    rows = [
        {
            "label": " × ".join(f.hyperparameters), "estimate": f.estimate, "low": f.low, "high": f.high,
            "verdict": f.verdict,
        }
        for f in largest
    ]  # fmt: skip
    label = f"share of variance, {part.condition}" if part.condition else "share of variance"
    return {"kind": "forest", "x": {"label": label}, "rows": rows, "references": []}


def _percent(estimate: float, low: float, high: float) -> str:
    return f"{estimate:.0%} [{100 * low:.0f}, {100 * high:.0f}]"
