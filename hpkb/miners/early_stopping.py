"""How early training could have been stopped, by which rule, and what that would have cost.

Question
--------
How long must a run be given without an improvement before it is stopped? How much compute does that save, and how much
of the result? Do rules that extrapolate a curve, or that compare it with other runs, do better? Is the best checkpoint
better than the last one, or than an average of the last ones?

Method
------
Every rule is replayed on whole curves. *Patience*: a run stops once its validation metric has not improved for a share
of the run; also with improvements that count only beyond the scatter of one evaluation (Prechelt 1998, *Early stopping
- but when?*). *Extrapolation*: it stops once a power law fitted to what was seen promises less than the noise floor
(after Domhan, Springenberg & Hutter 2015). *Median stopping* (Golovin et al. 2017) and *successive halving* (Jamieson &
Talwalkar 2016) compare runs, in pools of nine configurations. The regret of a run is what the checkpoint that the rule
keeps is worse than the best of the whole run, measured by what did not choose it: the test metric where one was
evaluated at the same steps, else the neighbours of an evaluation without itself. A regret counts up to five noise
floors. `patience` is where the mean regret over configurations reaches the noise floor (over seeds, else of late
evaluations), with a bootstrap over configurations. What a patience saves and costs is told of configurations that it
was not chosen on (five folds). That the regret is less than the floor is tested by betting (Waudby-Smith & Ramdas
2024), valid for any distribution, for that patience and all longer ones.

How to read it
--------------
*Supported*: the rule saves at least a twentieth of the compute, and what it costs is less than seeds do by themselves.
*Rejected*: it saves less than that for sure, or it costs more than the noise floor. A patience of 10% means: stop after
a tenth of the planned run without an improvement.

When it misleads
----------------
A replay knows only the schedule that was run: a learning rate that decays by the planned end makes late improvements
that a shorter plan would have had earlier. Runs that somebody stopped already look as if they had nothing left to
save. Best checkpoints chosen and told by one validation set are too good; *best minus last* is told by the held-out
measure. Curves of more than 512 points are thinned, and evaluations between are not seen. The values of late
checkpoints are averaged here, not their weights: averaged weights mostly do better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit
from scipy.stats import wilcoxon

from hpkb.findings import LEVEL, Finding, Verdict, evidence
from hpkb.miners import Context
from hpkb.miners._curves import watched
from hpkb.miners._stopping import (
    MOST,
    WORTH,
    Means,
    Patience,
    Replayed,
    extrapolated,
    learns,
    patience_of,
    pooled,
    replayed,
    student,
)
from hpkb.stats.curves import by_configuration
from hpkb.stats.meta import NORMAL, random_effects
from hpkb.stats.stopping import PATIENCES, p_of_mean_below
from hpkb.sweep import FloatArray, Sweep

FEWEST_POINTS = 10
FEWEST_CONFIGURATIONS = 8
QUANTITIES = ("patience", "compute_saved", "regret_paid")


@dataclass(frozen=True)
class _Rule:
    """One rule as it was replayed: its name, the condition of its findings, what it saves and costs by unit."""

    name: str
    condition: str
    means: Means
    p_regret: float


def mine(context: Context) -> list[Finding]:
    """Returns how little patience is enough, what each rule saves and costs, and which checkpoint to keep."""
    sweep = context.sweep
    seen = watched(sweep, FEWEST_POINTS)
    why = _lacking(seen.sweep if seen else None)
    runs = replayed(seen) if seen and not why else None
    if runs is not None and (not runs.floor.sd > 0 or not learns(runs)):
        runs, why = None, "the curves do not differ from noise: nothing is learned"
    if runs is None:
        return [_unknown(sweep, quantity, why) for quantity in (*QUANTITIES, "best_minus_last", "averaged_minus_last")]
    plain, strict = patience_of(runs, 0.0, context.seed), patience_of(runs, runs.point, context.seed + 1)
    rules = [*_rules(runs, plain, strict)]
    found = [_patience(sweep, runs, plain, ""), _patience(sweep, runs, strict, MARGIN)]
    for rule in rules:
        found += [_saved(sweep, runs, rule, rules), _regret(sweep, runs, rule, plain)]
    return [*found, *_checkpoints(sweep, runs)]


MARGIN = "improvements beyond the scatter of one evaluation"


def _rules(runs: Replayed, plain: Patience, strict: Patience) -> Iterator[_Rule]:
    floor, most = runs.floor.sd, MOST * runs.floor.sd
    yield _Rule("Patience", "", plain.means, _p_of_choices(plain, floor, most))
    yield _Rule("Patience with a margin", MARGIN, strict.means, _p_of_choices(strict, floor, most))
    others = {
        "Extrapolation of the curve": extrapolated(runs), "Median stopping": pooled(runs, "median"),
        "Successive halving": pooled(runs, "halving"),
    }  # fmt: skip
    for name, means in others.items():
        yield _Rule(name, name[0].lower() + name[1:], means, p_of_mean_below(means.regret, floor, most))


def _p_of_choices(patience: Patience, floor: float, most: float) -> float:
    """Of the shortest patience that a fold chose losing the floor or more, or a longer one: no choice can cheat it."""
    first = int(patience.choices.min())
    return max(p_of_mean_below(patience.whole.regret[:, i], floor, most) for i in range(first, len(PATIENCES)))


def _lacking(sweep: Sweep | None) -> str:
    if sweep is None:
        return "no run has a curve of ten points of a metric of validation or test data"
    few = sweep.n_configurations < FEWEST_CONFIGURATIONS
    return f"fewer than {FEWEST_CONFIGURATIONS} configurations have such curves" if few else ""


def _unknown(sweep: Sweep, quantity: str, why: str, condition: str = "") -> Finding:
    return Finding(
        miner="early_stopping", hyperparameters=(), quantity=quantity, verdict="insufficient", condition=condition,
        claim=f"The {quantity.replace('_', ' ')} of early stopping cannot be said: {why}.", **evidence(sweep),
    )  # fmt: skip


def _caveats(runs: Replayed) -> tuple[str, ...]:
    by = f"by {runs.measure}" if runs.measure else f"by the neighbours of each evaluation of {runs.watched.metric}"
    thinned = " Curves may be thinned to 512 points." if runs.curves.value.shape[1] >= 512 else ""
    return (f"Regret is told {by}; the noise floor of {runs.floor.sd:.2g} is from {runs.floor.source}.{thinned}",)


# --- patience -----------------------------------------------------------------------------------------------


def _patience(sweep: Sweep, runs: Replayed, found: Patience, condition: str) -> Finding:
    usual = float(np.median(runs.curves.count))
    number = f"{found.estimate:.1%} of the run (95% interval {found.low:.1%} to {found.high:.1%})"
    enough = PATIENCES[found.enough]
    saved = float(found.means.saved.mean())
    supported = enough < 1 and found.p_value <= LEVEL and _p_saved(found.means.saved) <= LEVEL
    rejected = found.low >= 1 - 1e-9
    verdict: Verdict = "supported" if supported else "rejected" if rejected else "insufficient"
    with_margin = f", counting {condition} only," if condition else ""
    unsettled = f"How little patience is enough is not settled: the regret reaches the noise floor at {number}."
    claims: dict[Verdict, str] = {
        "supported": f"A patience of {number}{with_margin} costs no more than the noise floor; with {enough:.0%} of "
        f"the run (about {max(enough * usual, 1):.0f} of {usual:.0f} evaluations) that is sure.",
        "rejected": f"No patience short of the whole run{with_margin} keeps the regret within the noise floor.",
        "insufficient": unsettled,
    }
    return Finding(
        miner="early_stopping", hyperparameters=(), quantity="patience", claim=claims[verdict],
        claim_if_insufficient=unsettled, verdict=verdict, estimate=found.estimate, low=found.low, high=found.high,
        unit="share of the run", p_value=max(found.p_value, _p_saved(found.means.saved)), condition=condition,
        caveats=(*_caveats(runs), f"It saves {saved:.0%} of the compute on configurations it was not chosen on."),
        figure=_patience_figure(runs, found), **evidence(sweep),
    )  # fmt: skip


def _p_saved(saved: FloatArray) -> float:
    """The p-value of saving less than what is worth it."""
    return p_of_mean_below(1 - saved, 1 - WORTH, 1.0)


def _patience_figure(runs: Replayed, found: Patience) -> dict[str, Any]:
    """The mean regret in noise floors over the patience."""
    rows = []
    for patience, values in zip(PATIENCES, found.whole.regret.T, strict=True):
        y, low, high = (float(x) / runs.floor.sd for x in student(values))
        rows.append({"x": patience, "y": y, "low": low, "high": high})
    return {
        "kind": "response", "x": {"label": "patience (share of the run)", "scale": "log"},
        "y": {"label": "regret (noise floors)", "scale": "linear"}, "points": [], "line": rows,
        "optimum": {"x": found.estimate, "low": found.low, "high": found.high},
    }  # fmt: skip


# --- what a rule saves and costs ----------------------------------------------------------------------------


def _saved(sweep: Sweep, runs: Replayed, rule: _Rule, rules: Sequence[_Rule]) -> Finding:
    if rule.means.saved.size < 2:
        return _unknown(sweep, "compute_saved", "too few configurations for a pool", rule.condition)
    mean, low, high = student(rule.means.saved)
    low, high = max(low, 0.0), min(high, 1.0)
    regret, least, most = (x / runs.floor.sd for x in student(rule.means.regret))
    number = f"{mean:.0%} of the compute (95% interval {low:.0%} to {high:.0%})"
    cost = f"a regret of {regret:.2f} noise floors ({least:.2f} to {most:.2f})"
    p = max(_p_saved(rule.means.saved), rule.p_regret)
    verdict: Verdict = "supported" if p <= LEVEL else "rejected" if high < WORTH or least > 1 else "insufficient"
    unsettled = f"{rule.name} saves {number} for {cost}; that this costs nothing is not settled."
    claims: dict[Verdict, str] = {
        "supported": f"{rule.name} saves {number} for {cost}.",
        "rejected": f"{rule.name} is not worth it: it saves {number} for {cost}.",
        "insufficient": unsettled,
    }
    return Finding(
        miner="early_stopping", hyperparameters=(), quantity="compute_saved", claim=claims[verdict],
        claim_if_insufficient=unsettled, verdict=verdict, estimate=mean, low=low, high=high,
        unit="share of the compute", p_value=p, condition=rule.condition, caveats=_caveats(runs),
        figure=_rules_figure(runs, rules) if not rule.condition else {}, **evidence(sweep),
    )  # fmt: skip


def _rules_figure(runs: Replayed, rules: Sequence[_Rule]) -> dict[str, Any]:
    """The regret of each rule, named with what it saves."""
    rows = []
    for rule in (r for r in rules if r.means.saved.size > 1):
        y, low, high = (float(x) / runs.floor.sd for x in student(rule.means.regret))
        label = f"{rule.name}: saves {rule.means.saved.mean():.0%}"
        rows.append({"label": label, "estimate": y, "low": low, "high": high, "verdict": ""})
    return {"kind": "forest", "x": {"label": "regret (noise floors)"}, "rows": rows,
            "references": [{"label": "noise floor", "value": 1.0}]}  # fmt: skip


def _regret(sweep: Sweep, runs: Replayed, rule: _Rule, plain: Patience) -> Finding:
    if rule.means.regret.size < 2:
        return _unknown(sweep, "regret_paid", "too few configurations for a pool", rule.condition)
    mean, low, high = student(rule.means.regret)
    number = f"{mean:.2g} (95% interval {low:.2g} to {high:.2g})"
    floor = f"the noise floor of {runs.floor.sd:.2g}"
    # a rule that hardly ever stops a run costs nothing, which says nothing for it
    p = max(rule.p_regret, _p_saved(rule.means.saved))
    verdict: Verdict = "supported" if p <= LEVEL else "rejected" if low > runs.floor.sd else "insufficient"
    unsettled = f"Whether {rule.name[0].lower()}{rule.name[1:]} costs less than {floor} is not settled: {number}."
    claims: dict[Verdict, str] = {
        "supported": f"{rule.name} costs less than {floor}: {number}.",
        "rejected": f"{rule.name} costs more than {floor}: {number}.",
        "insufficient": unsettled,
    }
    return Finding(
        miner="early_stopping", hyperparameters=(), quantity="regret_paid", claim=claims[verdict],
        claim_if_insufficient=unsettled, verdict=verdict, estimate=mean, low=low, high=high,
        unit=f"{runs.measure or runs.watched.metric}, worse is positive", p_value=p,
        condition=rule.condition, caveats=_caveats(runs),
        figure=_trade_figure(runs, plain) if not rule.condition else {}, **evidence(sweep),
    )  # fmt: skip


def _trade_figure(runs: Replayed, plain: Patience) -> dict[str, Any]:
    """The regret over the compute saved, along the patience."""
    rows = []
    for saved, regret in zip(plain.whole.saved.T, plain.whole.regret.T, strict=True):
        y, low, high = (float(x) / runs.floor.sd for x in student(regret))
        rows.append({"x": float(saved.mean()), "y": y, "low": low, "high": high})
    return {
        "kind": "response", "x": {"label": "compute saved", "scale": "linear"},
        "y": {"label": "regret (noise floors)", "scale": "linear"}, "points": [],
        "line": sorted(rows, key=lambda row: row["x"]),
    }  # fmt: skip


# --- which checkpoint to keep -------------------------------------------------------------------------------


def _checkpoints(sweep: Sweep, runs: Replayed) -> Iterator[Finding]:
    """How the best checkpoint, and the mean of the last tenth, compare with the last one."""
    own = runs.worth if runs.measure else runs.curves.value
    rows = np.arange(runs.last.size)
    tail = runs.curves.there & (np.arange(own.shape[1]) >= np.minimum(0.9 * runs.curves.count, runs.last - 2)[:, None])
    averaged = np.where(tail, own, 0.0).sum(axis=1) / np.maximum(tail.sum(axis=1), 1)
    last = own[rows, runs.last]
    for quantity, words, values in (
        ("best_minus_last", "The best checkpoint", runs.at(runs.best) - last),
        ("averaged_minus_last", "The mean of the last tenth of the checkpoints", averaged - last),
    ):
        usable = np.isfinite(values)
        if np.unique(runs.configuration[usable]).size < FEWEST_CONFIGURATIONS:
            yield _unknown(sweep, quantity, "too few curves end with a finite value")
            continue
        means = by_configuration(values[usable], runs.configuration[usable])
        yield _difference(sweep, runs, quantity, words, means)


def _difference(sweep: Sweep, runs: Replayed, quantity: str, words: str, values: FloatArray) -> Finding:
    cut = MOST * runs.floor.sd * 4
    mean, low, high = student(np.clip(values, -cut, cut))
    metric = runs.measure or runs.watched.metric
    number = f"{mean:.2g} (95% interval {low:.2g} to {high:.2g}; negative is better)"
    p = _p_difference(values, mean, high - mean)
    no_gain = low >= -runs.floor.sd  # a mean of values lags behind a curve that still falls, which is no finding
    verdict: Verdict = "rejected" if no_gain else "supported" if p <= LEVEL and high < 0 else "insufficient"
    unsettled = f"Whether {words[0].lower()}{words[1:]} is better than the last one is not settled: {number}."
    claims: dict[Verdict, str] = {
        "supported": f"{words} is better than the last one, by {metric}: {number}.",
        "rejected": f"{words} is no better than the last one beyond the noise floor of {runs.floor.sd:.2g}: {number}.",
        "insufficient": unsettled,
    }
    return Finding(
        miner="early_stopping", hyperparameters=(), quantity=quantity, claim=claims[verdict],
        claim_if_insufficient=unsettled, verdict=verdict, estimate=mean, low=low, high=high,
        unit=f"{metric}, worse is positive", p_value=p, caveats=_caveats(runs), **evidence(sweep),
    )  # fmt: skip


def _p_difference(values: FloatArray, mean: float, half: float) -> float:
    """The p-value of no difference: Student's, or on signed ranks (Wilcoxon 1945), whichever is larger."""
    if not np.any(values):
        return 1.0
    error = half / float(stdtrit(values.size - 1, 0.975))
    student_p = 2 * float(stdtr(values.size - 1, -abs(mean) / error)) if error > 0 else 1.0
    return max(student_p, float(wilcoxon(values, method="asymptotic").pvalue))


