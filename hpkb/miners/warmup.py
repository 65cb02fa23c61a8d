"""Whether warmup pays, how long it should be, and whether it lets the learning rate be higher.

Question
--------
Does a rise of the learning rate over the first steps give a better result than none? How long should it be? Does it
move the best learning rate?

Method
------
Runs with warmup are compared with runs without, each at its own best learning rate: one smooth curve along the learning
rate (penalised splines, Eilers & Marx 1996), moved and scaled for each of the two, all other hyperparameters held. A
comparison at a common rate would credit warmup with a rate that only it can bear (Gotmare et al. 2019; Kalra and
Barkeshli 2024). The errors allow for scatter of any size anywhere (HC3, MacKinnon & White 1985), and the p-value must
hold on the ranks of the results as well. The best length is the bottom of a parabola in the logarithm of the warmup's
share of the steps (of the steps themselves where the length of training is not known), each length at its own best
learning rate, with Fieller's interval (1954). Tasks are never pooled: differences are divided by the spread of their
task's results and combined by random-effects meta-analysis (REML; Hartung & Knapp 2001).

How to read it
--------------
*Supported*: warmup goes with a better (or worse) result, each at its own best rate. *Rejected*: the difference is
smaller than the scatter over seeds. The best length is a flat optimum as a rule: read its interval, not its middle. A
ratio of best learning rates above 1 says that warmup bears a higher rate.

When it misleads
----------------
Runs that diverged are left out of the difference: where warmup only prevents divergence, *divergence* and the shares of
infeasible runs in the caveats say so. Warmup goes along with the optimizer in many sweeps (Adam with, SGD without);
then nothing is claimed. A parabola is an approximation: where the result falls and then stays flat there is no best
length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpkb.findings import Finding, Verdict, evidence
from hpkb.miners import Context
from hpkb.miners._pairs import Pairs, pair_finding, pairs_over_tasks, rate_finding
from hpkb.miners._words import interval
from hpkb.stats.contrast import Groups, contrasts_between
from hpkb.stats.noise import floor
from hpkb.stats.quadratic_optimum import QuadraticOptimum, quadratic_optimum
from hpkb.sweep import FloatArray, Sweep, direction_of, metric_of

NAME = "warmup_steps"
WARMUP = Pairs("warmup", (NAME,), ("no warmup",))
LABELS = ("no warmup", "warmup")


def mine(context: Context) -> list[Finding]:
    """Returns the difference of warmup and none, how it moves the best learning rate, and the best length."""
    sweep = context.sweep
    h = sweep.hyperparameter(NAME)
    if h is None or h.scale == "category":
        return []
    codes = np.where(np.isnan(h.values), np.nan, (h.values > 0) * 1.0)
    groups, noise = Groups(codes, LABELS, (NAME,)), floor(sweep)
    found = list[Finding]()
    for c in contrasts_between(sweep, groups):
        oriented = WARMUP.oriented(c)
        found.append(pair_finding(WARMUP, sweep, oriented, codes, LABELS, noise=noise))
        moved = rate_finding(WARMUP, sweep, oriented)
        found += [moved] if moved is not None else []
    return [*found, _best_length(sweep, h.values)]


def _length(sweep: Sweep, warmup: FloatArray) -> tuple[FloatArray, str]:
    """The warmup as a share of the steps, (n_runs,), or in steps where those are not known; and the unit."""
    steps = sweep.hyperparameter("steps")
    if steps is not None and steps.scale != "category":
        return warmup / np.where(steps.values > 0, steps.values, np.nan), "share of the steps"
    try:
        fixed = float(sweep.fixed.get("steps", "nan"))
    except ValueError:
        fixed = np.nan
    return (warmup / fixed, "share of the steps") if fixed > 0 else (warmup, "steps")


def _best_length(sweep: Sweep, warmup: FloatArray) -> Finding:
    length, unit = _length(sweep, warmup)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(length > 0, np.log(length), np.nan)
    found = quadratic_optimum(sweep, x, (NAME,))
    if found.estimate is None:
        return Finding(
            miner="warmup", hyperparameters=(NAME,), quantity="optimum", verdict="insufficient", unit=unit,
            claim=f"The best length of warmup cannot be said: {found.reason}.", **evidence(sweep),
        )  # fmt: skip
    estimate, low, high = (None if v is None else float(np.exp(v)) for v in (found.estimate, found.low, found.high))
    bounded = low is not None and high is not None
    number = interval(estimate, low, high)
    verdict: Verdict = "supported" if bounded else "insufficient"
    finding = Finding(
        miner="warmup", hyperparameters=(NAME,), quantity="optimum", verdict=verdict, estimate=estimate, low=low,
        high=high, unit=unit, p_value=found.p_value, figure=_figure(sweep, length, found, unit),
        claim=f"The best warmup for {metric_of(sweep)} is {number} {unit}.",
        claim_if_insufficient=f"The best length of warmup is not settled; it is estimated at {number} {unit}.",
        caveats=_caveats(found), **evidence(sweep),
    )  # fmt: skip
    return finding.judged() if bounded else finding.insufficient("the interval is open")


def _caveats(found: QuadraticOptimum) -> tuple[str, ...]:
    caveats = ["Runs without warmup take no part: 0 has no logarithm."]
    if not found.at_own_best:
        caveats.append("At common learning rates, not at the best one of each length.")
    return tuple(caveats)


def _figure(sweep: Sweep, length: FloatArray, found: QuadraticOptimum, unit: str) -> dict[str, Any]:
    """The runs over the length of warmup, the parabola with its band, and its bottom."""
    sign = direction_of(sweep)
    points = [
        {"x": float(length[i]), "y": float(sign * sweep.y[i]) if np.isfinite(sweep.y[i]) else None,
         "run_id": sweep.run_ids[i], "infeasible": bool(sweep.infeasible[i])}
        for i in np.flatnonzero(length > 0)
    ]  # fmt: skip
    curve = np.empty((0, 3)) if found.curve is None else found.curve
    best = float(np.nanmin(sweep.y))
    line = []
    for place, height, error in curve - np.array([0.0, curve[:, 1].min() if curve.size else 0.0, 0.0]):
        ends = sorted((sign * (best + height - 2 * error), sign * (best + height + 2 * error)))
        line.append({"x": float(np.exp(place)), "y": float(sign * (best + height)), "low": ends[0], "high": ends[1]})
    ends = [None if v is None else float(np.exp(v)) for v in (found.estimate, found.low, found.high)]
    return {
        "kind": "response", "x": {"label": f"{NAME} ({unit})", "scale": "log", "levels": []},
        "y": {"label": metric_of(sweep), "scale": "linear"}, "points": points, "line": line, "plateau": [],
        "optimum": {"x": ends[0], "low": ends[1], "high": ends[2]},
    }  # fmt: skip


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of warmup against none."""
    return list(pairs_over_tasks(findings))
