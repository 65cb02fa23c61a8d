"""How the result changes along one hyperparameter when the others are set well.

Question
--------
Which value of each hyperparameter is best, over how wide a range is the result as good within noise, what can be
attained at best with the wrong value, and does the best value lie at the edge of what was tried?

Method
------
The reference settings are the best quarter of the configurations. A Gaussian process fitted to all feasible
configurations (Rasmussen & Williams 2006, *Gaussian Processes for Machine Learning*) predicts the result of each
reference setting with the one hyperparameter moved over its range, and the predictions are averaged: a partial
dependence curve (Friedman 2001, *Greedy function approximation*, Annals of Statistics 29) taken where it matters, as
in the isolation plots of Godbole et al. 2023 (*Deep Learning Tuning Playbook*). Band and intervals come from
refits on resampled configurations, each with lengths that the data leave open. The optimum is the curve's lowest
point. The plateau is that of what can be attained at a value, by the best tenth of the reference settings there: it
holds every value that is not shown to lose more than the noise floor (without repeated seeds: than near-duplicates
scatter). Where the optimizer was varied, this is done at the best one, and for the learning rate at each of the
others too. That the hyperparameter matters at all is tested as in *importance*. Over several tasks the optima are
combined on the hyperparameter's own scale by random effects (REML; Hartung & Knapp 2001), and the plateaus are laid
over each other.

How to read it
--------------
Choose from the plateau what is cheapest or safest; the optimum's digits mean nothing inside it. Outside of it the
result is worse, whatever the others are set to. Points are runs,
with whatever the other hyperparameters were, so most lie above the curve. An optimum at the edge (in the outer tenth
of the range that was tried, on its own scale) says that the range should be moved or widened before anything is
concluded from it.

When it misleads
----------------
The curve holds for the other hyperparameters at good values: where two must move together (*lr_batch_size*,
*lr_weight_decay*), the best value of one belongs to the other's. A smooth curve rounds a cliff off; a plateau's ends
are no finer than the values that were tried, and with few runs it is wide. Infeasible runs are not in the curve: a
plateau may run right up to the cliff, so look at *divergence* as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpkb.findings import Finding, evidence
from hpkb.miners import Context
from hpkb.miners._response_tasks import together
from hpkb.names import lookup
from hpkb.stats import noise
from hpkb.stats.effects import effects_of
from hpkb.stats.response import Response, response_of
from hpkb.sweep import BoolArray, Hyperparameter, Sweep, direction_of, metric_of

FEWEST_RUNS = 10  # of an optimizer, for a curve of its own
AT_EDGE = 0.95  # share of the refits with their optimum at the edge that settles it


@dataclass(frozen=True)
class Case:
    """One hyperparameter's curve with what else its findings state.

    `optimizer` is the one that the curve is for, empty where it does not vary or does not matter; `rows` (n_runs,)
    are its runs. `condition` is the finding's.
    """

    sweep: Sweep
    hyperparameter: Hyperparameter
    curve: Response
    p_value: float | None
    rows: BoolArray
    optimizer: str = ""
    condition: str = ""


def mine(context: Context) -> list[Finding]:
    """Returns for each hyperparameter its optimum, its plateau's ends, and whether the optimum is at the edge.

    Numbers are followed at the best optimizer, the learning rate at each of the others as well: averaged over two
    optimizers, the best learning rate is that of neither.
    """
    sweep = context.sweep
    effects, floor = context.effects, noise.floor(sweep)
    best = _best_optimizer(context, floor)
    found: list[Finding] = []
    for i, h in enumerate(sweep.hyperparameters):
        optimizer = best if h.scale != "category" and _often(h, _runs_with(sweep, best)) else ""
        rows = _runs_with(sweep, optimizer)
        curve = response_of(sweep, context.process, i, floor, rows)
        if curve is None:
            found.append(_unknown(sweep, h))
            continue
        case = Case(sweep, h, curve, effects.main[h.name], rows, optimizer)
        found += [_best_level(case)] if h.scale == "category" else _numeric(case)
        if h.name == "learning_rate" and optimizer:
            found += _other_optimizers(context, case, i, floor)
    return found


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of each hyperparameter's best value, on its own scale."""
    return together(findings)


def _best_optimizer(context: Context, floor: float | None) -> str:
    """The level of the best optimizer; empty where it does not vary."""
    names = [h.name for h in context.sweep.hyperparameters]
    if "optimizer" not in names:
        return ""
    column = names.index("optimizer")
    h = context.sweep.hyperparameters[column]
    curve = response_of(context.sweep, context.process, column, floor)
    return h.levels[int(curve.values[curve.best])] if curve and h.scale == "category" else ""


def _runs_with(sweep: Sweep, optimizer: str) -> BoolArray:
    """Which runs used that optimizer, (n_runs,); all for an empty one."""
    h = sweep.hyperparameter("optimizer")
    if h is None or not optimizer:
        return np.ones(sweep.n_runs, dtype=bool)
    return np.asarray(h.values == h.levels.index(optimizer))


