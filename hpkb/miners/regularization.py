"""Whether a regulariser closes the gap between training and validation, and what it does to the result.

Question
--------
Does more weight decay, dropout, label smoothing, mixup or augmentation make validation less worse than training? Does
the result itself get better with it? Does the answer depend on the size of the model or of the training data?

Method
------
The generalisation gap of a run is how much worse its validation curve ends than its training curve, on the same
metric. Its mean over the seeds of each configuration is regressed on the strength of the regulariser (per decade where
the strength has a logarithmic scale, else per 0.1; for a kind of augmentation, with it less without it), with all
other hyperparameters held: they enter as powers on their own scales, as many as the configurations afford. The error
allows for scatter of any size anywhere (HC2, MacKinnon & White 1985), the interval is Student's, and the p-value must
hold on the ranks of the gaps as well, so that a few failed runs make no claim. The same is done for the objective.
Where width, depth, the number of parameters or of training examples varies, the product with the regulariser's strength
is tested in the same way. Tasks are never pooled: each slope is divided by the spread of its task's gaps, and these are
combined by random-effects meta-analysis (REML; Hartung & Knapp 2001).

How to read it
--------------
*Supported*: the gap goes with the strength of the regulariser; a negative slope closes it. A smaller gap is no aim of
its own: it may close because training got worse. The claim therefore says what the objective did. *Rejected*: over
the whole range that was tried the gap moves by less than it scatters over seeds.

When it misleads
----------------
A slope is a mean over all settings of the others, bad ones included; at a learning rate that learns nothing there is
no gap to close. An effect that turns round within the range (some dropout helps, more hurts) has no slope: *response*
shows its shape. Training loss that is measured with the regulariser at work (dropout, augmentation, mixup, label
smoothing) is too high, and the gap too small by as much: compare with an evaluation of the training data where there
is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpkb.findings import LEVEL, Finding, Verdict, evidence
from hpkb.miners import Context
from hpkb.stats.meta import NORMAL, Pooled, random_effects
from hpkb.stats.noise import floor
from hpkb.stats.slopes import Measured, Slope, measured, slope
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import FloatArray, Hyperparameter, Sweep, direction_of, metric_of

#: What regularises; and what says how such a penalty ends or decays over training.
KINDS = re.compile(
    r"(weight_decay|l1|l2|dropout|stochastic_depth|label_smoothing|mixup|cutmix|augmentation)(_(end|final|decay))?"
)
CAPACITIES = ("width", "depth", "parameter_count")
WITHOUT = ("none", "no", "false", "0", "off", "identity")
FEWEST_RUNS = 6  # of a level of a category


@dataclass(frozen=True)
class _Strength:
    """A regulariser's strength in each run, (n_runs,), NaN where it takes no part; `unit` is what 1 stands for."""

    hyperparameter: Hyperparameter
    values: FloatArray
    unit: str
    condition: str = ""

    @property
    def words(self) -> str:
        """The regulariser in a sentence."""
        name = self.hyperparameter.name.replace("_", " ")
        return f"{name} {self.condition}" if self.condition else f"more {name}"

    @property
    def at_start(self) -> str:
        """The same at the start of a sentence."""
        return self.words[0].upper() + self.words[1:]


def mine(context: Context) -> list[Finding]:
    """Returns for each regulariser that was varied its slope of gap and objective, and what capacity changes of it."""
    sweep, found = context.sweep, list[Finding]()
    gap = np.where(feasible_runs(sweep), sweep.records.numbers("gap"), np.nan)
    for h in sweep.hyperparameters:
        if KINDS.fullmatch(h.name):
            found += _of(sweep, h, gap)
    return found


def _of(sweep: Sweep, h: Hyperparameter, gap: FloatArray) -> Iterator[Finding]:
    if not np.isfinite(gap).any():
        yield _unknown(sweep, h, "no run has curves of training and validation on one metric")
        return
    strengths = [*_strengths(sweep, h)]
    if not strengths:
        yield _unknown(sweep, h, "too few runs with and without it")
    for strength in strengths:
        yield from _answers(sweep, strength, gap)


