"""How the best learning rate scales with the batch size.

Question
--------
If I double the batch, by how much do I raise the learning rate? By as much (exponent 1, linear scaling), by its
square root (0.5), or not at all (0)?

Method
------
The objective's mean over the seeds of each configuration is described by one curve in ln(learning rate) that slides
along with ln(batch size), plus main effects of batch size and of every other hyperparameter: f(ln lr - exponent · ln
B) + g(ln B) + ... . The curve f is a cubic spline, so that a slow rise on one side and a cliff on the other do no
harm; the optimizer, the weight decay and the momentum may slide it too, and the batch size may make it deeper or
shallower. Objective or normal scores of its ranks, and few splines or more: whichever predicts left-out
configurations better. The interval holds all exponents that a score test does not refuse (Tukey 1949, *One degree of
freedom for non-additivity*; Milliken & Graybill 1970), with errors that allow for uneven noise (HC3, MacKinnon &
White 1985). The p-value is that of no interaction, and stays right where the learning rate has little effect (Davies
1987 tells why the usual test does not). An exponent is stated only if the learning rate matters and the curve rises
on both sides of its minimum. Where the budget varies, in epochs or in steps, it may slide the curve as well, and the
exponent is given twice: with the epochs held and with the steps held. `scaling_law` compares four laws with one curve
each, linear, square root, none, and one that is linear for small batches and levels off, B/(B + bend) (McCandlish et
al. 2018), by Akaike's weights (Burnham & Anderson 2002), and says which of them a test refuses. Tasks are combined by
random-effects meta-analysis (REML; Hartung & Knapp 2001). The laws: linear scaling, Goyal et al. 2017; square root,
Krizhevsky 2014 and, for Adam, Malladi et al. 2022.

How to read it
--------------
*Supported*: the exponent differs from 0, and the claim says which laws its interval excludes. An exponent of 0.4
means that four times the batch asks for 1.7 times the rate. *Rejected*: the whole interval lies within ±0.1 of 0. The
band on the map is the best learning rate at each batch size. The exponent "near the best rate" in the caveats uses
the half of the configurations that lie nearest to it alone: where it differs from the other, a cliff far off moves
with the batch size in another way than the best rate does. A law is as good as its weight only among those that are
not refused.

When it misleads
----------------
At a fixed number of epochs a larger batch takes fewer steps, which alone asks for a higher rate; at a fixed number of
steps it sees more data. The exponent belongs to the budget that is held, and the two are not to be compared. One
exponent is fitted over the whole range: scaling that is linear for small batches and levels off for large ones shows
as something between. Where the best rate of a batch size lies beyond those that were tried, only the edge of its
curve is seen, and a caveat says so. Different optimizers may scale differently; in one sweep they share one exponent
here. Beside a cliff the curve is smoothed, so that the band may lie a little to the safe side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from hpkb.findings import LEVEL, Finding, Verdict, evidence
from hpkb.miners import Context
from hpkb.miners._ridge import Law, Question, exponent_finding, join
from hpkb.miners._ridge_tasks import combine_exponents
from hpkb.miners._words import interval
from hpkb.stats.ridge import FEWEST_CONFIGURATIONS, Ridge, fit_ridge, near_best
from hpkb.stats.ridge_data import derived
from hpkb.stats.scaling_laws import LawFit, compare_laws
from hpkb.sweep import Sweep

ASKED = Question(
    miner="lr_batch_size",
    knob="batch_size",
    quantity="scaling_exponent",
    unit="d ln lr* / d ln batch_size",
    laws=(
        Law(1.0, "linear scaling (1)", "linear"),
        Law(0.5, "square-root scaling (0.5)", "square root"),
        Law(0.0, "no scaling (0)", "none"),
    ),
)
BUDGETS = {"epochs": "at equal epochs", "steps": "at equal steps"}
SAID = {
    "linear": "linear scaling", "square root": "square-root scaling", "none": "no scaling",
    "saturating": "scaling that levels off",
}  # fmt: skip


def mine(context: Context) -> list[Finding]:
    """Returns the exponent of the best learning rate in the batch size, by budget where that varies, and the law."""
    sweep = context.sweep
    if not sweep.n_runs:
        return []
    ridge = fit_ridge(sweep, ASKED.knob)
    notes = tuple(_notes(sweep, ridge)) if ridge.p_value is not None else ()
    found = [exponent_finding(ASKED, sweep, ridge, notes)]
    if ridge.exponent is not None:
        found.append(_law_finding(sweep, ridge, compare_laws(sweep, ridge)))
    return found + [_beside(sweep, runs, held, fit_ridge(runs, ASKED.knob)) for held, runs in _budgets(sweep)]


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of the exponent, and with epochs and steps held where both can be."""
    together = []
    for condition in ("", *BUDGETS.values()):
        own = [f for f in findings if f.condition == condition and f.quantity == ASKED.quantity]
        one = combine_exponents(ASKED, own)
        together += [replace(one, condition=condition)] if one is not None else []
    return together