def _often(h: Hyperparameter, rows: BoolArray) -> bool:
    """Whether enough of the runs have the hyperparameter, at more than one value."""
    values = h.values[rows & ~np.isnan(h.values)]
    return values.size >= FEWEST_RUNS and np.unique(values).size > 1


def _other_optimizers(context: Context, case: Case, column: int, floor: float | None) -> list[Finding]:
    """The best learning rate of each optimizer but the best one, tested on its own runs."""
    sweep, found = case.sweep, []
    levels = next(h.levels for h in sweep.hyperparameters if h.name == "optimizer")
    for level in levels:
        rows = _runs_with(sweep, level)
        if level == case.optimizer or not _often(case.hyperparameter, rows):
            continue
        curve = response_of(sweep, context.process, column, floor, rows)
        if curve:
            p_value = effects_of(sweep.subset(rows)).main[case.hyperparameter.name]
            condition = f"optimizer={level}"
            found.append(_optimum(Case(sweep, case.hyperparameter, curve, p_value, rows, level, condition)))
    return found


def _unknown(sweep: Sweep, h: Hyperparameter) -> Finding:
    return Finding(
        miner="response", hyperparameters=(h.name,), quantity="optimum", verdict="insufficient",
        claim=f"The best {h.name} cannot be said: fewer than ten feasible configurations, or all alike.",
        unit=_unit(h), **evidence(sweep),
    )  # fmt: skip


def _best_level(case: Case) -> Finding:
    h, curve = case.hyperparameter, case.curve
    best = h.levels[int(curve.values[curve.best])]
    alike = [h.levels[int(v)] for v, same in zip(curve.values, curve.alike, strict=True) if same]
    others = [level for level in alike if level != best]
    also = f"; {' and '.join(others)} cannot be told from it" if others else ""
    finding = Finding(
        miner="response", hyperparameters=(h.name,), quantity="optimum", verdict="supported",
        claim=f"The best {h.name} for {metric_of(case.sweep)} is {best}{also}.",
        claim_if_insufficient=f"No {h.name} is demonstrably best for {metric_of(case.sweep)}.",
        estimate=best, p_value=case.p_value, caveats=_caveats(case), figure=_figure(case),
        **evidence(case.sweep),
    ).judged()  # fmt: skip
    if finding.verdict == "supported" and curve.alike.all():
        return finding.insufficient("no level can be told from the best one")
    return finding


def _numeric(case: Case) -> list[Finding]:
    return [_optimum(case), *_plateau(case), _isolation(case), _at_boundary(case)]


def _isolation(case: Case) -> Finding:
    """What the wrong value costs at best: the range of what can be attained along the hyperparameter."""
    h, curve, metric = case.hyperparameter, case.curve, metric_of(case.sweep)
    low, high = max(curve.lost - curve.lost_half_width, 0.0), curve.lost + curve.lost_half_width
    number = f"{curve.lost:.2g} [{low:.2g}, {high:.2g}]"
    best = direction_of(case.sweep) * curve.attained
    said = f"at its worst value, {number} of {metric} is lost however the others are set (best attainable {best:.4g})"
    return Finding(
        miner="response", hyperparameters=(h.name,), quantity="attainable_loss", verdict="supported",
        claim=f"{h.name}: {said}.", claim_if_insufficient=f"{h.name}: {said}, if it matters at all.",
        estimate=curve.lost, low=low, high=high, unit=metric, p_value=case.p_value, caveats=_caveats(case),
        **evidence(case.sweep),
    ).judged()  # fmt: skip


def _optimum(case: Case) -> Finding:
    h, curve, metric = case.hyperparameter, case.curve, metric_of(case.sweep)
    estimate, low, high = (_value(h, x) for x in (curve.optimum, curve.low, curve.high))
    from_to = f"{_value(h, curve.plateau[0]):.3g} to {_value(h, curve.plateau[1]):.3g}"
    return Finding(
        miner="response", hyperparameters=(h.name,), quantity="optimum", verdict="supported",
        claim=f"{_with(case)}he best {h.name} for {metric} is {estimate:.3g} [{low:.3g}, {high:.3g}]; "
        f"anything from {from_to} is as good within noise.",
        condition=case.condition, seen_with=f"optimizer={case.optimizer}" if case.optimizer else "",
        claim_if_insufficient=f"{_with(case)}hese runs do not show that {h.name} matters for {metric}; its best value "
        f"is estimated at {estimate:.3g} [{low:.3g}, {high:.3g}].",
        estimate=estimate, low=low, high=high, unit=_unit(h), p_value=case.p_value,
        caveats=_caveats(case), figure=_figure(case), **evidence(case.sweep),
    ).judged()  # fmt: skip


def _with(case: Case) -> str:
    return f"With {case.optimizer}, t" if case.optimizer else "T"


