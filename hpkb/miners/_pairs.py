"""What is said of two levels of a category, each at its own best learning rate: claims, caveats, figures, all tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpkb.findings import LEVEL, Finding, Verdict, evidence
from hpkb.miners._across import Across
from hpkb.miners._across import combine as over_tasks
from hpkb.miners._words import interval
from hpkb.stats.contrast import Contrast
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import FloatArray, Sweep, direction_of, metric_of

POINTS = 400  # of a figure


@dataclass(frozen=True)
class Pairs:
    """What a miner compares: its name, the hyperparameters, and the levels that are compared against, first of all."""

    miner: str
    hyperparameters: tuple[str, ...]
    baselines: tuple[str, ...] = ()
    quantity: str = "paired_difference"

    def oriented(self, c: Contrast) -> Contrast:
        """The contrast with what is compared against as `b`: a baseline, else the first in the alphabet."""
        return flipped(c) if self._rank(c.a) < self._rank(c.b) else c

    def _rank(self, level: str) -> tuple[int, str]:
        name = level.lower()
        return (self.baselines.index(name) if name in self.baselines else len(self.baselines), level)


def flipped(c: Contrast) -> Contrast:
    """The contrast of b less a."""
    low, high = (None if x is None else 1 / max(x, 1e-300) for x in (c.rate_high, c.rate_low))
    return replace(
        c, a=c.b, b=c.a, estimate=None if c.estimate is None else -c.estimate, n_a=c.n_b, n_b=c.n_a,
        infeasible_a=c.infeasible_b, infeasible_b=c.infeasible_a, best_a=c.best_b, best_b=c.best_a, score=-c.score,
        rate_ratio=None if c.rate_ratio is None else 1 / max(c.rate_ratio, 1e-300), rate_low=low, rate_high=high,
        value_a=c.value_b, value_b=c.value_a, error_a=c.error_b, error_b=c.error_a,
    )  # fmt: skip


def against(c: Contrast) -> str:
    """The condition of a pair's finding."""
    return f"{c.a} against {c.b}"


def pair_finding(
    asked: Pairs, sweep: Sweep, c: Contrast, codes: FloatArray, labels: Sequence[str], *, condition: str = "",
    notes: Sequence[str] = (), noise: float | None = None,
) -> Finding:  # fmt: skip
    """Returns the finding on one oriented pair; `codes` (n_runs,) and `labels` are the groups it was drawn from."""
    condition = condition or against(c)
    if c.estimate is None:
        return Finding(
            miner=asked.miner, hyperparameters=asked.hyperparameters, quantity=asked.quantity, verdict="insufficient",
            claim=f"Whether {c.a} or {c.b} is better cannot be said: {c.reason}.", condition=condition,
            caveats=tuple(notes), **evidence(sweep),
        )  # fmt: skip
    verdict = _verdict(c, noise)
    sign, metric = direction_of(sweep), metric_of(sweep)
    low, high = sorted((sign * (c.estimate - c.half_width), sign * (c.estimate + c.half_width)))
    estimate = sign * c.estimate
    number = f"{metric} differs by {interval(estimate, low, high)}"
    way = "better" if c.estimate < 0 else "worse"
    where = _where(c)
    claims: dict[Verdict, str] = {
        "supported": f"The result with {c.a} is {way} than with {c.b}, {where}: {number}.",
        "rejected": f"{_capital(c.a)} and {c.b} differ by less than seeds do, {where}: {number}.",
        "insufficient": f"Whether {c.a} or {c.b} is better is not settled ({where}): {number}.",
    }
    return Finding(
        miner=asked.miner, hyperparameters=asked.hyperparameters, quantity=asked.quantity, claim=claims[verdict],
        claim_if_insufficient=claims["insufficient"], verdict=verdict, estimate=estimate, low=low, high=high,
        unit=metric, p_value=c.p_value, condition=condition, caveats=(*_caveats(c), *notes),
        figure=_figure(asked, sweep, c, codes, labels), **evidence(sweep),
    )  # fmt: skip


def _verdict(c: Contrast, noise: float | None) -> Verdict:
    if c.estimate is None or c.p_value is None or not _is_fair(c):
        return "insufficient"
    if c.p_value <= LEVEL and abs(c.estimate) > c.half_width:
        return "supported"
    return "rejected" if noise is not None and abs(c.estimate) + c.half_width <= noise else "insufficient"


