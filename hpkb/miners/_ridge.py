"""What a ridge says of one task: the claims, the caveats and the figure that its two miners share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpkb.findings import Finding, Verdict, evidence
from hpkb.miners._words import interval
from hpkb.stats.ridge import Ridge
from hpkb.sweep import FloatArray, Hyperparameter, IntArray, Sweep

ALPHA = 0.05
NO_DEPENDENCE = 0.1  # an exponent this close to 0 moves the best rate by less than a quarter over a decade
NO_INTERACTION = 0.02  # of the variance that the fit explains
ORTHOGONAL = 0.1  # |correlation| of the two knobs, in configurations
NEARLY_ORTHOGONAL = 0.25  # |correlation| of either with anything else that was varied


@dataclass(frozen=True)
class Law:
    """A law worth telling apart: its exponent, what it says in a sentence, and on a chart."""

    exponent: float
    words: str
    label: str


@dataclass(frozen=True)
class Question:
    """What one miner asks of the ridge along its knob; `parameter` is what a derived knob is derived from."""

    miner: str
    knob: str
    quantity: str
    unit: str
    laws: tuple[Law, ...]
    parameter: str = ""

    @property
    def words(self) -> str:
        """The knob in a sentence."""
        return self.knob.replace("_", " ")

    @property
    def hyperparameters(self) -> tuple[str, str]:
        """The two that the findings are about."""
        return ("learning_rate", self.parameter or self.knob)


def exponent_finding(asked: Question, sweep: Sweep, ridge: Ridge, notes: Sequence[str] = ()) -> Finding:
    """Returns the finding on the exponent, with the map of the runs and the ridge on it."""
    verdict = exponent_verdict(ridge.low, ridge.high, ridge.p_value)
    unsettled = _exponent_claim(asked, sweep, ridge, "insufficient")
    return Finding(
        miner=asked.miner, hyperparameters=asked.hyperparameters, quantity=asked.quantity,
        claim=_exponent_claim(asked, sweep, ridge, verdict), verdict=verdict, claim_if_insufficient=unsettled,
        estimate=ridge.exponent, low=ridge.low, high=ridge.high, unit=asked.unit, p_value=ridge.p_value,
        caveats=(*_caveats(sweep, ridge), *_drawn_for(ridge), *notes), figure=_map(asked, sweep, ridge),
        **evidence(sweep),
    )  # fmt: skip


def share_finding(asked: Question, sweep: Sweep, ridge: Ridge, notes: Sequence[str] = ()) -> Finding:
    """Returns the finding on how much learning rate and knob interact at all, ridge or not."""
    low, high, p = ridge.share_low, ridge.share_high, ridge.p_value
    verdict: Verdict = "insufficient"
    if low is not None and high is not None and high <= NO_INTERACTION:
        verdict = "rejected"
    elif low is not None and low > 0 and p is not None and p <= ALPHA:
        verdict = "supported"
    return Finding(
        miner=asked.miner, hyperparameters=asked.hyperparameters, quantity="interaction_share",
        claim=_share_claim(asked, ridge, verdict), verdict=verdict,
        claim_if_insufficient=_share_claim(asked, ridge, "insufficient"),
        estimate=ridge.interaction_share, low=low, high=high, unit="share of variance", p_value=p,
        caveats=(*_caveats(sweep, ridge), *notes), **evidence(sweep),
    )  # fmt: skip


def exponent_verdict(low: float | None, high: float | None, p_value: float | None) -> Verdict:
    if low is None or high is None or p_value is None:
        return "insufficient"
    if max(-low, high) <= NO_DEPENDENCE:
        return "rejected"
    return "supported" if p_value <= ALPHA and not low <= 0 <= high else "insufficient"


def _exponent_claim(asked: Question, sweep: Sweep, ridge: Ridge, verdict: Verdict) -> str:
    if ridge.exponent is None:
        return f"How the best learning rate goes with {asked.words} cannot be said: {ridge.reason}."
    number = interval(ridge.exponent, ridge.low, ridge.high, decimals=2)
    law = f"lr* is proportional to {asked.words} to the power {number}"
    if verdict == "supported":
        link = "varies with" if _orthogonal(sweep, asked.knob) else "is associated with"
        return f"The best learning rate {link} {asked.words}: {law}. {laws(asked, ridge.low, ridge.high)}"
    if verdict == "rejected":
        return (
            f"The best learning rate does not follow {asked.words}: {law}, "
            f"within ±{NO_DEPENDENCE:g} of no dependence. {laws(asked, ridge.low, ridge.high)}"
        )
    return (
        f"Whether the best learning rate goes with {asked.words} is not settled: "
        f"the exponent is {number}. {laws(asked, ridge.low, ridge.high)}"
    )


def laws(asked: Question, low: float | None, high: float | None) -> str:
    """Which laws the interval excludes and which it leaves."""
    bottom, top = -np.inf if low is None else low, np.inf if high is None else high
    held = [law.words for law in asked.laws if bottom <= law.exponent <= top]
    excluded = [law.words for law in asked.laws if not bottom <= law.exponent <= top]
    parts = [f"excludes {join(excluded, 'and')}"] if excluded else []
    parts += [f"leaves {join(held, 'or')}"] if held else []
    return f"The interval {' and '.join(parts)}."


def join(words: Sequence[str], conjunction: str) -> str:
    return f" {conjunction} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _share_claim(asked: Question, ridge: Ridge, verdict: Verdict) -> str:
    pair = f"learning rate and {asked.words}"
    if ridge.interaction_share is None:
        return f"Whether {pair} interact cannot be said: {ridge.reason}."
    share, low, high = (percent(x) for x in (ridge.interaction_share, ridge.share_low, ridge.share_high))
    number = f"{share} (95% interval {low} to {high}) of the variance that the fit explains"
    if verdict == "supported":
        return f"{pair.capitalize()} interact: {number} is beyond any sum of their main effects."
    if verdict == "rejected":
        return f"{pair.capitalize()} can be tuned one after the other: their interaction is {number}."
    return f"Whether {pair} interact is not settled: the interaction is {number}."


def percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.{0 if share == 0 or share >= 0.1 else 1}f}%"


def _orthogonal(sweep: Sweep, knob: str) -> bool:
    """Whether the design varied the two independently of each other and of all else."""
    _, first = np.unique(sweep.configuration, return_index=True)
    columns = {h.name: c for h in sweep.hyperparameters for c in [_columns(h, first)] if c.size}
    own = [columns.pop("learning_rate"), columns.pop(knob)]
    if _correlation(own[0], own[1]) > ORTHOGONAL:
        return False
    return all(_correlation(a, b) <= NEARLY_ORTHOGONAL for a in own for b in columns.values())


def _columns(parameter: Hyperparameter, rows: IntArray) -> FloatArray:
    """The values, or an indicator of each level, centred and of length 1, (n, k); absent values at the mean."""
    x = parameter.transformed[rows]
    if np.isnan(x).all():
        return np.empty((x.size, 0))
    block = (x[:, None] == np.unique(x[~np.isnan(x)])) if parameter.scale == "category" else x[:, None]
    centred = np.nan_to_num(block - np.nanmean(block, axis=0))
    size = np.sqrt((centred**2).sum(axis=0))
    return np.asarray(centred[:, size > 0] / size[size > 0])


def _correlation(a: FloatArray, b: FloatArray) -> float:
    return float(np.abs(a.T @ b).max()) if a.shape[1] and b.shape[1] else 0.0


def _caveats(sweep: Sweep, ridge: Ridge) -> tuple[str, ...]:
    """What a reader has to know before relying on the number."""
    found = []
    if ridge.p_value is None:
        return ()
    if ridge.unadjusted:
        found.append(f"Not adjusted for {', '.join(ridge.unadjusted)}: too few configurations.")
    if ridge.infeasible == "worst":
        found.append("Diverged runs count as the worst value: without them no rise at high learning rates is seen.")
    elif sweep.infeasible.any():
        found.append(f"Infeasible runs ({percent(sweep.infeasible_share)}) are left out.")
    if ridge.scale == "scores":
        found.append("Fitted to the ranks of the objective, on which the model predicts better.")
    if sweep.hyperparameter("optimizer") and "optimizer" not in ridge.moved_by:
        found.append(
            "The optimizers were given one best learning rate in common: there are too few runs of each for more."
        )
    return tuple(found)


def _drawn_for(ridge: Ridge) -> tuple[str, ...]:
    if not (ridge.drawn_for and ridge.line):
        return ()
    return (f"The ridge is drawn for {join(ridge.drawn_for, 'and')}; that of others runs beside it.",)


def _map(asked: Question, sweep: Sweep, ridge: Ridge) -> dict[str, Any]:
    """The figure: every run over learning rate and knob, and the ridge."""
    rate, knob = sweep.hyperparameter("learning_rate"), sweep.hyperparameter(asked.knob)
    if rate is None or knob is None:
        return {}
    sign = -1.0 if sweep.objective.endswith(":max") else 1.0
    metric = sweep.objective.rpartition(":")[0] or sweep.objective
    rows = np.flatnonzero((rate.values > 0) & (knob.values > 0))
    points = [
        {
            "x": float(rate.values[i]), "y": float(knob.values[i]), "run_id": sweep.run_ids[i],
            "value": sign * float(sweep.y[i]) if np.isfinite(sweep.y[i]) else None,
            "infeasible": bool(sweep.infeasible[i]),
        }
        for i in rows
    ]  # fmt: skip
    line = [{"x": p.learning_rate, "y": p.knob, "low": p.low, "high": p.high} for p in ridge.line]
    return {
        "kind": "map", "x": {"label": "learning_rate", "scale": "log"}, "y": {"label": asked.knob, "scale": "log"},
        "value": {"label": metric}, "points": points, "ridge": line,
    }  # fmt: skip