# --- across tasks -------------------------------------------------------------------------------------------


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what patience saves on the next task, by each rule, and how much patience is enough, from all tasks."""
    found = []
    conditions = sorted({f.condition for f in findings if f.quantity == "compute_saved"})
    for quantity, condition in [("patience", ""), *(("compute_saved", c) for c in conditions)]:
        own = [
            f for f in findings
            if (f.quantity, f.condition) == (quantity, condition) and isinstance(f.low, float)
        ]  # fmt: skip
        own = [f for f in own if float(f.high or 0) > float(f.low or 0)]
        if len({f.task for f in own}) > 1:
            found.append(_together(quantity, condition, own))
    return found


def _together(quantity: str, condition: str, findings: Sequence[Finding]) -> Finding:
    log = quantity == "patience"
    ends = np.array([[float(x or 0) for x in (f.estimate, f.low, f.high)] for f in findings])
    ends = np.log(ends) if log else ends
    pooled_ = random_effects(ends[:, 0], np.maximum((ends[:, 2] - ends[:, 1]) / (2 * NORMAL), 1e-6))
    numbers = [pooled_.estimate, pooled_.low, pooled_.high]
    mean, low, high = (float(x) for x in (np.exp(np.minimum(numbers, 0)) if log else np.clip(numbers, 0, 1)))
    good, bad = (sum(f.verdict == v for f in findings) for v in ("supported", "rejected"))
    rule = "patience with a margin" if condition == MARGIN else condition or "patience"
    number = f"{mean:.0%} of the {'run' if log else 'compute'} (95% interval {low:.0%} to {high:.0%})"
    subject = "the patience at which the regret reaches the noise floor is" if log else f"{rule} saves"
    unsettled = f"Over {len(findings)} tasks {subject} {number}; that it costs nothing is not settled."
    verdict: Verdict = "rejected" if good and bad else "insufficient"
    claim = f"There is no general rule: {rule} is worth it on {good} of {len(findings)} tasks and not on {bad}."
    p = _p_together(findings)
    if not bad and p <= LEVEL:
        verdict, claim = "supported", f"Over {len(findings)} tasks {subject} {number}."
    runs = sum(f.n_runs for f in findings)
    return Finding(
        miner="early_stopping", task=None, hyperparameters=(), quantity=quantity, condition=condition,
        claim=unsettled if verdict == "insufficient" else claim, claim_if_insufficient=unsettled, verdict=verdict,
        estimate=mean, low=low, high=high, unit=findings[0].unit, p_value=p, n_runs=runs,
        n_configurations=sum(f.n_configurations for f in findings), n_tasks=len(findings),
        n_seeds=max(f.n_seeds for f in findings),
        infeasible_share=sum(f.infeasible_share * f.n_runs for f in findings) / max(runs, 1),
        caveats=(f"I² = {pooled_.i_squared:.0%}.",), run_ids=tuple(run for f in findings for run in f.run_ids),
    )  # fmt: skip


def _p_together(findings: Sequence[Finding]) -> float:
    """The p-value of the rule costing more than the floor on half of the tasks or more (Ruger 1978).

    Half of the tasks have a p-value of at most the median one, so twice that bounds it whatever their dependence.
    """
    p = np.sort([1.0 if f.p_value is None else f.p_value for f in findings])
    return float(min(1.0, 2 * p[p.size // 2]))
