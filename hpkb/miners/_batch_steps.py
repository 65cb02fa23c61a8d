"""Steps to a target against the batch size: its critical size, and whether the noise scale predicts that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from hpkb.findings import LEVEL, Finding, Verdict, evidence
from hpkb.miners._words import brief, interval
from hpkb.sources.metric_reading import read_metric
from hpkb.stats.batch_curves import Phases, steps_per_point
from hpkb.stats.critical_batch import CriticalBatch, critical_batch, reached, steps_to
from hpkb.stats.own_best import own_best
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import FloatArray, Sweep, direction_of, metric_of

MINER = "batch_noise"
BATCH = ("batch_size",)
TARGETS = ((0.5, "half"), (0.75, "three in four"), (0.25, "one in four"))  # of the configurations reach it
FEWEST_REACHED = 20  # configurations
FACTOR = 3.0  # within which a noise scale predicts a critical batch size


def unknown(sweep: Sweep, quantity: str, why: str, names: tuple[str, ...] = BATCH) -> Finding:
    """Returns the finding that a quantity cannot be said, and why."""
    words = quantity.replace("_", " ")
    return Finding(
        miner=MINER, hyperparameters=names, quantity=quantity, verdict="insufficient",
        claim=f"The {words} is not known: {why}.", **evidence(sweep),
    )  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A target of the metric as it was logged, what reaches it, ln steps by run, and the fitted law."""

    metric: str
    value: float
    reached_by: str
    log_steps: FloatArray
    law: CriticalBatch
    batch_sizes: tuple[float, float]

    @property
    def condition(self) -> str:
        """What is asked: the same from one analysis to the next."""
        return f"target that {self.reached_by} of the configurations reach"

    @property
    def words(self) -> str:
        """The target in a sentence."""
        return f"{self.metric} {brief(self.value, 3)} (which {self.reached_by} of the configurations reach)"


def _judged_by(sweep: Sweep) -> tuple[str, float] | None:
    """The metric whose curve tells how far a run is, with the sign that makes lower better."""
    objective = metric_of(sweep)
    known = [(objective, direction_of(sweep))]
    others = [m for m in (sweep.records.validation, *sweep.records.metrics, sweep.records.training) if m]
    for metric in dict.fromkeys(others):
        reading = read_metric(metric)
        if metric != objective and reading is not None and reading.direction is not None and reading.is_known:
            known.append((metric, -1.0 if reading.direction == "max" else 1.0))
    for metric, sign in known:
        points = [c.value.size for c in sweep.records.curves(metric) if c is not None]
        if len(points) >= FEWEST_REACHED and np.median(points) >= 5:
            return metric, sign
    return None


def targets(sweep: Sweep) -> Iterator[Target]:
    """Yields the targets that enough configurations reach at enough batch sizes, the one of the middle first."""
    judged, batch = _judged_by(sweep), sweep.hyperparameter("batch_size")
    if judged is None or batch is None or batch.scale == "category":
        return
    metric, sign = judged
    curves = sweep.records.curves(metric)
    usable = feasible_runs(sweep)
    bests = [b if ok else None for b, ok in zip(steps_to(curves, sign), usable, strict=True)]
    ends = np.array([np.nan if b is None else b[1][-1] for b in bests])
    starts = np.array([np.nan if b is None else b[1][0] for b in bests])
    if np.isfinite(ends).sum() < FEWEST_REACHED:
        return
    unit = steps_per_point(sweep, curves)
    limit = _log(np.array([np.nan if b is None else b[0][-1] for b in bests]) * unit)
    for share, words in TARGETS:
        target = float(np.nanquantile(ends, share))
        at_once = np.nanmean(np.where(np.isfinite(starts), starts <= target, np.nan))
        if at_once > 0.1 or not np.nanmin(ends) < np.nanmax(ends):
            continue
        logs = _log(np.array([reached(b, target) for b in bests]) * unit)
        at = own_best(sweep, logs, limit=limit)
        if at is not None:
            sizes = float(at.batch.min()), float(at.batch.max())
            yield Target(metric, sign * target, words, logs, critical_batch(at), sizes)


def _log(x: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > 0, np.log(x), np.nan)


def why_no_target(sweep: Sweep) -> str:
    """Returns why there is none."""
    if sweep.hyperparameter("batch_size") is None:
        return "the batch size was not varied"
    if _judged_by(sweep) is None:
        return "too few runs have a curve of the objective"
    return "too few configurations reach a common target, at three or more batch sizes"


def of_target(sweep: Sweep, target: Target) -> Iterator[Finding]:
    """Yields the critical batch size of a target, and what larger batches cost in examples."""
    law = target.law
    number = interval(law.estimate, law.low, law.high)
    said = f"The critical batch size to reach {target.words} is {number} examples"
    meaning = "up to there a larger batch saves steps almost in proportion, beyond it mostly costs examples"
    unsettled = f"The critical batch size to reach {target.words} is not settled: {number} examples."
    if law.estimate is None:
        unsettled = f"No critical batch size shows on the way to {target.words}: {_beyond(target)}."
    shown = law.estimate is not None and law.low is not None and law.high is not None and law.p_value <= LEVEL
    yield Finding(
        miner=MINER, hyperparameters=BATCH, quantity="critical_batch_size",
        claim=f"{said}: {meaning}." if shown else unsettled, claim_if_insufficient=unsettled,
        verdict="supported" if shown else "insufficient", estimate=law.estimate, low=law.low, high=law.high,
        unit="examples", p_value=law.p_value, condition=target.condition, caveats=_target_caveats(sweep, target),
        figure=_steps_figure(sweep, target), **evidence(sweep),
    )  # fmt: skip
    yield _examples(sweep, target)


