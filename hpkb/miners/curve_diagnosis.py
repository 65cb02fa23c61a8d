"""What the learning curves say went wrong: too little training, too much, noise, spikes, clipping.

Question
--------
Do runs overfit, and from which step on? Do they underfit? Are they still improving when they end, is their best step
in the first tenth, do late values scatter, are there spikes, does the training loss rise, is most of the gradient
clipped? And which of these is true of the best run, the one that everything else is compared with?

Method
------
The checks of the Deep Learning Tuning Playbook (Godbole, Dahl, Gilmer, Shallue & Nado 2023), made into tests. A curve
is cut into up to sixteen windows, their medians are its levels. A sign is a departure that is both large against how
far the curve came and beyond its noise, which is told from differences of neighbours (Gasser, Sroka & Jennen-Steinmetz
1986), borrowed from the other runs where they scatter alike, and widened where it wanders. *Overfits*: ends 3% of its
way or more above its best level, while training has not got worse. *Still improving*: by 4% of its way over the last
eighth of the run. *Late noise*: points scatter by 3% of its way. *Early best*: turned for the worse within the first
tenth. *Underfits*: training ends, for sure, before half of the way that the best tenth of runs went. *Clipped*: more
than half of the steps. Shares are over configurations, seeds averaged, with Wilson's interval (1927); a share is
supported where an exact binomial test says that clean curves would not show as many.

How to read it
--------------
*Supported*: the sign is there. *Rejected*: it was looked for and at most one configuration in ten can have it; or, of
the best run, the departure is shown to be small. A sign on a few bad runs is no trouble, one on the best run is: it
says that the comparison with all others rests on a run that was too short, too long or too noisy.

When it misleads
----------------
Fewer than ten points of a curve tell nothing. What runs differ in their first evaluation counts as how far they came:
with one evaluation an epoch, most may have happened before it. An objective that is the best value so far never turns.
Training loss measured with dropout or augmentation is no measure of underfitting against a run without them. The
late fall that a decaying learning rate brings may look as if it would go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpkb.findings import LEVEL, Finding, Verdict, evidence
from hpkb.miners import Context
from hpkb.miners._best_run import best_run_findings
from hpkb.miners._curve_signs import Signs, signs_of
from hpkb.miners._curves import watched
from hpkb.stats.curve_shape import FALSE_ALARMS, FEWEST_POINTS, NOISY
from hpkb.stats.curves import by_configuration
from hpkb.stats.meta import NORMAL, random_effects
from hpkb.stats.shares import Share, median_of, share_of
from hpkb.sweep import BoolArray, FloatArray, Sweep

CLEAN = 0.1  # a share that is surely below this is none to speak of


@dataclass(frozen=True)
class _Sign:
    """A sign that runs may show: the quantity, what runs with it do, and how often clean runs seem to."""

    quantity: str
    words: str
    false_alarms: float = FALSE_ALARMS


SIGNS = (
    _Sign("overfit_share", "overfit"),
    _Sign("underfit_share", "underfit"),
    _Sign("still_improving_share", "are still improving when they end"),
    _Sign("early_best_share", "have their best step in the first tenth and get worse after it"),
    _Sign("late_noise_share", "scatter widely from one evaluation to the next at their end", NOISY),
    _Sign("unstable_share", "have spikes"),
    _Sign("plateau_share", "stand still over their second half at a level that others leave below"),
    _Sign("training_rising_share", "end with their training worse than it was"),
    _Sign("clipped_step_share", "have over half of their steps clipped"),
)


def mine(context: Context) -> list[Finding]:
    """Returns the share of runs with each sign, when overfitting begins, and what is wrong with the best run."""
    sweep = context.sweep
    signs = signs_of(sweep, watched(sweep, FEWEST_POINTS))
    found = [_share_finding(sweep, signs, sign) for sign in SIGNS]
    overfit = replace(found[0], figure=_figure(sweep, signs, found))
    return [overfit, *found[1:], *_timing(sweep, signs, found[0]), *best_run_findings(sweep, signs)]


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns how many configurations show each sign on the next task, from the shares of all tasks."""
    found = []
    for sign in SIGNS:
        own = [f for f in findings if f.quantity == sign.quantity and isinstance(f.low, float)]
        if len({f.task for f in own}) > 1:
            found.append(_together(sign, own))
    return found


