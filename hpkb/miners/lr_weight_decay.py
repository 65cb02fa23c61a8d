"""Whether the best learning rate depends on the weight decay, and how.

Question
--------
If I change the weight decay, do I have to search for the learning rate again? Two answers are worth telling apart:
only the product of the two matters (exponent -1: ten times the decay asks for a tenth of the rate), or they are
independent (exponent 0: tune one after the other).

Method
------
The objective's mean over the seeds of each configuration is described by one curve in ln(learning rate) that slides
along with ln(weight decay), plus main effects of weight decay and of every other hyperparameter: f(ln lr -
exponent · ln wd) + g(ln wd) + ... . The curve f is a cubic spline, so that a slow rise on one side and a cliff on
the other do no harm; the optimizer, the batch size and the momentum may slide it too, and weight decay may make it
deeper or shallower. Objective or normal scores of its ranks, and few splines or more: whichever predicts left-out
configurations better. The interval holds all exponents that a score test does not refuse (Tukey 1949, *One degree
of freedom for non-additivity*; Milliken & Graybill 1970), with errors that allow for uneven noise (HC3, MacKinnon &
White 1985). The p-value is that of no interaction. It stays right where the learning rate has little effect, where
the usual test fails because the exponent then means nothing (Davies 1987); an exponent is stated only if the
learning rate matters and the curve rises on both sides of its minimum. `interaction_share` is the part of the
fitted variance that no sum of main effects can hold (functional ANOVA). Tasks are combined by random-effects
meta-analysis (REML; Hartung & Knapp 2001).

How to read it
--------------
*Supported*: the exponent differs from 0, and the claim says which of the two laws its interval excludes.
*Rejected*: the whole interval lies within ±0.1 of 0; over a decade of weight decay the best rate moves by less than
a quarter, and the two can be tuned apart. The band on the map is the best learning rate at each weight decay.

When it misleads
----------------
Weight decay means an L2 penalty in SGD and Adam and a decoupled shrinkage in AdamW; with several optimizers in one
sweep the exponent is a mean over them. Beside a cliff the curve is smoothed, so that the band may lie a little to
the safe side of the best rate; the exponent does not suffer. One exponent is fitted for the whole range: a law that
bends (no effect at small decays, a ridge at large ones) shows as something between. Runs with a weight decay of
exactly 0 have no place on a logarithmic axis and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpkb.findings import Finding
from hpkb.miners import Context
from hpkb.miners._ridge import Law, Question, exponent_finding, share_finding
from hpkb.miners._ridge_tasks import combine_exponents, combine_shares
from hpkb.stats.ridge import fit_ridge
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


def mine(context: Context) -> list[Finding]:
    """Returns the exponent of the ridge and the share of the interaction; nothing for a sweep without runs."""
    sweep = context.sweep
    if not sweep.n_runs:
        return []
    ridge = fit_ridge(sweep, ASKED.knob)
    notes = tuple(_notes(sweep)) if ridge.p_value is not None else ()
    return [exponent_finding(ASKED, sweep, ridge, notes), share_finding(ASKED, sweep, ridge, notes)]


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of both quantities."""
    together = (combine_exponents(ASKED, findings), combine_shares(ASKED, findings))
    return [finding for finding in together if finding]


def _notes(sweep: Sweep) -> Iterator[str]:
    decay = sweep.hyperparameter(ASKED.knob)
    if decay is not None and (decay.values == 0).any():
        yield "Runs without weight decay are left out: 0 has no logarithm."
    if sweep.hyperparameter("optimizer"):
        yield "Weight decay is an L2 penalty in SGD and Adam, decoupled in AdamW: the exponent is a mean over both."
