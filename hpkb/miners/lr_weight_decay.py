"""Whether the best learning rate depends on the weight decay, and how.

Question
--------
If I change the weight decay, do I have to search for the learning rate again? Two answers are worth telling apart:
only the product of the two matters (exponent -1: ten times the decay asks for a tenth of the rate), or they are
independent (exponent 0: tune one after the other).

Method
------
The objective's mean over the seeds of each configuration is described by one curve in ln(learning rate) that slides
along with ln(weight decay), plus main effects of weight decay and of every other hyperparameter: f(ln lr - exponent ·
ln wd) + g(ln wd) + ... . The curve f is a cubic spline, so that a slow rise on one side and a cliff on the other do
no harm; the optimizer, the batch size and the momentum may slide it too, and weight decay may make it deeper or
shallower. Objective or normal scores of its ranks, and few splines or more: whichever predicts left-out
configurations better. The interval holds all exponents that a score test does not refuse (Tukey 1949, *One degree of
freedom for non-additivity*; Milliken & Graybill 1970), with errors that allow for uneven noise (HC3, MacKinnon &
White 1985). The p-value is that of no interaction. It stays right where the learning rate has little effect, where
the usual test fails because the exponent then means nothing (Davies 1987); an exponent is stated only if the learning
rate matters and the curve rises on both sides of its minimum. `interaction_share` is the part of the fitted variance
that no sum of main effects can hold (functional ANOVA). Where runs differ in length, the exponent of the best
learning rate in the number of steps (or epochs) is estimated in the same way: a constant product of rate and decay
leaves it at 0, AdamW's time scale 1/(lr · wd · steps), the share of training over which weights are averaged, moves
it by -1 (Wang & Aitchison 2024). With several optimizers each has an exponent of its own where its runs are enough,
and coupled decay (an L2 penalty) is compared with decoupled decay (Loshchilov & Hutter 2019). Tasks are combined by
random-effects meta-analysis (REML; Hartung & Knapp 2001).

How to read it
--------------
*Supported*: the exponent differs from 0, and the claim says which of the two laws its interval excludes. Only with an
exponent of -1 in the decay and of -1 in the steps as well is it the time scale that counts. *Rejected*: the whole
interval lies within ±0.1 of 0; over a decade of weight decay the best rate moves by less than a quarter, and the two
can be tuned apart. The band on the map is the best learning rate at each weight decay.

When it misleads
----------------
Weight decay means an L2 penalty in SGD and Adam and a decoupled shrinkage in AdamW; with several optimizers in one
sweep the exponent without a condition is a mean over them. A longer run asks for a lower rate for other reasons than
weight decay as well. Beside a cliff the curve is smoothed, so that the band may lie a little to
the safe side of the best rate; the exponent does not suffer. One exponent is fitted for the whole range: a law that
bends (no effect at small decays, a ridge at large ones) shows as something between. Runs with a weight decay of
exactly 0 have no place on a logarithmic axis and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from hpkb.findings import LEVEL, Finding, evidence
from hpkb.miners import Context
from hpkb.miners._ridge import Law, Question, exponent_finding, share_finding
from hpkb.miners._ridge_tasks import combine_exponents, combine_shares
from hpkb.miners._words import interval
from hpkb.stats.meta import NORMAL
from hpkb.stats.ridge import Ridge, fit_ridge
from hpkb.stats.ridge_data import of_level
from hpkb.sweep import Sweep

ASKED = Question(
    miner="lr_weight_decay",
    knob="weight_decay",
    quantity="ridge_exponent",
    unit="d ln lr* / d ln wd",
    laws=(
        Law(-1.0, "a constant product of learning rate and weight decay (-1)", "constant product"),
        Law(0.0, "independence (0)", "independent"),
    ),
)
LENGTHS = ("steps", "epochs")
LENGTH_LAWS = (
    Law(-1.0, "a constant time scale 1/(lr · wd · steps) (-1)", "constant time scale"),
    Law(0.0, "no dependence on the length of a run (0)", "constant product"),
)
DECOUPLED = ("adamw", "lion", "lamb", "adafactor", "sgdw", "nadamw")
COUPLED = ("sgd", "adam", "momentum", "rmsprop", "nesterov", "adagrad", "nadam")
FEWEST_OF_AN_OPTIMIZER = 30  # configurations


def mine(context: Context) -> list[Finding]:
    """Returns the exponent of the ridge, also by optimizer and in the length of a run, and the interaction's share."""
    sweep = context.sweep
    if not sweep.n_runs:
        return []
    ridge = fit_ridge(sweep, ASKED.knob)
    notes = tuple(_notes(sweep)) if ridge.p_value is not None else ()
    found = [exponent_finding(ASKED, sweep, ridge, notes), share_finding(ASKED, sweep, ridge, notes)]
    if sweep.hyperparameter(ASKED.knob) is not None:
        found += [*_by_optimizer(sweep), *_by_length(sweep)]
    return found


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of each quantity."""
    whole = [f for f in findings if not f.condition]
    together = [combine_exponents(ASKED, whole), combine_shares(ASKED, whole)]
    together += [combine_exponents(_length(name), findings) for name in LENGTHS]
    found = [finding for finding in together if finding]
    for condition in sorted({f.condition for f in findings if f.condition and f.quantity == ASKED.quantity}):
        one = combine_exponents(ASKED, [f for f in findings if f.condition == condition])
        found += [replace(one, condition=condition)] if one is not None and one.n_tasks > 1 else []
    return found


def _length(name: str) -> Question:
    """What is asked of the length of a run, in steps or in epochs."""
    return Question(ASKED.miner, name, f"{name}_exponent", f"d ln lr* / d ln {name}", LENGTH_LAWS)


def _by_length(sweep: Sweep) -> Iterator[Finding]:
    for name in LENGTHS:
        length = sweep.hyperparameter(name)
        if length is not None and length.scale != "category" and np.unique(length.values[length.values > 0]).size >= 3:
            asked = _length(name)
            yield exponent_finding(asked, sweep, fit_ridge(sweep, name))
            return


def _by_optimizer(sweep: Sweep) -> Iterator[Finding]:
    """An exponent for each optimizer that has runs enough, and that of coupled less that of decoupled decay."""
    optimizer = sweep.hyperparameter("optimizer")
    kinds: dict[str, list[tuple[str, Ridge]]] = {"coupled": [], "decoupled": []}
    for code, level in enumerate(optimizer.levels if optimizer is not None else ()):
        runs = of_level(sweep, "optimizer", code)
        if runs.n_configurations < FEWEST_OF_AN_OPTIMIZER:
            continue
        ridge = fit_ridge(runs, ASKED.knob)
        kind = _kind(level)
        finding = exponent_finding(ASKED, runs, ridge, (f"{level} has {kind} weight decay.",) if kind else ())
        shown = {**evidence(sweep), "run_ids": runs.run_ids}
        claim, unsettled = (f"With {level}: {c[0].lower()}{c[1:]}" for c in
                            (finding.claim, finding.claim_if_insufficient or finding.claim))  # fmt: skip
        yield replace(finding, condition=f"optimizer={level}", claim=claim, claim_if_insufficient=unsettled, **shown)  # type: ignore[arg-type]
        if kind:
            kinds[kind].append((level, ridge))
    if len(kinds["coupled"]) == len(kinds["decoupled"]) == 1:
        difference = _difference(sweep, kinds["coupled"][0], kinds["decoupled"][0])
        yield from [difference] if difference is not None else []


def _kind(optimizer: str) -> str:
    """Whether an optimizer's weight decay is an L2 penalty (coupled) or shrinks the weights apart; "" if not known."""
    name = optimizer.lower()
    if any(word in name for word in DECOUPLED):
        return "decoupled"
    return "coupled" if any(word in name for word in COUPLED) else ""