def _share_finding(sweep: Sweep, signs: Signs, sign: _Sign) -> Finding:
    shown, known = signs.shown.get(sign.quantity, (np.zeros(0, bool),) * 2)
    share = share_of(shown, known, sweep.configuration, sign.false_alarms) if shown.size else None
    if share is None:
        why = signs.lacking(sign.quantity)
        return _unknown(sweep, sign.quantity, f"How many runs {sign.words} cannot be said: {why}.")
    number = f"{share.estimate:.0%} of the configurations (95% interval {share.low:.0%} to {share.high:.0%})"
    verdict = _verdict(share)
    unsettled = f"Whether more runs {sign.words} than chance alone would show is not settled: {number}."
    claims: dict[Verdict, str] = {
        "supported": f"Runs of {number} {sign.words}.",
        "rejected": f"Hardly any runs {sign.words}: {number}.",
        "insufficient": unsettled,
    }
    return Finding(
        miner="curve_diagnosis", hyperparameters=(), quantity=sign.quantity, claim=claims[verdict],
        claim_if_insufficient=unsettled, verdict=verdict, estimate=share.estimate, low=share.low, high=share.high,
        unit=f"share of configurations, by {signs.metric}", p_value=share.p_value, caveats=signs.caveats(sign.quantity),
        **evidence(sweep),
    )  # fmt: skip


def _verdict(share: Share) -> Verdict:
    if share.p_value <= LEVEL:
        return "supported"
    return "rejected" if share.high <= CLEAN else "insufficient"


def _unknown(sweep: Sweep, quantity: str, claim: str) -> Finding:
    return Finding(
        miner="curve_diagnosis", hyperparameters=(), quantity=quantity, claim=claim, verdict="insufficient",
        **evidence(sweep),
    )  # fmt: skip


def _timing(sweep: Sweep, signs: Signs, overfit: Finding) -> Iterator[Finding]:
    """When overfitting begins, and where on the run its best step lies."""
    shown, known = signs.shown.get("overfit_share", (np.zeros(sweep.n_runs, bool),) * 2)
    onset = _median(sweep, signs.best_share, shown & known)
    if onset is None or onset[1] is None or onset[2] is None:
        why = "fewer than six configurations do"
        yield _unknown(sweep, "overfit_onset", f"From where on runs overfit cannot be said: {why}.")
    else:
        middle, low, high = onset
        number = f"after {middle:.0%} of the run (median over configurations; 95% interval {low:.0%} to {high:.0%})"
        yield Finding(
            miner="curve_diagnosis", hyperparameters=(), quantity="overfit_onset", verdict="supported",
            claim=f"Runs that overfit begin to {number}.",
            claim_if_insufficient=f"That runs overfit at all is not settled; those that may begin to {number}.",
            estimate=middle, low=low, high=high, unit="share of the run", p_value=overfit.p_value, **evidence(sweep),
        ).judged()  # fmt: skip
    yield _best_step(sweep, signs, shown | signs.shown.get("early_best_share", (shown, known))[0], known)