def _strengths(sweep: Sweep, h: Hyperparameter) -> Iterator[_Strength]:
    """A number is one strength; a category one for each level against none, or against the most common level."""
    if h.scale == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            yield _Strength(h, np.where(h.values > 0, np.log10(h.values), np.nan), "a decade")
    elif h.scale == "linear":
        yield _Strength(h, h.values / 0.1, "0.1")
    else:
        counts = np.bincount(h.values[~np.isnan(h.values)].astype(np.int64), minlength=len(h.levels))
        without = next((i for i, level in enumerate(h.levels) if level.strip().lower() in WITHOUT), -1)
        base = without if without >= 0 else min(range(len(h.levels)), key=lambda i: (-counts[i], h.levels[i]))
        for level in sorted(range(len(h.levels)), key=lambda i: h.levels[i]):
            if level != base and min(counts[level], counts[base]) >= FEWEST_RUNS:
                both = np.where((h.values == level) | (h.values == base), (h.values == level) * 1.0, np.nan)
                yield _Strength(h, both, "switching it on", f"{h.levels[level]} against {h.levels[base]}")


def _answers(sweep: Sweep, strength: _Strength, gap: FloatArray) -> Iterator[Finding]:
    usable = np.isfinite(strength.values)
    at = measured(sweep, gap, usable)
    of_gap = _slope(sweep, at, strength)
    if of_gap is None:
        why = "too few configurations, or it went along with another hyperparameter"
        yield _unknown(sweep, strength.hyperparameter, why, strength.condition)
        return
    outcome = np.where(feasible_runs(sweep), direction_of(sweep) * sweep.y, np.nan)
    of_objective = _slope(sweep, measured(sweep, outcome, usable), strength)
    yield _gap_finding(sweep, strength, at, of_gap, of_objective)
    if of_objective is not None:
        yield _objective_finding(sweep, strength, of_objective)
    yield from _by_capacity(sweep, strength, at)


def _slope(sweep: Sweep, at: Measured, strength: _Strength) -> Slope | None:
    column = strength.values[at.first]
    if column.size < 2 or np.ptp(column) == 0:
        return None
    return slope(sweep, at, column, (strength.hyperparameter.name,))


def _gap_finding(
    sweep: Sweep, strength: _Strength, at: Measured, of_gap: Slope, of_objective: Slope | None
) -> Finding:
    metric = f"{sweep.records.validation or 'validation'} less {sweep.records.training or 'training'}"
    change = f"{_number(of_gap)} per {strength.unit}"
    span = float(np.ptp(strength.values[at.first]))
    verdict = _verdict(of_gap, _seed_noise(sweep, strength), span)
    also = ""
    if of_objective is not None:
        also = f"; {metric_of(sweep)} itself changes by {_number(of_objective)}"
    way = "smaller" if of_gap.estimate < 0 else "larger"
    claims: dict[Verdict, str] = {
        "supported": f"{strength.at_start} goes with a {way} generalisation gap: {change}{also}.",
        "rejected": f"{strength.at_start} moves the generalisation gap less than seeds do: {change}{also}.",
        "insufficient": f"What {strength.words} does to the generalisation gap is not settled: {change}{also}.",
    }
    return Finding(
        miner="regularization", hyperparameters=(strength.hyperparameter.name,), quantity="generalization_gap_slope",
        claim=claims[verdict], claim_if_insufficient=claims["insufficient"], verdict=verdict,
        estimate=of_gap.estimate, low=of_gap.estimate - of_gap.half_width, high=of_gap.estimate + of_gap.half_width,
        unit=f"{metric}, per {strength.unit}", p_value=of_gap.p_value, condition=strength.condition,
        caveats=_caveats(strength), figure=_figure(sweep, strength, at, of_gap, metric), **evidence(sweep),
    )  # fmt: skip


def _objective_finding(sweep: Sweep, strength: _Strength, of_objective: Slope) -> Finding:
    better = of_objective.estimate * direction_of(sweep) < 0
    change = f"{metric_of(sweep)} changes by {_number(of_objective)} per {strength.unit}"
    return Finding(
        miner="regularization", hyperparameters=(strength.hyperparameter.name,), quantity="objective_slope",
        claim=f"{strength.at_start} goes with a {'better' if better else 'worse'} result: {change}.",
        claim_if_insufficient=f"Whether {strength.words} makes the result better or worse is not settled: {change}.",
        verdict="supported", estimate=of_objective.estimate, low=of_objective.estimate - of_objective.half_width,
        high=of_objective.estimate + of_objective.half_width, unit=f"{metric_of(sweep)}, per {strength.unit}",
        p_value=of_objective.p_value, condition=strength.condition, **evidence(sweep),
    ).judged()  # fmt: skip