def _is_fair(c: Contrast) -> bool:
    """Whether each was at its own best learning rate, or none could be better than another."""
    return c.at_own_best or c.reason in ("the learning rate shows no effect", "the learning rate was not varied")


def _where(c: Contrast) -> str:
    if c.at_own_best:
        return "each at its own best learning rate"
    if c.reason == "the learning rate shows no effect":
        return "whatever the learning rate"
    return "at the learning rate that all had" if c.reason == "the learning rate was not varied" else "at common rates"


def _caveats(c: Contrast) -> Iterator[str]:
    yield f"{c.n_a} configurations with {c.a}, {c.n_b} with {c.b}; all other hyperparameters are held."
    if c.reason:
        yield f"Not each at its own best learning rate: {c.reason}."
    elif c.rate_ratio is not None:
        number = interval(c.rate_ratio, c.rate_low, c.rate_high)
        yield f"The best learning rate with {c.a} is {number} times that with {c.b}."
    if max(c.infeasible_a, c.infeasible_b) > 0:
        yield f"Infeasible runs are left out: {c.infeasible_a:.0%} with {c.a}, {c.infeasible_b:.0%} with {c.b}."


def _figure(
    asked: Pairs, sweep: Sweep, c: Contrast, codes: FloatArray, labels: Sequence[str]
) -> dict[str, Any]:
    """The runs of the two levels, and where each stands at its own best; `spread` brings the tasks to one scale."""
    sign = direction_of(sweep)
    rows = np.flatnonzero(np.isin(codes, [labels.index(c.a), labels.index(c.b)]))
    known = np.where(feasible_runs(sweep), sweep.y, np.nan)[rows]
    spread = float(np.subtract(*np.nanquantile(known, [0.75, 0.25]))) / 1.349
    points = [
        {"x": labels[int(codes[i])], "y": float(sign * sweep.y[i]) if np.isfinite(sweep.y[i]) else None,
         "run_id": sweep.run_ids[i], "infeasible": bool(sweep.infeasible[i])}
        for i in rows[np.unique(np.linspace(0, rows.size - 1, min(rows.size, POINTS)).astype(int))]
    ]  # fmt: skip
    line = []
    for level, value, error in ((c.a, c.value_a, c.error_a), (c.b, c.value_b, c.error_b)):
        half = c.half_width / max(c.error, 1e-300) * error
        low, high = sorted((sign * (value - half), sign * (value + half)))
        line.append({"x": level, "y": sign * value, "low": low, "high": high})
    return {
        "kind": "response", "spread": spread,
        "x": {"label": asked.hyperparameters[0], "scale": "category", "levels": [c.a, c.b]},
        "y": {"label": metric_of(sweep), "scale": "linear"}, "points": points, "line": line, "plateau": [],
        "optimum": None, "lower_is_better": sign > 0,
    }  # fmt: skip


def split_finding(
    asked: Pairs, sweep: Sweep, by: str, found: Mapping[str, Contrast], hyperparameters: tuple[str, ...] = ()
) -> Finding | None:
    """Returns whether an oriented pair differs by as much in two parts of the runs, named as the keys of `found`.

    None where either part states no difference. Student's t with the degrees of Welch and Satterthwaite, on the
    objective and on the normal scores.
    """
    (one, c), (other, d) = found.items()
    if c.estimate is None or d.estimate is None:
        return None
    sign, metric = direction_of(sweep), metric_of(sweep)
    change, error, degrees, p = _change(c, d)
    half = student(degrees) * error
    low, high = sorted((sign * (change - half), sign * (change + half)))
    parts = [
        interval(sign * x.estimate, *sorted((sign * (x.estimate - x.half_width), sign * (x.estimate + x.half_width))))
        for x in (c, d)
        if x.estimate is not None
    ]
    number = f"{metric} differs by {parts[0]} with {one} and by {parts[1]} with {other}"
    fair = _is_fair(c) and _is_fair(d)
    rows = [
        {"label": name, "estimate": sign * (x.estimate or 0.0), "verdict": _verdict(x, None),
         "low": sign * (x.estimate or 0.0) - x.half_width, "high": sign * (x.estimate or 0.0) + x.half_width}
        for name, x in found.items()
    ]  # fmt: skip
    finding = Finding(
        miner=asked.miner, hyperparameters=(*asked.hyperparameters, *hyperparameters), quantity="difference_by_part",
        claim=f"How much {c.a} differs from {c.b} depends on {by}: {number}.",
        claim_if_insufficient=f"Whether the difference of {c.a} and {c.b} depends on {by} is not settled: {number}.",
        verdict="supported", estimate=sign * change, low=low, high=high, unit=f"{metric}, {one} less {other}",
        p_value=p, condition=f"{against(c)}, {one} against {other}", **evidence(sweep),
        figure={"kind": "forest", "x": {"label": f"{metric}, {c.a} less {c.b}"}, "rows": rows,
                "references": [{"label": "no difference", "value": 0.0}]},
    )  # fmt: skip
    return finding.judged() if fair else finding.insufficient("not each at its own best learning rate")


