"""What the ridges of several tasks say together: the claims across tasks that their two miners share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpkb.findings import Finding, Verdict
from hpkb.miners._ridge import ALPHA, NO_INTERACTION, Question, exponent_verdict, laws, percent
from hpkb.miners._words import interval
from hpkb.stats.meta import NORMAL, Pooled, fisher, random_effects


def combine_exponents(asked: Question, findings: Sequence[Finding]) -> Finding | None:
    """Returns what the tasks together say of the exponent; None where no task was asked."""
    own = [f for f in findings if f.quantity == asked.quantity and f.task is not None]
    if not own:
        return None
    known = [f for f in own if _numbers(f) is not None]
    if len(known) < 2:
        claim = f"Only {len(known)} of {len(own)} tasks gives an exponent of {asked.words} with a closed interval."
        return _together(asked, own, asked.quantity, claim, "insufficient", figure=_forest(asked, own, None))
    numbers = np.array([_numbers(f) for f in known])
    pooled = random_effects(numbers[:, 0], (numbers[:, 2] - numbers[:, 1]) / (2 * NORMAL))
    rising = [f for f in known if f.verdict == "supported" and float(f.estimate or 0) > 0]
    falling = [f for f in known if f.verdict == "supported" and float(f.estimate or 0) < 0]
    verdict: Verdict = "rejected" if rising and falling else exponent_verdict(pooled.low, pooled.high, pooled.p_value)
    return _together(
        asked, own, asked.quantity, _claim_over_tasks(asked, pooled, len(rising), len(falling), verdict), verdict,
        pooled, _forest(asked, own, pooled), _claim_over_tasks(asked, pooled, 0, 0, "insufficient"),
    )  # fmt: skip


def _numbers(finding: Finding) -> tuple[float, float, float] | None:
    """Estimate, low and high where all three are there."""
    values = (finding.estimate, finding.low, finding.high)
    if all(isinstance(x, float) for x in values):
        estimate, low, high = (float(x) for x in values if x is not None)
        return (estimate, low, high) if high > low else None
    return None


def _claim_over_tasks(asked: Question, pooled: Pooled, rising: int, falling: int, verdict: Verdict) -> str:
    law = f"lr* goes as {asked.words} to the power {interval(pooled.estimate, pooled.low, pooled.high, decimals=2)}"
    spread = ""
    if pooled.prediction_low is not None and pooled.prediction_high is not None:
        spread = f" A further task is expected at {pooled.prediction_low:.2f} to {pooled.prediction_high:.2f}."
    if rising and falling:
        return (
            f"There is no general rule of the best learning rate in {asked.words}: "
            f"it rises on {_tasks(rising)} and falls on {_tasks(falling)}."
        )
    compared = laws(asked, pooled.low, pooled.high)
    if verdict == "supported":
        agree = f"{pooled.agreement:.0%} of them agree in sign"
        return f"Over {pooled.n} tasks {law}; {agree}. {compared}{spread}"
    if verdict == "rejected":
        return f"Over {pooled.n} tasks the best learning rate does not follow {asked.words}: {law}. {compared}{spread}"
    return f"Over {pooled.n} tasks it is not settled how the best learning rate goes with {asked.words}: {law}.{spread}"


def _tasks(n: int) -> str:
    return "one task" if n == 1 else f"{n} tasks"


def combine_shares(asked: Question, findings: Sequence[Finding]) -> Finding | None:
    """Returns in how many tasks learning rate and knob interact; None where no task was asked."""
    own = [f for f in findings if f.quantity == "interaction_share" and f.task is not None]
    known = [(f, n) for f in own if (n := _numbers(f)) is not None and f.p_value is not None]
    if not own:
        return None
    pair = f"learning rate and {asked.words}"
    if len(known) < 2:
        claim = f"Only {len(known)} of {len(own)} tasks says whether {pair} interact."
        return _together(asked, own, "interaction_share", claim, "insufficient")
    numbers = np.array([n for _, n in known])
    pooled = random_effects(numbers[:, 0], (numbers[:, 2] - numbers[:, 1]) / (2 * NORMAL))
    p_value = fisher([f.p_value for f, _ in known if f.p_value is not None])
    found = sum(f.verdict == "supported" for f, _ in known)
    low, high = max(pooled.low, 0.0), min(pooled.high, 1.0)
    share = f"on average {percent(pooled.estimate)} ({percent(low)} to {percent(high)}) of the variance"
    count = f"{pair.capitalize()} interact on {found} of {len(known)} tasks, {share}."
    verdict: Verdict = "insufficient"
    if high <= NO_INTERACTION:
        verdict, count = "rejected", f"{pair.capitalize()} can be tuned one after the other: they interact for {share}."
    elif p_value <= ALPHA and 2 * found >= len(known):
        verdict = "supported"
    bounded = Pooled(pooled.estimate, low, high, p_value, pooled.tau, pooled.i_squared, None, None, 1.0, pooled.n)
    return _together(asked, own, "interaction_share", count, verdict, bounded)


def _together(
    asked: Question, findings: Sequence[Finding], quantity: str, claim: str, verdict: Verdict,
    pooled: Pooled | None = None, figure: dict[str, Any] | None = None, unsettled: str = "",
) -> Finding:  # fmt: skip
    runs = sum(f.n_runs for f in findings)
    caveats = [f"I² = {pooled.i_squared:.0%}, standard deviation between tasks {pooled.tau:.2g}."] if pooled else []
    return Finding(
        miner=asked.miner, task=None, hyperparameters=asked.hyperparameters, quantity=quantity, claim=claim,
        verdict=verdict, claim_if_insufficient=unsettled,
        estimate=pooled.estimate if pooled else None, low=pooled.low if pooled else None,
        high=pooled.high if pooled else None, p_value=pooled.p_value if pooled else None,
        unit=findings[0].unit, n_runs=runs, n_configurations=sum(f.n_configurations for f in findings),
        n_tasks=len(findings), n_seeds=max(f.n_seeds for f in findings),
        infeasible_share=sum(f.infeasible_share * f.n_runs for f in findings) / max(runs, 1),
        caveats=tuple(caveats), run_ids=tuple(run for f in findings for run in f.run_ids), figure=figure or {},
    )  # fmt: skip


def _forest(asked: Question, findings: Sequence[Finding], pooled: Pooled | None) -> dict[str, Any]:
    rows = [
        {"label": f.task, "estimate": f.estimate, "low": f.low, "high": f.high, "verdict": f.verdict}
        for f in findings
    ]
    references = [{"label": law.label, "value": law.exponent} for law in asked.laws]
    return {"kind": "forest", "x": {"label": "exponent"}, "rows": rows, "references": references}
