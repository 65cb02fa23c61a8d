"""What several tasks together say of a hyperparameter's best value: optima on its own scale, plateaus laid over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpkb.findings import LEVEL, Finding
from hpkb.stats.meta import NORMAL, Pooled, fisher, random_effects

LEAST = 1e-3  # of a standard error, on the own scale


def together(findings: Sequence[Finding]) -> list[Finding]:
    """Returns one finding for each number that two or more tasks have an optimum of, at the best optimizer of each."""
    asked: dict[str, list[Finding]] = {}
    for f in findings:
        if f.quantity == "optimum" and not f.condition and f.task is not None and _is_usable(f):
            asked.setdefault(f.hyperparameters[0], []).append(f)
    return [_over(group) for group in asked.values() if len(group) > 1]


def _is_usable(f: Finding) -> bool:
    numbers = (f.estimate, f.low, f.high)
    if not all(isinstance(x, float) for x in numbers) or f.p_value is None or not f.figure.get("plateau"):
        return False
    return f.figure["x"]["scale"] != "log" or all(isinstance(x, float) and x > 0 for x in numbers)


def _over(findings: Sequence[Finding]) -> Finding:
    log, name = findings[0].figure["x"]["scale"] == "log", findings[0].hyperparameters[0]
    scaled = np.array([[_own(x, log) for x in (f.estimate, f.low, f.high)] for f in findings])
    pooled = random_effects(scaled[:, 0], np.maximum((scaled[:, 2] - scaled[:, 1]) / (2 * NORMAL), LEAST))
    p_value = fisher([f.p_value for f in findings if f.p_value is not None])
    estimate, low, high = (_typed(x, log) for x in (pooled.estimate, pooled.low, pooled.high))
    number = f"{estimate:.3g} [{low:.3g}, {high:.3g}]"
    said = f"over {pooled.n} tasks the best {name} is {number} on average{_next(pooled, log)}"
    matters = [f for f in findings if f.p_value is not None and f.p_value <= LEVEL]
    claim, is_common = _plateaus(name, matters)
    runs = sum(f.n_runs for f in findings)
    unsettled = f"{said[0].upper()}{said[1:]}"
    return Finding(
        miner="response", task=None, hyperparameters=(name,), quantity="optimum",
        claim=f"{unsettled}; {claim}.", claim_if_insufficient=f"{unsettled}, if it matters at all.",
        verdict="supported" if is_common else "rejected", estimate=estimate, low=low, high=high,
        unit=findings[0].unit, p_value=p_value, n_runs=runs,
        n_configurations=sum(f.n_configurations for f in findings), n_tasks=len(findings),
        n_seeds=max(f.n_seeds for f in findings),
        infeasible_share=sum(f.infeasible_share * f.n_runs for f in findings) / max(runs, 1),
        caveats=(f"I² = {pooled.i_squared:.0%}; it matters demonstrably on {len(matters)} of {pooled.n} tasks",),
        run_ids=tuple(run for f in findings for run in f.run_ids), figure=_figure(name, findings),
    ).judged()  # fmt: skip


def _plateaus(name: str, findings: Sequence[Finding]) -> tuple[str, bool]:
    """What the plateaus of the tasks where it matters have in common, and whether that is anything."""
    if not findings:
        return "it demonstrably matters on none", True
    low = max(float(f.figure["plateau"][0]) for f in findings)
    high = min(float(f.figure["plateau"][1]) for f in findings)
    if low <= high:
        return f"{low:.3g} to {high:.3g} is as good within noise on every task where it matters", True
    return f"there is no {name} that is as good within noise on every task", False


def _next(pooled: Pooled, log: bool) -> str:
    if pooled.prediction_low is None or pooled.prediction_high is None:
        return ""
    return f"; that of a new task is expected from {_typed(pooled.prediction_low, log):.2g} to " + (
        f"{_typed(pooled.prediction_high, log):.2g}"
    )


def _own(x: Any, log: bool) -> float:
    return math.log(x) if log else float(x)


def _typed(x: float, log: bool) -> float:
    return math.exp(min(max(x, -700.0), 700.0)) if log else x


def _figure(name: str, findings: Sequence[Finding]) -> dict[str, Any]:
    rows = [
        {"label": f.task, "estimate": f.estimate, "low": f.low, "high": f.high, "verdict": f.verdict} for f in findings
    ]
    return {"kind": "forest", "x": {"label": f"best {name}"}, "rows": rows, "references": []}