def _plateau(case: Case) -> list[Finding]:
    h, metric = case.hyperparameter, metric_of(case.sweep)
    found = []
    for end, quantity, word in ((0, "plateau_low", "below"), (1, "plateau_high", "above")):
        value = _value(h, case.curve.plateau[end])
        open_end = case.curve.plateau[end] == (case.curve.values[0], case.curve.values[-1])[end]
        worse = f"{word} {value:.3g} {metric} gets worse by more than noise"
        said = f"as far as was tried ({value:.3g}), {metric} stays as good within noise" if open_end else worse
        found.append(
            Finding(
                miner="response", hyperparameters=(h.name,), quantity=quantity, verdict="supported",
                claim=f"{h.name}: {said}.",
                claim_if_insufficient=f"Where the flat range of {h.name} ends cannot be told.",
                estimate=value, unit=_unit(h), p_value=case.p_value, caveats=_caveats(case),
                **evidence(case.sweep),
            ).judged()
        )  # fmt: skip
    return found


def _at_boundary(case: Case) -> Finding:
    """Whether the best value lies in the outer tenth of what was tried; an exact 0 is an end, not an edge."""
    h, curve = case.hyperparameter, case.curve
    low = 0.0 if _value(h, curve.values[0]) == 0 else curve.edge_low
    share, side = max((curve.edge_high, "largest"), (low, "smallest"))
    edge = _value(h, curve.values[-1] if side == "largest" else curve.values[0])
    beyond = "larger" if side == "largest" else "smaller"
    finding = Finding(
        miner="response", hyperparameters=(h.name,), quantity="at_boundary", verdict="supported",
        claim=f"The best {h.name} lies at the edge of what was tried ({side} {edge:.3g}): try {beyond} ones.",
        claim_if_insufficient=f"Whether the best {h.name} lies at the edge of what was tried cannot be told.",
        estimate=share, unit="share of refits", p_value=case.p_value, **evidence(case.sweep),
    ).judged()  # fmt: skip
    if finding.verdict != "supported" or share >= AT_EDGE:
        return finding
    if share <= 1 - AT_EDGE:
        claim = f"The best {h.name} does not lie at an edge of what was tried: larger and smaller ones were worse."
        return replace(finding, verdict="rejected", claim=claim)
    return finding.insufficient(f"at the edge in {share:.0%} of the refits")


def _figure(case: Case) -> dict[str, Any]:
    h, curve, sign = case.hyperparameter, case.curve, direction_of(case.sweep)
    bounds = sign * np.stack([curve.y - curve.half_width, curve.y + curve.half_width])
    line = [
        {"x": _shown(h, x), "y": float(sign * y), "low": float(b.min()), "high": float(b.max())}
        for x, y, b in zip(curve.values, curve.y, bounds.T, strict=True)
    ]
    category = h.scale == "category"
    ends = None if category else {"low": _shown(h, curve.low), "high": _shown(h, curve.high)}
    best = curve.values[curve.best] if category else curve.optimum
    return {
        "kind": "response",
        "x": {"label": h.name, "scale": h.scale, "levels": list(h.levels)},
        "y": {"label": metric_of(case.sweep), "scale": "linear"},
        "points": _points(case, sign),
        "line": line,
        "plateau": [] if category else [_shown(h, x) for x in curve.plateau],
        "optimum": {"x": _shown(h, best), **(ends or {"low": None, "high": None})},
    }


def _points(case: Case, sign: float) -> list[dict[str, Any]]:
    sweep, h = case.sweep, case.hyperparameter
    return [
        {
            "x": h.levels[int(h.values[i])] if h.scale == "category" else float(h.values[i]),
            "y": float(sign * sweep.y[i]) if np.isfinite(sweep.y[i]) else None,
            "run_id": sweep.run_ids[i],
            "infeasible": bool(sweep.infeasible[i]),
        }
        for i in np.flatnonzero(case.rows & np.isfinite(h.values))
    ]


def _shown(h: Hyperparameter, x: float) -> float | str:
    return h.levels[int(x)] if h.scale == "category" else _value(h, x)


def _value(h: Hyperparameter, x: float) -> float:
    """A value on the own scale in the hyperparameter's unit; an exact 0 for what `transformed` put in its place."""
    if h.scale != "log":
        return float(x)
    smallest = float(np.min(h.values[h.values > 0], initial=np.inf))
    return 0.0 if (h.values == 0).any() and x < np.log(smallest) - 1e-9 else float(np.exp(x))


def _unit(h: Hyperparameter) -> str:
    found = lookup(h.name)
    return found.unit if found else ""


def _caveats(case: Case) -> tuple[str, ...]:
    absent = int(np.isnan(case.hyperparameter.values[case.rows]).sum())
    unknown = "no repeated seeds: the plateau rests on the scatter of near-duplicates"
    caveats = [] if case.curve.floor_known else [unknown]
    if case.optimizer:
        caveats.append(f"at {case.optimizer}, the best optimizer" if not case.condition else f"at {case.optimizer}")
    if absent:
        caveats.append(f"{absent} runs have no {case.hyperparameter.name} and take no part")
    return tuple(caveats)
