"""The checks that the Deep Learning Tuning Playbook asks of the best run, one finding each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import bdtrc, stdtrit
from scipy.stats import norm

from hpkb.findings import LEVEL, Finding, Verdict, evidence
from hpkb.miners._curve_signs import Signs
from hpkb.miners._curves import Watched, best_run
from hpkb.stats.curve_shape import EARLY, GAIN, NOISE, RISE, Shapes
from hpkb.stats.feasibility import wilson
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import Sweep

SMALL = 0.05  # of a curve's way: a departure that is surely less is none to speak of
STEPS = 400  # what a run's steps count as at most: neighbours are clipped together


@dataclass(frozen=True)
class _Check:
    """One check of the best run: its number with the interval, p-value of no departure, and whether it is shown."""

    quantity: str
    words: str
    unit: str
    estimate: float
    low: float
    high: float
    p_value: float
    shown: bool
    clean: bool

    @property
    def verdict(self) -> Verdict:
        """What comes of it."""
        if self.shown and self.p_value <= LEVEL:
            return "supported"
        return "rejected" if self.clean and not self.shown else "insufficient"


WORDS = {
    "best_trial_overfits": "overfits",
    "best_trial_late_noise": "scatters widely at its end",
    "best_trial_still_improving": "is still improving when it ends",
    "best_trial_early_best": "has its best step in the first tenth",
    "best_trial_clipped": "has over half of its steps clipped",
}


def best_run_findings(sweep: Sweep, signs: Signs) -> Iterator[Finding]:
    """Returns a finding for each check of the best run."""
    checks = {check.quantity: check for check in _checks(sweep, signs)}
    for quantity, words in WORDS.items():
        check = checks.get(quantity)
        if check is None:
            lacking = signs.lacking("clipped_step_share" if quantity == "best_trial_clipped" else "")
            yield Finding(
                miner="curve_diagnosis", hyperparameters=(), quantity=quantity, verdict="insufficient",
                claim=f"Whether the best run {words} cannot be said: {lacking}.", **evidence(sweep),
            )  # fmt: skip
        else:
            yield _finding(sweep, signs, check, words)


def _finding(sweep: Sweep, signs: Signs, check: _Check, words: str) -> Finding:
    number = f"{check.words} {check.estimate:.1%} (95% interval {check.low:.1%} to {check.high:.1%})"
    unsettled = f"Whether the best run {words} is not settled: {number}."
    claims: dict[Verdict, str] = {
        "supported": f"The best run {words}: {number}.",
        "rejected": f"Nothing says that the best run {words}: {number}.",
        "insufficient": unsettled,
    }
    watched = signs.watched if check.quantity != "best_trial_clipped" else None
    figure = _figure(watched, signs) if watched and check.quantity == "best_trial_overfits" else {}
    return Finding(
        miner="curve_diagnosis", hyperparameters=(), quantity=check.quantity, claim=claims[check.verdict],
        claim_if_insufficient=unsettled, verdict=check.verdict, estimate=check.estimate, low=check.low, high=check.high,
        unit=check.unit, p_value=check.p_value, caveats=_caveats(sweep, watched, check.quantity),
        figure=figure, **evidence(sweep),
    )  # fmt: skip


def _caveats(sweep: Sweep, watched: Watched | None, quantity: str) -> tuple[str, ...]:
    if watched is None or not feasible_runs(sweep).any():
        return ()
    found = []
    if quantity == "best_trial_still_improving":
        found.append("What a learning rate that decays to the end brings late belongs to the plan and would not go on.")
    best = float(np.min(sweep.y[feasible_runs(sweep)]))
    own = float(watched.sweep.y[best_run(watched)])
    if own > best:
        found.append("The best run of all has no curve; this is the best of those that have one.")
    return tuple(found)


def _checks(sweep: Sweep, signs: Signs) -> Iterator[_Check]:
    if signs.watched is not None and signs.of_metric is not None:
        run, curve = best_run(signs.watched), signs.of_metric
        if curve.known[run]:
            shown = {name: bool(which[signs.watched.rows[run]]) for name, (which, _) in signs.shown.items()}
            yield from _of_curve(curve, run, shown, signs.metric)
    usable = np.flatnonzero(feasible_runs(sweep))
    if usable.size and np.isfinite(clipped := signs.clipped[usable[np.argmin(sweep.y[usable])]]):
        yield _of_clipping(float(clipped), _steps(sweep, int(usable[np.argmin(sweep.y[usable])])))


def _of_curve(curve: Shapes, run: int, shown: dict[str, bool], metric: str) -> Iterator[_Check]:
    half = float(stdtrit(curve.degrees[run], 0.975) * curve.error[run])
    rise, gain, scatter = (float(x[run]) for x in (curve.rise, curve.gain, curve.scatter))
    unit, sides = f"of the way that {metric} came", np.sqrt(1.5)
    yield _Check(
        "best_trial_overfits", "it ends above its best by", unit, rise, max(rise - sides * half, 0.0),
        rise + sides * half, float(curve.rise_p[run]), shown["overfit_share"], rise + sides * half < max(SMALL, RISE),
    )  # fmt: skip
    yield _Check(
        "best_trial_still_improving", "over an eighth of the run before its end it gains", unit, gain, gain - half,
        gain + half, float(curve.gain_p[run]), shown["still_improving_share"], gain + half < max(SMALL, GAIN),
    )  # fmt: skip
    reach = float(np.exp(norm.ppf(0.975) * curve.scatter_error[run]))
    yield _Check(
        "best_trial_late_noise", "late values scatter by", unit, scatter, scatter / reach, scatter * reach,
        float(curve.scatter_p[run]), shown["late_noise_share"], scatter * reach < max(SMALL, NOISE),
    )  # fmt: skip
    best = float(curve.best_share[run])
    yield _Check(
        "best_trial_early_best", "its best step comes after", "share of the run", best,
        max(best - 0.1, 0.0), min(best + 0.1, 1.0), float(curve.rise_p[run]), shown["early_best_share"],
        best > 2 * EARLY or rise + sides * half < max(SMALL, RISE),
    )  # fmt: skip


def _steps(sweep: Sweep, run: int) -> int:
    """What a run's steps count as: of the longest of its curves, capped."""
    curves = [sweep.records.curves(metric)[run] for metric in sweep.records.metrics]
    return int(np.clip(max((c.step[-1] for c in curves if c is not None and c.step.size), default=STEPS), 1, STEPS))


def _of_clipping(share: float, steps: int) -> _Check:
    low, high = wilson(share, steps)
    p = float(bdtrc(np.ceil(share * steps) - 1, steps, 0.5)) if share > 0 else 1.0
    return _Check(
        "best_trial_clipped", "clipped are", "share of the steps", share, low, high, p, share > 0.5, high < 0.5
    )


def _figure(watched: Watched, signs: Signs) -> dict[str, Any]:
    """The levels of the best run's curve over the run, with the errors of a level."""
    assert signs.of_metric is not None
    run, cut = best_run(watched), signs.of_metric.of_windows
    half = float(stdtrit(cut.degrees[run], 0.975) * cut.error[run])
    there = np.isfinite(cut.level[run]) & np.isfinite(half)
    points = zip(cut.share[run][there].tolist(), (watched.sign * cut.level[run][there]).tolist(), strict=True)
    line = [{"x": x, "y": y, "low": y - half, "high": y + half} for x, y in points]
    best = float(signs.of_metric.best_share[run])
    return {
        "kind": "response", "x": {"label": "share of the run", "scale": "linear"},
        "y": {"label": watched.metric, "scale": "linear"}, "points": [], "line": line,
        "optimum": {"x": best, "low": None, "high": None},
    }  # fmt: skip