def _by_capacity(sweep: Sweep, strength: _Strength, at: Measured) -> Iterator[Finding]:
    """How the slope changes with every doubling of width, depth, parameters or training examples."""
    sizes = [(h.name, h.values) for name in CAPACITIES if (h := sweep.hyperparameter(name)) is not None]
    sizes.append(("training examples", sweep.records.numbers("n_examples.training")))
    for name, values in sizes:
        with np.errstate(divide="ignore", invalid="ignore"):
            doublings = np.log2(values[at.first])
        there = np.isfinite(doublings)
        if not there.any() or np.ptp(doublings[there]) < 1:
            continue
        part = Measured(at.y[there], at.seeds[there], at.first[there])
        x, size = strength.values[part.first], doublings[there]
        found = slope(sweep, part, (x - x.mean()) * (size - size.mean()), (), (x, size))
        if found is not None:
            yield _capacity_finding(sweep, strength, name, found)


def _capacity_finding(sweep: Sweep, strength: _Strength, size: str, found: Slope) -> Finding:
    words = f"what {strength.words} does to the generalisation gap"
    change = f"{_number(found)} per {strength.unit} and doubling of {size.replace('_', ' ')}"
    own = strength.hyperparameter.name
    return Finding(
        miner="regularization", hyperparameters=(own, size) if size in CAPACITIES else (own,),
        quantity="gap_slope_by_capacity", verdict="supported",
        claim=f"{words[0].upper()}{words[1:]} depends on {size.replace('_', ' ')}: its slope changes by {change}.",
        claim_if_insufficient=f"Whether {words} depends on {size.replace('_', ' ')} is not settled: {change}.",
        estimate=found.estimate, low=found.estimate - found.half_width, high=found.estimate + found.half_width,
        p_value=found.p_value, condition="; ".join(filter(None, (strength.condition, size))), **evidence(sweep),
    ).judged()  # fmt: skip


def _verdict(of_gap: Slope, noise: float | None, span: float) -> Verdict:
    if of_gap.p_value <= LEVEL and abs(of_gap.estimate) > of_gap.half_width:
        return "supported"
    bound = (abs(of_gap.estimate) + of_gap.half_width) * span
    return "rejected" if noise is not None and bound <= noise else "insufficient"


def _seed_noise(sweep: Sweep, strength: _Strength) -> float | None:
    """By how much the gap itself scatters over seeds; None where too few configurations were repeated."""
    gap = np.where(np.isfinite(strength.values), sweep.records.numbers("gap"), np.nan)
    return floor(replace(sweep, y=gap, infeasible=sweep.infeasible | ~np.isfinite(gap)))


def _unknown(sweep: Sweep, h: Hyperparameter, why: str, condition: str = "") -> Finding:
    return Finding(
        miner="regularization", hyperparameters=(h.name,), quantity="generalization_gap_slope", verdict="insufficient",
        claim=f"What {h.name.replace('_', ' ')} does to the generalisation gap cannot be said: {why}.",
        condition=condition, **evidence(sweep),
    )  # fmt: skip


def _number(found: Slope) -> str:
    low, high = found.estimate - found.half_width, found.estimate + found.half_width
    return f"{found.estimate:.2g} (95% interval {low:.2g} to {high:.2g})"


def _caveats(strength: _Strength) -> tuple[str, ...]:
    h = strength.hyperparameter
    found = ["Other hyperparameters are held; runs at bad settings of them are counted in."]
    if h.scale == "log" and (h.values == 0).any():
        found.append(f"Runs without {h.name.replace('_', ' ')} are left out: 0 has no logarithm.")
    if h.name in ("dropout", "augmentation", "mixup", "cutmix", "label_smoothing", "stochastic_depth"):
        found.append("A training metric taken with the regulariser at work is too bad by what that costs.")
    return tuple(found)


def _figure(sweep: Sweep, strength: _Strength, at: Measured, of_gap: Slope, metric: str) -> dict[str, Any]:
    """The gaps over the strength, and the slope through their middle; `spread` brings the tasks to one scale."""
    h, gap = strength.hyperparameter, sweep.records.numbers("gap")
    rows = np.flatnonzero(np.isfinite(strength.values) & np.isfinite(gap) & ~sweep.infeasible)
    label = [h.levels[int(h.values[i])] if h.scale == "category" else float(h.values[i]) for i in rows]
    points = [
        {"x": x, "y": float(gap[i]), "run_id": sweep.run_ids[i], "infeasible": False}
        for x, i in zip(label, rows, strict=True)
    ]
    return {
        "kind": "response", "spread": float(at.y.std()),
        "x": {"label": h.name, "scale": h.scale, "levels": list(h.levels)}, "y": {"label": metric, "scale": "linear"},
        "points": points, "line": [] if h.scale == "category" else _line(strength, at, of_gap),
        "plateau": [], "optimum": None,
    }  # fmt: skip