def _best_step(sweep: Sweep, signs: Signs, turned: BoolArray, known: BoolArray) -> Finding:
    best = _median(sweep, signs.best_share, known)
    if best is None or best[1] is None or best[2] is None:
        why = signs.lacking("overfit_share") if best is None else "fewer than six configurations have curves"
        return _unknown(sweep, "best_step_fraction", f"Where on a run its best step lies cannot be said: {why}.")
    middle, low, high = best[0], float(best[1]), float(best[2])
    number = f"after {middle:.0%} of it (median over configurations; 95% interval {low:.0%} to {high:.0%})"
    claim = f"The best step of a run comes {number}"
    at_end = bool(low >= 1 - CLEAN)
    tested = None if at_end else share_of(turned, known, sweep.configuration, FALSE_ALARMS)
    finding = Finding(
        miner="curve_diagnosis", hyperparameters=(), quantity="best_step_fraction",
        claim=f"{claim}: at its end." if at_end else f"{claim}, and runs get worse from there.",
        claim_if_insufficient=f"{claim}; that it would be worse to take the last one is not settled.",
        verdict="rejected" if at_end else "supported", estimate=middle, low=low, high=high,
        unit="share of the run", p_value=tested.p_value if tested else None,
        caveats=("Where a curve is flat, noise decides which of its steps is best.",), **evidence(sweep),
    )  # fmt: skip
    return finding if at_end else finding.judged()


def _median(sweep: Sweep, values: FloatArray, rows: BoolArray) -> tuple[float, float | None, float | None] | None:
    usable = np.flatnonzero(rows & np.isfinite(values))
    if not usable.size:
        return None
    return median_of(by_configuration(values[usable], sweep.configuration[usable]))


def _figure(sweep: Sweep, signs: Signs, found: Sequence[Finding]) -> dict[str, object]:
    """The shares of all signs as one chart, and what each run shows."""
    rows = [
        {"label": f.quantity.removesuffix("_share").replace("_", " "), "estimate": f.estimate, "low": f.low,
         "high": f.high, "verdict": f.verdict}
        for f in found if f.estimate is not None
    ]  # fmt: skip
    each = zip(sweep.run_ids, signs.reasons, strict=True)
    runs = [{"run_id": run, "reasons": list(reasons)} for run, reasons in each]
    return {"kind": "forest", "x": {"label": "share of configurations"}, "rows": rows, "runs": runs,
            "references": [{"label": "none", "value": 0.0}]} if rows else {}  # fmt: skip


def _together(sign: _Sign, findings: Sequence[Finding]) -> Finding:
    shares = np.array([float(f.estimate or 0) for f in findings])
    errors = np.array([(float(f.high or 0) - float(f.low or 0)) / (2 * NORMAL) for f in findings])
    pooled = random_effects(shares, errors)
    excess = random_effects(shares - sign.false_alarms, errors)
    p = excess.p_value if excess.estimate > 0 else 1.0
    low, high = max(pooled.low, 0.0), min(pooled.high, 1.0)
    number = f"{pooled.estimate:.0%} of the configurations (95% interval {low:.0%} to {high:.0%})"
    there, clean = (sum(f.verdict == verdict for f in findings) for verdict in ("supported", "rejected"))
    unsettled = f"Over {pooled.n} tasks it is not settled how many runs {sign.words}: {number}."
    verdict: Verdict = "supported" if p <= LEVEL else "insufficient"
    claim = f"Over {pooled.n} tasks, runs of {number} {sign.words}."
    if there and clean:
        verdict = "rejected"
        claim = f"There is no general rule: on {there} of {pooled.n} tasks runs {sign.words}, on {clean} hardly any do."
    runs = sum(f.n_runs for f in findings)
    return Finding(
        miner="curve_diagnosis", task=None, hyperparameters=(), quantity=sign.quantity,
        claim=claim if verdict != "insufficient" else unsettled, claim_if_insufficient=unsettled, verdict=verdict,
        estimate=float(np.clip(pooled.estimate, low, high)), low=low, high=high, unit="share of configurations",
        p_value=p, n_runs=runs, n_configurations=sum(f.n_configurations for f in findings), n_tasks=len(findings),
        n_seeds=max(f.n_seeds for f in findings),
        infeasible_share=sum(f.infeasible_share * f.n_runs for f in findings) / max(runs, 1),
        caveats=(f"I² = {pooled.i_squared:.0%}.",), run_ids=tuple(run for f in findings for run in f.run_ids),
    )  # fmt: skip