def _change(c: Contrast, d: Contrast) -> tuple[float, float, float, float]:
    """The difference of two independent differences, its error, degrees of freedom and p-value."""
    raw = _welch(c.estimate or 0.0, c.error, c.degrees, d.estimate or 0.0, d.error, d.degrees)
    scores = _welch(c.score, c.score_error, c.score_degrees, d.score, d.score_error, d.score_degrees)
    return raw[0], raw[1], raw[2], max(p_of(*raw), p_of(*scores))


def _welch(a: float, a_error: float, a_dof: float, b: float, b_error: float, b_dof: float) -> tuple[float, ...]:
    variance = a_error**2 + b_error**2
    degrees = variance**2 / max(a_error**4 / max(a_dof, 1) + b_error**4 / max(b_dof, 1), 1e-300)
    return a - b, float(np.sqrt(variance)), float(degrees)


def p_of(estimate: float, error: float, degrees: float) -> float:
    """The two-sided p-value of Student's t."""
    from scipy.special import stdtr

    return 2 * float(stdtr(degrees, -abs(estimate) / error)) if error > 0 else 1.0


def student(degrees: float) -> float:
    """How many errors half of a 95% interval is."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def rate_finding(asked: Pairs, sweep: Sweep, c: Contrast) -> Finding | None:
    """Returns how the best learning rate of a differs from that of b; None where that is not known."""
    if c.rate_ratio is None or c.rate_p is None or not c.at_own_best:
        return None
    way = "higher" if c.rate_ratio > 1 else "lower"
    number = f"{interval(c.rate_ratio, c.rate_low, c.rate_high)} times as large"
    return Finding(
        miner=asked.miner, hyperparameters=("learning_rate", *asked.hyperparameters), quantity="best_rate_ratio",
        claim=f"The best learning rate with {c.a} is {way} than with {c.b}: {number}.",
        claim_if_insufficient=f"Whether {c.a} moves the best learning rate against {c.b} is not settled: {number}.",
        verdict="supported", estimate=c.rate_ratio, low=c.rate_low, high=c.rate_high, unit="ratio", p_value=c.rate_p,
        condition=against(c), **evidence(sweep),
    ).judged()  # fmt: skip


def pairs_over_tasks(findings: Sequence[Finding], quantity: str = "paired_difference") -> Iterator[Finding]:
    """Yields for each pair what the tasks together say: each difference in spreads of its task, better as positive."""
    groups: dict[str, list[Finding]] = {}
    for f in findings:
        spread = f.figure.get("spread") if f.figure else None
        if f.quantity != quantity or f.task is None or not spread or not isinstance(f.estimate, float):
            continue
        factor = (-1.0 if f.figure["lower_is_better"] else 1.0) / spread
        a, b, c = (factor * float(x or 0) for x in (f.estimate, f.low, f.high))
        scaled = replace(f, estimate=a, low=min(b, c), high=max(b, c), unit="spreads of a task's results")
        groups.setdefault(f.condition, []).append(scaled)
    for condition, group in groups.items():
        one, _, rest = condition.partition(" against ")
        other, _, part = rest.partition(", ")
        at = f" at {part}" if part else ""
        asked = Across(
            quantity, f"the results with {one} are better than with {other}{at}",
            f"the results with {one} are worse than with {other}{at}",
            f"it is not settled whether {one} or {other} is better{at}",
        )  # fmt: skip
        yield from over_tasks(asked, group)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
