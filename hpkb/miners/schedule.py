"""Which learning-rate schedule gives the better result, each at its own best learning rate.

Question
--------
Is a cosine better than a constant rate, a step, a linear decay, one cycle, a cyclical rate, a decay on plateaus? Do
warm restarts pay? Does the answer depend on the optimizer, or on how long training is?

Method
------
Schedules differ in the learning rate that suits them, so a comparison at one common rate favours the schedule that it
suits. Here each has a curve of its own along the learning rate: one smooth shape for all (penalised splines, Eilers &
Marx 1996), moved and scaled for each schedule, and moved by the optimizer, the batch size and the weight decay; all
other hyperparameters are held. What is compared are the lowest points of the curves. The unit is the configuration,
weighted by its seeds; the errors allow for scatter of any size anywhere (HC3, MacKinnon & White 1985) and for what is
not known of shape and place; the p-value must hold on the ranks of the results as well. Warm restarts (Loshchilov &
Hutter 2017) are compared with the plain cosine, else with all schedules without restarts; cyclical rates are those of
Smith (2017). Tasks are never pooled: each difference is divided by the spread of its task's results, and these are
combined by random-effects meta-analysis (REML; Hartung & Knapp 2001).

How to read it
--------------
*Supported*: the first schedule goes with a better (or worse) result than the second, each at its own best rate.
*Rejected*: the whole interval lies within the scatter over seeds, so the choice does not matter. The caveats say how
many times larger the best rate of one is: a schedule that ends at zero usually bears a higher one.

When it misleads
----------------
Schedules interact with the budget: what wins in ten epochs may lose in a hundred (Schmidt, Schneider & Hennig 2021
found no schedule best everywhere). The difference by budget is told where runs suffice. Where the best learning rate
of one schedule lies at the edge of what was tried, no verdict is given. Steps and restarts have settings of their own
(when, by how much): a badly set step is no evidence against steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from hpkb.findings import Finding
from hpkb.miners import Context
from hpkb.miners._pairs import (
    Pairs,
    against,
    pair_finding,
    pairs_over_tasks,
    split_finding,
)
from hpkb.stats.contrast import Contrast, Groups, contrasts_between, groups_of
from hpkb.stats.noise import floor
from hpkb.sweep import BoolArray, Sweep

SCHEDULES = Pairs("schedule", ("lr_schedule",), ("constant", "none", "cosine", "linear", "step"))
RESTARTS = Pairs("schedule", ("lr_schedule",), quantity="restarts_vs_plain")
WITH_RESTARTS = re.compile(r"restart|sgdr", re.IGNORECASE)
FEWEST_OF_A_PART = 30  # runs, for a comparison of its own
SPLIT_PAIRS = 6


def mine(context: Context) -> list[Finding]:
    """Returns the difference of each pair of schedules, that of restarts, and what optimizer or budget changes."""
    sweep = context.sweep
    h = sweep.hyperparameter("lr_schedule")
    if h is None or h.scale != "category":
        return []
    groups, noise = groups_of(h), floor(sweep)
    pairs = [SCHEDULES.oriented(c) for c in contrasts_between(sweep, groups)]
    found = [pair_finding(SCHEDULES, sweep, c, groups.codes, groups.labels, noise=noise) for c in pairs]
    found += _restarts(sweep, groups, pairs, noise)
    return [*found, *_by_optimizer(sweep, groups), *_by_budget(sweep, groups)]


def _restarts(sweep: Sweep, groups: Groups, pairs: Sequence[Contrast], noise: float | None) -> Iterator[Finding]:
    """Warm restarts against the plain cosine where there is one, else against all schedules without restarts."""
    restarts = [label for label in groups.labels if WITH_RESTARTS.search(label)]
    if not restarts or len(restarts) == len(groups.labels):
        return
    cosine = next((label for label in groups.labels if label.lower() in ("cosine", "cosine_annealing")), None)
    words = dict.fromkeys(restarts, "warm restarts")
    words |= {label: "no restarts" for label in groups.labels if label not in restarts and cosine is None}
    words |= {cosine: "plain cosine"} if cosine else {}
    labels = ("warm restarts", "plain cosine" if cosine else "no restarts")
    code = [float(labels.index(words[label])) if label in words else np.nan for label in groups.labels]
    there = ~np.isnan(groups.codes)
    codes = np.where(there, np.array(code)[np.where(there, groups.codes, 0).astype(np.int64)], np.nan)
    if cosine and len(restarts) == 1:  # one of the pairs already
        found = [replace(c, a=labels[0], b=labels[1]) for c in pairs if (c.a, c.b) == (restarts[0], cosine)]
    else:
        found = contrasts_between(sweep, Groups(codes, labels, groups.own))
    for c in found:
        yield pair_finding(RESTARTS, sweep, c, codes, labels, noise=noise)


def _by_optimizer(sweep: Sweep, groups: Groups) -> Iterator[Finding]:
    """Whether the pairs differ by as much with the two most common optimizers."""
    h = sweep.hyperparameter("optimizer")
    if h is None or h.scale != "category":
        return
    counts = [int((h.values == i).sum()) for i in range(len(h.levels))]
    two = sorted(range(len(h.levels)), key=lambda i: (-counts[i], h.levels[i]))[:2]
    parts = {h.levels[i]: np.asarray(h.values == i) for i in sorted(two, key=lambda i: h.levels[i])}
    yield from _split(sweep, groups, "optimizer", parts)


def _by_budget(sweep: Sweep, groups: Groups) -> Iterator[Finding]:
    """Whether the pairs differ by as much in short and in long training."""
    h = next((h for h in sweep.hyperparameters if h.name in ("epochs", "steps") and h.scale != "category"), None)
    if h is None:
        return
    middle = float(np.nanmedian(h.values))
    above = h.values > middle if (h.values > middle).sum() >= FEWEST_OF_A_PART else h.values >= middle
    edge = float(np.min(h.values[above], initial=np.inf))
    parts = {f"fewer than {edge:g} {h.name}": h.values < edge, f"{edge:g} {h.name} or more": h.values >= edge}
    yield from _split(sweep, groups, h.name, parts)


def _split(sweep: Sweep, groups: Groups, by: str, parts: dict[str, BoolArray]) -> Iterator[Finding]:
    if len(parts) < 2 or min(int(rows.sum()) for rows in parts.values()) < FEWEST_OF_A_PART:
        return
    found = [
        {against(o): o for c in contrasts_between(sweep, groups, rows) for o in [SCHEDULES.oriented(c)]}
        for rows in parts.values()
    ]
    both = [pair for pair in found[0] if pair in found[1]]
    stated = (
        split_finding(SCHEDULES, sweep, by, dict(zip(parts, (found[0][pair], found[1][pair]), strict=True)), (by,))
        for pair in both
    )
    yield from islice((f for f in stated if f is not None), SPLIT_PAIRS)


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of each pair of schedules and of warm restarts."""
    return [f for q in ("paired_difference", "restarts_vs_plain") for f in pairs_over_tasks(findings, q)]
