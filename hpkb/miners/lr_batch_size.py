"""How the best learning rate scales with the batch size.

Question
--------
If I double the batch, by how much do I raise the learning rate? By as much (exponent 1, linear scaling), by its
square root (0.5), or not at all (0)?

Method
------
The objective's mean over the seeds of each configuration is described by one curve in ln(learning rate) that slides
along with ln(batch size), plus main effects of batch size and of every other hyperparameter: f(ln lr - exponent ·
ln B) + g(ln B) + ... . The curve f is a cubic spline, so that a slow rise on one side and a cliff on the other do
no harm; the optimizer, the weight decay and the momentum may slide it too, and the batch size may make it deeper or
shallower. Objective or normal scores of its ranks, and few splines or more: whichever predicts left-out
configurations better. The interval holds all exponents that a score test does not refuse (Tukey 1949, *One degree
of freedom for non-additivity*; Milliken & Graybill 1970), with errors that allow for uneven noise (HC3, MacKinnon &
White 1985). The p-value is that of no interaction, and stays right where the learning rate has little effect
(Davies 1987 tells why the usual test does not). An exponent is stated only if the learning rate matters and the
curve rises on both sides of its minimum. Tasks are combined by random-effects meta-analysis (REML; Hartung & Knapp
2001). The laws: linear scaling, Goyal et al. 2017; square root, Krizhevsky 2014 and, for Adam, Malladi et al. 2022.

How to read it
--------------
*Supported*: the exponent differs from 0, and the claim says which laws its interval excludes. An exponent of 0.4
means that four times the batch asks for 1.7 times the rate. *Rejected*: the whole interval lies within ±0.1 of 0.
The band on the map is the best learning rate at each batch size.

When it misleads
----------------
At a fixed number of epochs a larger batch takes fewer steps, which alone asks for a higher rate; at a fixed number
of steps it sees more data. The exponent belongs to the budget at which the sweep was run, and the two are not to be
compared. One exponent is fitted over the whole range: scaling that is linear for small batches and levels off
for large ones shows as something between. Different optimizers may scale differently; in one sweep they share one
exponent here. Beside a cliff the curve is smoothed, so that the band may lie a little to the safe side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpkb.findings import Finding
from hpkb.miners import Context
from hpkb.miners._ridge import Law, Question, exponent_finding
from hpkb.miners._ridge_tasks import combine_exponents
from hpkb.stats.ridge import fit_ridge
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


def mine(context: Context) -> list[Finding]:
    """Returns the exponent of the best learning rate in the batch size; nothing for a sweep without runs."""
    sweep = context.sweep
    if not sweep.n_runs:
        return []
    ridge = fit_ridge(sweep, ASKED.knob)
    notes = tuple(_notes(sweep)) if ridge.p_value is not None else ()
    return [exponent_finding(ASKED, sweep, ridge, notes)]


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of the exponent."""
    together = combine_exponents(ASKED, findings)
    return [together] if together else []


def _notes(sweep: Sweep) -> Iterator[str]:
    if sweep.hyperparameter("optimizer"):
        yield "The optimizers share one exponent, each at its own best learning rate."
    if "epochs" in sweep.fixed and "steps" not in sweep.fixed:
        yield "At equal epochs: a larger batch takes fewer steps."
    elif "steps" in sweep.fixed and "epochs" not in sweep.fixed:
        yield "At equal steps: a larger batch sees more data."