def _difference(sweep: Sweep, coupled: tuple[str, Ridge], decoupled: tuple[str, Ridge]) -> Finding | None:
    (one, a), (other, b) = coupled, decoupled
    numbers = [(r.exponent, r.low, r.high) for r in (a, b)]
    known = [tuple(float(x) for x in n if x is not None) for n in numbers]
    if any(len(n) < 3 for n in known):
        return None
    (e, elow, ehigh), (f, flow, fhigh) = known
    estimate = e - f
    low, high = estimate - float(np.hypot(e - elow, fhigh - f)), estimate + float(np.hypot(ehigh - e, f - flow))
    error = max(estimate - low, high - estimate) / NORMAL
    p_value = 2 * float(ndtr(-abs(estimate) / max(error, 1e-12)))
    number = interval(estimate, low, high, decimals=2)
    unsettled = f"Whether the ridge differs between coupled decay ({one}) and decoupled decay ({other}) is not settled"
    shown = p_value <= LEVEL and not low <= 0 <= high
    claim = f"With coupled decay ({one}) the best learning rate goes with weight decay in another way than with"
    return Finding(
        miner=ASKED.miner, hyperparameters=(*ASKED.hyperparameters, "optimizer"), quantity="coupling_difference",
        claim=f"{claim} decoupled decay ({other}): the exponents differ by {number}." if shown
        else f"{unsettled}: the exponents differ by {number}.",
        claim_if_insufficient=f"{unsettled}: the exponents differ by {number}.",
        verdict="supported" if shown else "insufficient", estimate=estimate, low=low, high=high, unit=ASKED.unit,
        p_value=p_value, condition=f"{one} less {other}", **evidence(sweep),
    )  # fmt: skip


def _notes(sweep: Sweep) -> Iterator[str]:
    decay = sweep.hyperparameter(ASKED.knob)
    if decay is not None and (decay.values == 0).any():
        yield "Runs without weight decay are left out: 0 has no logarithm."
    if sweep.hyperparameter("optimizer"):
        yield "Weight decay is an L2 penalty in SGD and Adam, decoupled in AdamW: the exponent is a mean over both."
    if not any(sweep.hyperparameter(name) for name in LENGTHS):
        yield "All runs are equally long: a constant product and a constant time scale cannot be told apart."
