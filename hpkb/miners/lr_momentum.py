"""Whether learning rate and momentum count through lr/(1 - momentum) alone.

Question
--------
If I raise the momentum from 0.9 to 0.99, do I have to divide the learning rate by ten? Is the effective learning rate
lr/(1 - momentum) the one number to tune, and would dividing it by the batch size make it an even better one?

Method
------
A gradient stays in the momentum buffer for 1/(1 - momentum) steps, so that for slowly changing gradients the step is
that of plain SGD at lr/(1 - momentum) (Polyak 1964; Smith & Le 2018). If only that counts, the best learning rate goes
as (1 - momentum) to the power 1; if momentum does not move it, to the power 0. The exponent is estimated as those of
weight decay and batch size are (see *lr_weight_decay*): one curve in ln(learning rate) that slides along with
ln(1 - momentum), plus main effects of everything, an interval of all exponents that a score test does not refuse
(Tukey 1949; Milliken & Graybill 1970; HC3 of MacKinnon & White 1985), and the p-value of no interaction.
`best_rate_variable` asks the same by prediction: a curve in lr alone, in lr/(1 - momentum) and, where the batch size
varies, in lr/((1 - momentum) · batch size), each with the main effects of all else, predicts every configuration from
the others; the squared errors on the normal scores of the objective are compared in pairs (Diebold & Mariano 1995).
Only runs of SGD with momentum are asked; of Adam and its kin the same of 1 - beta1, where that was varied. Tasks are
combined by random-effects meta-analysis (REML; Hartung & Knapp 2001).

How to read it
--------------
*Supported*: the exponent differs from 0, and the claim says whether its interval leaves 1. With 1, tune
lr/(1 - momentum) at any momentum and keep it when momentum changes. *Rejected*: within ±0.1 of 0, the two can be tuned
apart. `best_rate_variable` is the share of variance that the better variable predicts beyond the other; a share of
0.05 is worth having, and its sign matters more than its size.

When it misleads
----------------
The identity is one of small rates and long runs: near the edge of stability and for momentum so high that its memory,
1/(1 - momentum) steps, is as long as a phase of training, it breaks, and one exponent is a mean over both. Runs that
diverged are left out of the comparison of variables. Momentum as exponential average (a gradient weighted by
1 - momentum, as in Adam) has the factor built in: an exponent of 0 is then what the identity says. With few values of
momentum the exponent rests on them alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpkb.findings import LEVEL, Finding, Verdict, evidence
from hpkb.miners import Context, _across
from hpkb.miners._ridge import Law, Question, exponent_finding
from hpkb.miners._ridge_tasks import combine_exponents
from hpkb.stats.one_variable import Gain, predictions
from hpkb.stats.ridge import fit_ridge
from hpkb.stats.ridge_data import derived
from hpkb.sweep import BoolArray, FloatArray, Sweep

LAWS = (
    Law(1.0, "the effective learning rate alone (1)", "lr/(1 - momentum)"),
    Law(0.0, "independence (0)", "independent"),
)
MOMENTUM = Question("lr_momentum", "1 - momentum", "effective_lr_exponent", "d ln lr* / d ln(1 - momentum)", LAWS,
                    "momentum")  # fmt: skip
BETA1 = Question("lr_momentum", "1 - beta1", "effective_lr_exponent", "d ln lr* / d ln(1 - beta1)", LAWS, "beta1")
GAINS = _across.Across(
    quantity="best_rate_variable",
    above="the first of the two variables predicts more of the variance than the second",
    below="the second of the two variables predicts more of the variance than the first",
    unsettled="it is not settled which of the two variables predicts better",
    digits=3,
)
#: Words in an optimizer's name that say whether its step is SGD's with momentum, or a normalised one.
SGD, ADAM = ("sgd", "momentum", "nesterov", "lars"), ("adam", "lamb", "lion", "yogi")


def mine(context: Context) -> list[Finding]:
    """Returns the exponent in 1 - momentum and which variable predicts best; the same of 1 - beta1 where it varies."""
    sweep, found = context.sweep, list[Finding]()
    if not sweep.n_runs:
        return []
    found += _of(sweep, MOMENTUM, SGD)
    if sweep.hyperparameter("beta1"):
        found += [replace(f, condition=_join("beta1", f.condition)) for f in _of(sweep, BETA1, ADAM)]
    return found


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of each quantity, of momentum and of beta1 apart."""
    together = []
    for asked in (MOMENTUM, BETA1):
        own = [f for f in findings if asked.parameter in f.hyperparameters]
        exponent = combine_exponents(asked, own)
        if exponent is not None:
            together.append(replace(exponent, condition="" if asked is MOMENTUM else "beta1"))
        together += _across.combine(GAINS, own)
    return together


def _join(*words: str) -> str:
    return "; ".join(filter(None, words))