def _beside(sweep: Sweep, runs: Sweep, condition: str, ridge: Ridge) -> Finding:
    """The exponent with another budget held, or of the runs with one kind of budget, beside that of all."""
    finding = exponent_finding(ASKED, runs, ridge)
    claims = (f"{condition[0].upper()}{condition[1:]}: {c[0].lower()}{c[1:]}" if c else "" for c in
              (finding.claim, finding.claim_if_insufficient))  # fmt: skip
    claim, unsettled = claims
    shown = {**evidence(sweep), "run_ids": runs.run_ids}
    return replace(finding, condition=condition, claim=claim, claim_if_insufficient=unsettled, figure={}, **shown)  # type: ignore[arg-type]


def _budgets(sweep: Sweep) -> Iterator[tuple[str, Sweep]]:
    """The same sweep with the other budget held, or the runs whose budget was set in epochs and those in steps."""
    batch, epochs, steps = (sweep.hyperparameter(name) for name in ("batch_size", "epochs", "steps"))
    if batch is None or batch.scale == "category":
        return
    if epochs is not None and steps is not None:
        in_epochs, in_steps = np.isfinite(epochs.values), np.isfinite(steps.values)
        for name, rows in (("epochs", in_epochs & ~in_steps), ("steps", in_steps & ~in_epochs)):
            runs = sweep.subset(rows)
            if runs.n_configurations >= FEWEST_CONFIGURATIONS:
                yield BUDGETS[name], runs
    elif epochs is not None and "steps" not in sweep.fixed:
        yield BUDGETS["steps"], derived(sweep, "epochs", "steps", epochs.values / batch.values)
    elif steps is not None and "epochs" not in sweep.fixed:
        yield BUDGETS["epochs"], derived(sweep, "steps", "epochs", steps.values * batch.values)


def _law_finding(sweep: Sweep, ridge: Ridge, laws: Sequence[LawFit]) -> Finding:
    """Which laws are left: supported where the rate does follow the batch size and one law of how is refused."""
    left = [law for law in laws if not law.refused]
    refused = [SAID[law.name] for law in laws if law.refused]
    best = laws[0]
    weights = ", ".join(f"{law.name} {law.weight:.2f}" for law in laws)
    told = f"{SAID[best.name]} fits best (weights: {weights})"
    if best.bend is not None:
        told += f"; it levels off at batches of about {best.bend:.0f}"
    out = f"The tests refuse {join(refused, 'and')}" if refused else "The tests refuse none of them"
    stay = f" and leave {join([SAID[law.name] for law in left], 'or')}" if left and refused else ""
    unsettled = f"Which law the best learning rate follows in the batch size is not settled: {told}. {out}{stay}."
    claim = f"Of the laws of the best learning rate in the batch size, {told}. {out}{stay}."
    moved = all(law.refused for law in laws if law.name == "none") and ridge.p_value is not None
    verdict: Verdict = "insufficient"
    if moved and len(refused) > 1 and not best.refused and ridge.p_value is not None and ridge.p_value <= LEVEL:
        verdict = "supported"
    elif best.name == "none" and len(left) == 1 and not best.refused:
        verdict = "rejected"
    caveats = ("The law that fits best is refused as well: none of them is quite right.",) if best.refused else ()
    return Finding(
        miner=ASKED.miner, hyperparameters=ASKED.hyperparameters, quantity="scaling_law", verdict=verdict,
        claim=unsettled if verdict == "insufficient" else claim, claim_if_insufficient=unsettled,
        estimate=best.name, unit="law", p_value=ridge.p_value, caveats=caveats,
        figure=_law_figure(laws), **evidence(sweep),
    )  # fmt: skip


def _law_figure(laws: Sequence[LawFit]) -> dict[str, object]:
    rows = [
        {"label": SAID[law.name], "estimate": law.weight, "low": None, "high": None,
         "verdict": "insufficient" if law.refused else "supported"}
        for law in laws
    ]  # fmt: skip
    return {"kind": "forest", "x": {"label": "weight among the laws"}, "rows": rows, "references": []}


def _notes(sweep: Sweep, ridge: Ridge) -> Iterator[str]:
    if sweep.hyperparameter("optimizer"):
        yield "The optimizers share one exponent, each at its own best learning rate."
    names = {*sweep.fixed, *(h.name for h in sweep.hyperparameters)}
    if "epochs" in names and "steps" not in names:
        yield "At equal epochs: a larger batch takes fewer steps."
    elif "steps" in names and "epochs" not in names:
        yield "At equal steps: a larger batch sees more data."
    near = near_best(sweep, ASKED.knob, ridge)
    local = fit_ridge(near, ASKED.knob) if near is not None else ridge
    if local is not ridge and local.exponent is not None and local.low is not None and local.high is not None:
        yield f"Near the best rate alone the exponent is {interval(local.exponent, local.low, local.high, decimals=2)}."
    rate = sweep.hyperparameter("learning_rate")
    if rate is None or not ridge.line:
        return
    tried = rate.values[rate.values > 0]
    beyond = [p.knob for p in ridge.line if not tried.min() <= p.learning_rate <= tried.max()]
    if beyond:
        sizes = join([f"{size:.4g}" for size in beyond], "and")
        yield f"At batch size {sizes} the best rate lies beyond those that were tried: only the curve's edge is seen."
