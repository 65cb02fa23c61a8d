"""What the tasks together say of a number that each of them states with its interval: for miners without an own way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hpkb.findings import LEVEL, Finding, Verdict
from hpkb.miners._words import brief
from hpkb.stats.meta import NORMAL, Pooled, random_effects


@dataclass(frozen=True)
class Across:
    """How a quantity is pooled and put in words.

    `above` and `below` say what a value beyond `null` means, as a clause after "Over 3 tasks "; `unsettled` is the
    clause where neither is shown. On the log scale the estimates are positive, pooled as logarithms and stated as such.
    """

    quantity: str
    above: str
    below: str
    unsettled: str
    null: float = 0.0
    is_log: bool = False
    digits: int = 2


def combine(asked: Across, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yields one finding for each set of hyperparameters and condition that two or more tasks state in one unit.

    Of several units the one of most tasks is taken: a finding is one answer to one question.
    """
    groups: dict[tuple[tuple[str, ...], str, str], list[Finding]] = {}
    for f in findings:
        if f.quantity == asked.quantity and f.task is not None and _known(f, asked):
            groups.setdefault((f.hyperparameters, f.condition, f.unit), []).append(f)
    largest: dict[tuple[tuple[str, ...], str], list[Finding]] = {}
    for (names, condition, _), group in groups.items():
        if len(group) > max(len(largest.get((names, condition), [])), 1):
            largest[names, condition] = group
    yield from (_together(asked, group) for group in largest.values())


def _known(finding: Finding, asked: Across) -> bool:
    numbers = (finding.estimate, finding.low, finding.high)
    if not all(isinstance(x, float) and np.isfinite(x) for x in numbers):
        return False
    return float(finding.low or 0) < float(finding.high or 0) and (not asked.is_log or float(finding.low or 0) > 0)


def _together(asked: Across, findings: Sequence[Finding]) -> Finding:
    first, runs = findings[0], sum(f.n_runs for f in findings)
    numbers = np.array([[float(x or 0) for x in (f.estimate, f.low, f.high)] for f in findings])
    scaled = np.log(numbers) if asked.is_log else numbers - asked.null
    pooled = random_effects(scaled[:, 0], (scaled[:, 2] - scaled[:, 1]) / (2 * NORMAL))
    estimate, low, high = (_stated(x, asked) for x in (pooled.estimate, pooled.low, pooled.high))
    verdict, claim, unsettled = _claim(asked, findings, pooled, (estimate, low, high))
    rows = [
        {"label": f.task, "estimate": f.estimate, "low": f.low, "high": f.high, "verdict": f.verdict} for f in findings
    ]
    return Finding(
        miner=first.miner, task=None, hyperparameters=first.hyperparameters, quantity=first.quantity, claim=claim,
        claim_if_insufficient=unsettled, verdict=verdict, estimate=estimate, low=low, high=high, unit=first.unit,
        p_value=None if asked.is_log else pooled.p_value, condition=first.condition, n_runs=runs,
        n_configurations=sum(f.n_configurations for f in findings), n_tasks=len(findings),
        n_seeds=max(f.n_seeds for f in findings),
        infeasible_share=sum(f.infeasible_share * f.n_runs for f in findings) / max(runs, 1),
        caveats=(f"I² = {pooled.i_squared:.0%}, {pooled.agreement:.0%} of the tasks agree in sign.",),
        run_ids=tuple(run for f in findings for run in f.run_ids),
        figure={"kind": "forest", "x": {"label": first.unit or asked.quantity}, "rows": rows,
                "references": [] if asked.is_log else [{"label": "none", "value": asked.null}]},
    )  # fmt: skip


def _stated(x: float, asked: Across) -> float:
    return float(np.exp(x)) if asked.is_log else x + asked.null


def _claim(
    asked: Across, findings: Sequence[Finding], pooled: Pooled, interval: tuple[float, float, float]
) -> tuple[Verdict, str, str]:
    """The verdict, its claim, and the claim of none."""
    a, low, high = (brief(x, asked.digits) if asked.is_log else f"{x:.{asked.digits}f}" for x in interval)
    over, number = f"Over {pooled.n} tasks", f"{a} (95% interval {low} to {high})"
    unsettled = f"{over} {asked.unsettled}{'' if asked.is_log else ':'} {number}."
    signs = [float(f.estimate or 0) > asked.null for f in findings if f.verdict == "supported"]
    if not asked.is_log and any(signs) and not all(signs):
        split = f"{asked.above} on {sum(signs)}, and {asked.below} on {len(signs) - sum(signs)}"
        return "rejected", f"There is no general rule over {pooled.n} tasks: {split}.", unsettled
    if asked.is_log or pooled.p_value > LEVEL:
        return "insufficient", unsettled, unsettled
    return "supported", f"{over} {asked.above if pooled.estimate > 0 else asked.below}: {number}.", unsettled