def _of(sweep: Sweep, asked: Question, kin: Sequence[str]) -> Iterator[Finding]:
    momentum = sweep.hyperparameter(asked.parameter)
    rows = _of_kin(sweep, kin)
    runs = sweep
    if momentum is not None:
        runs = _without_constant(sweep.subset(rows))
        runs = derived(runs, asked.parameter, asked.knob, 1 - momentum.values[rows])
    ridge = fit_ridge(runs, asked.knob)
    shown = {**evidence(sweep), "run_ids": runs.run_ids}
    yield replace(exponent_finding(asked, runs, ridge, _notes(sweep, rows, kin)), **shown)  # type: ignore[arg-type]
    # A variable that is no better by more than chance would only repeat a missing exponent.
    for comparison in _comparisons(runs, asked) if ridge.p_value is not None else ():
        yield replace(_gain_finding(sweep, asked, comparison), run_ids=runs.run_ids)


def _without_constant(runs: Sweep) -> Sweep:
    """The runs without a category that is the same in all of them."""
    kept = [h for h in runs.hyperparameters if h.scale != "category" or np.unique(h.values).size > 1]
    return replace(runs, hyperparameters=tuple(kept))


def _of_kin(sweep: Sweep, kin: Sequence[str]) -> BoolArray:
    """Which runs used an optimizer of that kind; all of them where nothing says which one it was."""
    optimizer = sweep.hyperparameter("optimizer")
    if optimizer is None:
        fixed = sweep.fixed.get("optimizer", "").lower()
        return np.full(sweep.n_runs, not fixed or any(word in fixed for word in kin))
    levels = np.array([any(word in level.lower() for word in kin) for level in optimizer.levels])
    known = ~np.isnan(optimizer.values)
    return np.asarray(known & levels[np.where(known, optimizer.values, 0).astype(np.int64)])


def _notes(sweep: Sweep, rows: BoolArray, kin: Sequence[str]) -> tuple[str, ...]:
    if rows.all():
        return ()
    kind = "SGD" if kin is SGD else "Adam and its kin"
    return (f"Only the {rows.sum()} runs of {kind} are asked.",)


@dataclass(frozen=True)
class _Comparison:
    """Two variables, in words, the gain of the first, and how well all that were tried predict."""

    better: str
    other: str
    gain: Gain
    shares: tuple[tuple[str, float], ...]


def _comparisons(runs: Sweep, asked: Question) -> Iterator[_Comparison]:
    """lr/(1 - momentum) against lr, and with the batch size below it against without."""
    rate, knob, batch = (runs.hyperparameter(n) for n in ("learning_rate", asked.knob, "batch_size"))
    if rate is None or knob is None:
        return
    variables = {"lr": _log(rate.values), f"lr/({asked.knob})": _log(rate.values) - _log(knob.values)}
    made_of = ["learning_rate", asked.knob]
    if batch is not None and batch.scale != "category":
        variables[f"lr/(({asked.knob})·batch size)"] = variables[f"lr/({asked.knob})"] - _log(batch.values)
        made_of.append("batch_size")
    found = predictions(runs, list(variables.values()), made_of)
    if found is not None:
        names = list(variables)
        shares = tuple(zip(names, found.r2.tolist(), strict=True))
        for i in range(1, len(names)):
            yield _Comparison(names[i], names[i - 1], found.gain(i, i - 1), shares)


def _log(x: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > 0, np.log(x), np.nan)


def _gain_finding(sweep: Sweep, asked: Question, comparison: _Comparison) -> Finding:
    gain, (a, b) = comparison.gain, (comparison.better, comparison.other)
    first, second = (a, b) if gain.estimate >= 0 else (b, a)
    low, high = sorted((gain.low, gain.high) if first == a else (-gain.low, -gain.high))
    number = f"{abs(gain.estimate):.3f} more of the variance (95% interval {low:.3f} to {high:.3f})"
    shares = ", ".join(f"{name} {max(share, 0):.2f}" for name, share in comparison.shares)
    verdict: Verdict = "supported" if gain.p_value <= LEVEL else "insufficient"
    told = f"Of configurations that were left out they predict: {shares}."
    unsettled = f"Whether {a} or {b} is the better one to tune is not settled: {first} predicts {number}. {told}"
    claim = f"{first} is a better one variable than {second}: it predicts {number}. {told}"
    names = ("learning_rate", asked.parameter, *(["batch_size"] if "batch size" in a else []))
    return Finding(
        miner="lr_momentum", hyperparameters=names, quantity="best_rate_variable",
        claim=claim if verdict == "supported" else unsettled, claim_if_insufficient=unsettled, verdict=verdict,
        estimate=gain.estimate, low=gain.low, high=gain.high, p_value=gain.p_value, condition=f"{a} against {b}",
        unit="share of the variance that is predicted, on normal scores of the ranks", figure=_figure(comparison),
        caveats=_caveats(sweep), **evidence(sweep),
    )  # fmt: skip


def _caveats(sweep: Sweep) -> tuple[str, ...]:
    if not sweep.infeasible.any():
        return ()
    return (f"Infeasible runs ({sweep.infeasible_share:.0%}) are left out.",)


def _figure(comparison: _Comparison) -> dict[str, Any]:
    gain = comparison.gain
    row = {"label": f"{comparison.better} against {comparison.other}", "estimate": gain.estimate, "low": gain.low,
           "high": gain.high, "verdict": "supported" if gain.p_value <= LEVEL else "insufficient"}  # fmt: skip
    return {"kind": "forest", "x": {"label": "gain in variance predicted"}, "rows": [row],
            "references": [{"label": "equally good", "value": 0.0}]}  # fmt: skip
