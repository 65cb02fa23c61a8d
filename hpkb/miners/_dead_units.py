"""How many units no example activates, by the levels of a category: for the miners of activation and initialisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy.special import stdtr, stdtrit
from scipy.stats import wilcoxon

from hpkb.findings import Finding, evidence
from hpkb.miners._pairs import Pairs
from hpkb.miners._words import interval
from hpkb.stats.contrast import Contrast, Groups
from hpkb.stats.slopes import Measured, measured, slope
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import FloatArray, Sweep

FEWEST = 6  # configurations of a level
FEW = 0.01  # so many dead units are none worth a word


def dead_unit_findings(asked: Pairs, sweep: Sweep, groups: Groups) -> Iterator[Finding]:
    """Yields the mean share of each level, whether it is more than a hundredth, and the difference of each pair.

    The share of a run is what capture measured last; the unit is the configuration.
    """
    share = np.where(feasible_runs(sweep), _of_runs(sweep), np.nan)
    if not np.isfinite(share).any():
        return
    for code, label in enumerate(groups.labels):
        at = measured(sweep, share, groups.codes == code)
        if at.y.size >= FEWEST:
            yield _level(asked, sweep, label, at)
    for i, j in combinations(range(len(groups.labels)), 2):
        found = _pair(asked, sweep, groups, share, i, j)
        if found is not None:
            yield found


def _of_runs(sweep: Sweep) -> FloatArray:
    """The share that each run ended with, (n_runs,): the curve's tail, else the number that was recorded at the end."""
    tail = sweep.records.feature("dead_unit_share", "tail_mean")
    return np.where(np.isfinite(tail), tail, sweep.records.numbers("dead_unit_share"))


def _level(asked: Pairs, sweep: Sweep, label: str, at: Measured) -> Finding:
    """The mean share of a level with Student's interval over configurations.

    That it exceeds a hundredth must show on the signed ranks as well (Wilcoxon 1945), so that one dead model among
    many sound ones makes no claim.
    """
    n, mean = at.y.size, float(at.y.mean())
    error = float(at.y.std(ddof=1)) / n**0.5
    half = float(stdtrit(n - 1, 0.975)) * error
    low, high = max(mean - half, 0.0), min(mean + half, 1.0)
    p = float(stdtr(n - 1, -(mean - FEW) / error)) if error > 0 else float(mean <= FEW) or 2.0 ** (1 - n)
    ranks = float(wilcoxon(at.y - FEW, alternative="greater").pvalue) if np.any(at.y != FEW) else 1.0
    said = f"{mean:.1%} (95% interval {100 * low:.1f} to {100 * high:.1f}%) of the units are dead at the end"
    finding = Finding(
        miner=asked.miner, hyperparameters=asked.hyperparameters, quantity="dead_unit_share", verdict="supported",
        claim=f"With {label}, {said}.", claim_if_insufficient=f"With {label}, {said}: not shown to be more than 1%.",
        estimate=mean, low=low, high=high, unit="share of units", p_value=min(1.0, max(p, ranks)), condition=label,
        **evidence(sweep),
    ).judged()  # fmt: skip
    if finding.verdict == "insufficient" and high <= FEW:
        return replace(finding, verdict="rejected", claim=f"With {label}, hardly a unit is dead: {said}.", caveats=())
    return finding


def _pair(asked: Pairs, sweep: Sweep, groups: Groups, share: FloatArray, i: int, j: int) -> Finding | None:
    """The difference of two levels with all other hyperparameters held; None where it cannot be told."""
    at = measured(sweep, share, (groups.codes == i) | (groups.codes == j))
    x = (groups.codes[at.first] == i) * 1.0
    if min(x.sum(), (1 - x).sum()) < FEWEST or np.ptp(at.y) == 0:
        return None
    found = slope(sweep, at, x, groups.own)
    if found is None:
        return None
    pair = asked.oriented(Contrast(groups.labels[i], groups.labels[j]))
    sign = 1.0 if pair.a == groups.labels[i] else -1.0
    estimate, half = sign * found.estimate, found.half_width
    number = interval(100 * estimate, 100 * (estimate - half), 100 * (estimate + half))
    more = "more" if estimate > 0 else "fewer"
    return Finding(
        miner=asked.miner, hyperparameters=asked.hyperparameters, quantity="dead_unit_difference", verdict="supported",
        claim=f"With {pair.a} {more} units are dead than with {pair.b}: {number} points.",
        claim_if_insufficient=f"Whether {pair.a} or {pair.b} leaves more units dead is not settled: {number} points.",
        estimate=estimate, low=estimate - half, high=estimate + half, unit="share of units", p_value=found.p_value,
        condition=f"{pair.a} against {pair.b}", **evidence(sweep),
    ).judged()  # fmt: skip