def _line(strength: _Strength, at: Measured, of_gap: Slope) -> list[dict[str, float]]:
    x = strength.values[at.first]
    places = np.linspace(x.min(), x.max(), 9)
    typed = 10**places if strength.hyperparameter.scale == "log" else 0.1 * places
    middle, ends = float(np.median(at.y)), places - np.median(x)
    return [
        {"x": float(t), "y": middle + of_gap.estimate * e,
         "low": middle + of_gap.estimate * e - abs(e) * of_gap.half_width,
         "high": middle + of_gap.estimate * e + abs(e) * of_gap.half_width}
        for t, e in zip(typed, ends.tolist(), strict=True)
    ]  # fmt: skip


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of each regulariser's slope of the gap."""
    asked: dict[tuple[tuple[str, ...], str], list[Finding]] = {}
    for f in findings:
        if f.quantity == "generalization_gap_slope" and f.task is not None and isinstance(f.estimate, float):
            asked.setdefault((f.hyperparameters, f.condition), []).append(f)
    return [_together(group) for group in asked.values() if len(group) > 1]


def _together(findings: Sequence[Finding]) -> Finding:
    first, runs = findings[0], sum(f.n_runs for f in findings)
    scaled = np.array([[float(x or 0) / f.figure["spread"] for x in (f.estimate, f.low, f.high)] for f in findings])
    pooled = random_effects(scaled[:, 0], (scaled[:, 2] - scaled[:, 1]) / (2 * NORMAL))
    verdict, claim, unsettled = _claim_over_tasks(findings, pooled)
    rows = [
        {"label": f.task, "estimate": a, "low": b, "high": c, "verdict": f.verdict}
        for f, (a, b, c) in zip(findings, scaled.tolist(), strict=True)
    ]
    return Finding(
        miner="regularization", task=None, hyperparameters=first.hyperparameters, quantity=first.quantity, claim=claim,
        claim_if_insufficient=unsettled, verdict=verdict, estimate=pooled.estimate, low=pooled.low, high=pooled.high,
        unit=f"spreads of the gap, {first.unit.rpartition(', ')[2]}", p_value=pooled.p_value,
        condition=first.condition, n_runs=runs, n_configurations=sum(f.n_configurations for f in findings),
        n_tasks=len(findings), n_seeds=max(f.n_seeds for f in findings),
        infeasible_share=sum(f.infeasible_share * f.n_runs for f in findings) / max(runs, 1),
        caveats=(f"I² = {pooled.i_squared:.0%}, {pooled.agreement:.0%} of the tasks agree in sign.",),
        run_ids=tuple(run for f in findings for run in f.run_ids),
        figure={"kind": "forest", "x": {"label": "spreads of the gap"}, "rows": rows,
                "references": [{"label": "no effect", "value": 0.0}]},
    )  # fmt: skip


def _claim_over_tasks(findings: Sequence[Finding], pooled: Pooled) -> tuple[Verdict, str, str]:
    """The verdict, its claim, and the claim of none."""
    signs = [float(f.estimate or 0) > 0 for f in findings if f.verdict == "supported"]
    name = " ".join(filter(None, (findings[0].hyperparameters[0].replace("_", " "), findings[0].condition)))
    interval = f"{pooled.estimate:.2f} (95% interval {pooled.low:.2f} to {pooled.high:.2f})"
    number = f"{interval} of the spread of a task's gaps"
    unsettled = f"Over {pooled.n} tasks it is not settled what {name} does to the generalisation gap: {number}."
    if any(signs) and not all(signs):
        up, down = sum(signs), len(signs) - sum(signs)
        claim = f"There is no general rule of {name}: it widens the generalisation gap on {up} and closes it on {down}"
        return "rejected", f"{claim} of {pooled.n} tasks.", unsettled
    if pooled.p_value > LEVEL:
        return "insufficient", unsettled, unsettled
    way = "closes" if pooled.estimate < 0 else "widens"
    return "supported", f"Over {pooled.n} tasks {name} {way} the generalisation gap: {number}.", unsettled