def _beyond(target: Target) -> str:
    law, (smallest, largest) = target.law, target.batch_sizes
    if law.p_proportional > LEVEL:
        return f"steps fall in proportion to the batch size all the way from {smallest:g} to {largest:g}"
    return f"steps hardly fall with the batch size from {smallest:g} to {largest:g}"


def _target_caveats(sweep: Sweep, target: Target) -> tuple[str, ...]:
    found = []
    never = int((feasible_runs(sweep) & np.isnan(target.log_steps)).sum())
    if never:
        found.append(f"{never} runs never reach the target and are left out.")
    if sweep.infeasible.any():
        found.append(f"Infeasible runs ({sweep.infeasible_share:.0%}) are left out.")
    if not target.law.fits:
        found.append("The steps do not follow the law closely: the batch sizes differ in more than it says.")
    return tuple(found)


def _examples(sweep: Sweep, target: Target) -> Finding:
    """How many times the examples of the smallest batch the largest one takes to the target."""
    (smallest, largest), law = target.batch_sizes, target.law
    estimate, high, low = (_ratio(x, smallest, largest) for x in (law.estimate, law.low, law.high))
    high, low = high or largest / smallest, low or 1.0
    words = f"batches of {largest:g} take {interval(estimate, low, high)} times the examples that {smallest:g} take"
    shown = estimate is not None and law.p_value <= LEVEL
    unsettled = f"How many more examples larger batches need to reach {target.words} is not settled: {words}."
    if estimate is None:
        low, high = None, None
        unsettled = f"How many more examples larger batches need to reach {target.words} is not settled."
    return Finding(
        miner=MINER, hyperparameters=BATCH, quantity="examples_to_target",
        claim=f"To reach {target.words} at their own best rates, {words}." if shown else unsettled,
        claim_if_insufficient=unsettled, verdict="supported" if shown else "insufficient",
        estimate=estimate, low=low, high=high, p_value=law.p_value, condition=target.condition,
        unit="times the examples of the smallest batch size", **evidence(sweep),
    )  # fmt: skip


def _ratio(critical: float | None, smallest: float, largest: float) -> float | None:
    return None if critical is None else (largest + critical) / (smallest + critical)


def _steps_figure(sweep: Sweep, target: Target) -> dict[str, Any]:
    batch = sweep.hyperparameter("batch_size")
    if batch is None:
        return {}
    rows = np.flatnonzero(np.isfinite(target.log_steps))
    points = [
        {"x": float(batch.values[i]), "y": float(np.exp(target.log_steps[i])), "run_id": sweep.run_ids[i],
         "infeasible": False} for i in rows
    ]  # fmt: skip
    optimum = {"x": target.law.estimate, "low": target.law.low, "high": target.law.high}
    return {
        "kind": "response", "x": {"label": "batch_size", "scale": "log", "levels": []},
        "y": {"label": f"steps to {target.metric} {brief(target.value, 3)}", "scale": "log"}, "points": points,
        "line": [], "plateau": [], "optimum": optimum if target.law.estimate is not None else None,
    }  # fmt: skip


def prediction(sweep: Sweep, target: Target, late: Phases) -> Finding:
    """Whether the measured noise scale is within a factor of the critical batch size: two one-sided tests."""
    law, name = target.law, "noise_scale_ratio"
    scale, low, high = late.median("middle")
    if law.estimate is None or law.low is None or law.high is None or low is None or high is None:
        why = "the critical batch size or the gradient noise scale has no closed interval"
        return unknown(sweep, name, why)
    ratio = float(np.log(law.estimate / scale))
    below, above = np.log(law.estimate / law.low), np.log(law.high / law.estimate)
    under, over = np.log(scale / low), np.log(high / scale)
    bottom, top = ratio - float(np.hypot(below, over)), ratio + float(np.hypot(above, under))
    error = max(ratio - bottom, top - ratio) / 1.96
    p_value = _equivalence_p(ratio, error)
    number = f"{interval(*(float(np.exp(x)) for x in (ratio, bottom, top)))} times the noise scale"
    verdict: Verdict = "supported" if p_value <= LEVEL else "insufficient"
    if bottom > np.log(FACTOR) or top < -np.log(FACTOR):
        verdict = "rejected"
    unsettled = f"Whether the gradient noise scale predicts the critical batch size is not settled: it is {number}."
    claims: dict[Verdict, str] = {
        "supported": f"The gradient noise scale predicts the critical batch size within a factor of {FACTOR:g}: "
        f"the critical one to reach {target.words} is {number}.",
        "rejected": f"The gradient noise scale does not predict the critical batch size: that is {number}.",
        "insufficient": unsettled,
    }  # fmt: skip
    return Finding(
        miner=MINER, hyperparameters=BATCH, quantity=name, claim=claims[verdict], claim_if_insufficient=unsettled,
        verdict=verdict, estimate=float(np.exp(ratio)), low=float(np.exp(bottom)), high=float(np.exp(top)),
        unit="critical batch size / gradient noise scale", p_value=p_value, condition=target.condition,
        **evidence(sweep),
    )  # fmt: skip


def _equivalence_p(ratio: float, error: float) -> float:
    """The p-value that the ratio is off by the factor or more (two one-sided tests, Schuirmann 1987)."""
    return float(ndtr(-(np.log(FACTOR) - abs(ratio)) / max(error, 1e-12)))
