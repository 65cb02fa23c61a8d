"""What the noise of the gradient says of the batch size, and where a larger batch stops to save steps.

Question
--------
How noisy is the gradient, early and late in training? Up to which batch size do twice the examples a step halve the
steps? Does the measured noise scale predict that? Does a larger batch end at a better or worse result when each batch
size has its own best learning rate?

Method
------
The gradient noise scale, tr(Σ)/‖G‖² in examples (McCandlish et al. 2018), is taken from its curve: the median of a run
in the first, middle and last third of training, then the median over configurations with the interval of the order
statistics, which needs no assumption on its distribution. Steps to a target are read off the objective's curve,
smoothed over a twenty-fifth of its points, for targets that three in four, half and one in four of the configurations
reach. S = S_min (1 + B_crit/B) is fitted to them near each batch size's own best learning rate (Shallue et al. 2019):
ln S is a curve in ln(learning rate) that slides along with ln B, plus main effects, plus the logarithm of the law; the
interval holds all critical batch sizes that a score test does not refuse (HC3, MacKinnon & White 1985). The scatter of
the training loss is the spread of each point around the mean of its neighbours in the second half of the curve;
`noise_exponent` is the slope of its logarithm in ln B, all else held. `result_by_batch_size` is the change of the
objective with a doubling of the batch size at its own best learning rate, and must show on its ranks as well.
Tasks are combined by random-effects meta-analysis (REML; Hartung & Knapp 2001).

How to read it
--------------
Below the critical batch size a larger batch saves steps almost in proportion; above it, it mostly costs examples. At
it, training takes twice the fewest steps and twice the fewest examples. *Supported* means that both are shown: steps
fall with the batch size, and not in proportion all the way. A noise exponent of -0.5 is that of independent examples.
A noise scale within a factor of three of the critical batch size is as good a prediction as is to be had.

When it misleads
----------------
The critical batch size belongs to a target: it grows as the loss falls. Runs that never reach the target, diverged
ones among them, say nothing of it. Where the learning rates tried do not hold each batch size's best one, large batches
look worse than they are. A loss that is logged as a mean over many steps scatters less, and by an amount that may
itself go with the batch size. At equal epochs a larger batch takes fewer steps, so that its result tells of that, too.
The noise scale estimated from an optimizer's moments can be off by a factor of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hpkb.findings import LEVEL, Finding, Verdict, evidence
from hpkb.miners import Context, _across
from hpkb.miners._batch_steps import (
    BATCH,
    MINER,
    of_target,
    prediction,
    targets,
    unknown,
    why_no_target,
)
from hpkb.miners._words import brief, interval
from hpkb.stats.batch_curves import Phases, phases, scatter, signed_rank_p, steps_per_point
from hpkb.stats.noise import floor
from hpkb.stats.own_best import own_best, tested
from hpkb.stats.slopes import measured, slope
from hpkb.stats.surrogate import feasible_runs, winsorised
from hpkb.sweep import FloatArray, Sweep, direction_of, metric_of

NOISE_SCALE = "gradient_noise_scale"
NO_SCATTER = 0.1  # an exponent this close to 0 changes the scatter by less than a quarter over a decade


def mine(context: Context) -> list[Finding]:
    """Returns what the task's curves and results say of its batch sizes; nothing for a sweep without runs."""
    sweep = context.sweep
    if not sweep.n_runs:
        return []
    found = [*_noise_scale(sweep)]
    late, reached = phases(sweep, NOISE_SCALE), [*targets(sweep)]
    found += [finding for target in reached for finding in of_target(sweep, target)]
    if not reached:
        found.append(unknown(sweep, "critical_batch_size", why_no_target(sweep)))
    found += [prediction(sweep, target, late) for target in reached[:1] if late is not None]
    return [*found, *_scatter(sweep), *_result(sweep)]


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the tasks together say of each number."""
    return [finding for asked in ACROSS for finding in _across.combine(asked, findings)]


ACROSS = (
    _across.Across(
        "noise_exponent", "the training loss scatters more with larger batches",
        "the training loss scatters less with larger batches: its scatter goes as the batch size to a power",
        "it is not settled how the scatter of the training loss goes with the batch size",
    ),
    _across.Across(
        "result_by_batch_size", "the objective rises with the batch size at its own best learning rate",
        "the objective falls with the batch size at its own best learning rate",
        "it is not settled what the batch size does to the objective at its own best learning rate", digits=4,
    ),
    _across.Across("critical_batch_size", "", "", "the critical batch size is on average", is_log=True),
    _across.Across(NOISE_SCALE, "", "", "the gradient noise scale is on average", is_log=True),
)  # fmt: skip


# --- the noise scale ----------------------------------------------------------------------------------------


def _noise_scale(sweep: Sweep) -> Iterator[Finding]:
    found = phases(sweep, NOISE_SCALE)
    if found is None:
        yield unknown(sweep, NOISE_SCALE, "too few runs have a curve of it", ())
        return
    for name in ("late", "middle", "early"):
        yield _phase(sweep, found, name)
    yield from _noise_scale_slope(sweep, found)


def _phase(sweep: Sweep, found: Phases, name: str) -> Finding:
    estimate, low, high = found.median(name)
    growth = float(np.exp(np.median(found.values["late"] - found.values["early"])))
    where = {"late": "Late", "middle": "In the middle of", "early": "Early"}[name]
    place = f"{where} training" if name == "middle" else f"{where} in training"
    number = f"{place} the gradient noise scale is {interval(estimate, low, high)} examples in a median configuration"
    p_value = signed_rank_p(found.values[name] - found.values["early"]) if name != "early" else None
    way = "larger" if growth > 1 else "smaller"
    finding = Finding(
        miner=MINER, hyperparameters=(), quantity=NOISE_SCALE, verdict="supported",
        claim=f"{number}; it is {way} than early in training (by the end {brief(growth)} times).",
        claim_if_insufficient=f"{number}.", estimate=estimate, low=low, high=high, unit="examples",
        p_value=p_value, condition=f"{name} in training", figure=_phases_figure(found) if name == "late" else {},
        **evidence(sweep),
    )  # fmt: skip
    # What is only measured, and compared with nothing, is no claim.
    return finding.judged() if name != "early" else replace(finding, verdict="insufficient", claim=f"{number}.")


def _phases_figure(found: Phases) -> dict[str, Any]:
    rows = []
    for name in ("early", "middle", "late"):
        estimate, low, high = found.median(name)
        rows.append({"label": f"{name} in training", "estimate": estimate, "low": low, "high": high, "verdict": ""})
    return {"kind": "forest", "x": {"label": "gradient noise scale, examples"}, "rows": rows, "references": []}


def _noise_scale_slope(sweep: Sweep, found: Phases) -> Iterator[Finding]:
    """Whether the noise scale itself goes with the batch size: it should not, but for where training has got to."""
    known = np.full(sweep.n_runs, np.nan)
    known[found.runs] = found.of_runs["late"]
    fitted = _log_slope(sweep, known)
    if fitted is None:
        return
    estimate, half, p_value = fitted
    number = f"as the batch size to the power {interval(estimate, estimate - half, estimate + half)}"
    yield Finding(
        miner=MINER, hyperparameters=BATCH, quantity="gradient_noise_scale_slope", verdict="supported",
        claim=f"Late in training the gradient noise scale is associated with the batch size: it goes {number}.",
        claim_if_insufficient=f"Whether the noise scale goes with the batch size is not settled: it goes {number}.",
        estimate=estimate, low=estimate - half, high=estimate + half, p_value=p_value,
        unit="d ln noise scale / d ln batch_size", **evidence(sweep),
    ).judged()  # fmt: skip


def _log_slope(sweep: Sweep, logs: FloatArray) -> tuple[float, float, float] | None:
    """The slope of a logarithm by run in ln(batch size), half of its interval, and its p-value."""
    batch = sweep.hyperparameter("batch_size")
    if batch is None or batch.scale == "category" or "batch_size" in sweep.aliases.hidden:
        return None
    usable = feasible_runs(sweep) & np.isfinite(logs) & (batch.values > 0)
    if not usable.any() or np.ptp(batch.values[usable]) == 0:
        return None
    at = measured(sweep, logs, usable)
    found = slope(sweep, at, np.log(batch.values[at.first]), BATCH)
    return None if found is None else (found.estimate, found.half_width, found.p_value)


# --- scatter and result -------------------------------------------------------------------------------------


def _scatter(sweep: Sweep) -> Iterator[Finding]:
    if sweep.hyperparameter("batch_size") is None:
        return
    metric = "train_loss" if "train_loss" in sweep.records.metrics else sweep.records.training
    curves = sweep.records.curves(metric or "")
    if not (steps_per_point(sweep, curves) == 1).all():
        why = "the training loss is one mean an epoch, over a number of steps that itself goes with the batch size"
        yield unknown(sweep, "noise_exponent", why)
        return
    logs = np.array([scatter(c) for c in curves])
    fitted = _log_slope(sweep, logs)
    if fitted is None:
        yield unknown(sweep, "noise_exponent", "too few runs have a curve of the training loss with 24 points or more")
        return
    estimate, half, p_value = fitted
    low, high = estimate - half, estimate + half
    number = f"goes as the batch size to the power {interval(estimate, low, high)}"
    theory = "as" if low <= -0.5 <= high else "unlike"
    verdict: Verdict = "supported" if p_value <= LEVEL else "insufficient"
    verdict = "rejected" if max(-low, high) <= NO_SCATTER else verdict
    claims: dict[Verdict, str] = {
        "supported": f"The scatter of {metric} {number}, {theory} the -0.5 of independent examples.",
        "rejected": f"The scatter of {metric} does not depend on the batch size: it {number}.",
        "insufficient": f"Whether the scatter of {metric} depends on the batch size is not settled: it {number}.",
    }
    yield Finding(
        miner=MINER, hyperparameters=BATCH, quantity="noise_exponent", claim=claims[verdict],
        claim_if_insufficient=claims["insufficient"], verdict=verdict, estimate=estimate, low=low, high=high,
        unit="d ln scatter / d ln batch_size", p_value=p_value,
        caveats=("Points that are means over several steps or over an epoch scatter less.",), **evidence(sweep),
    )  # fmt: skip


def _result(sweep: Sweep) -> Iterator[Finding]:
    """What a doubling of the batch size does to the objective and to the generalisation gap, at its own best rate."""
    usable = feasible_runs(sweep)
    objective = np.where(usable, winsorised(sweep) if usable.any() else np.nan, np.nan)
    yield from _by_doubling(sweep, "result_by_batch_size", metric_of(sweep), objective, objective, direction_of(sweep))
    gap = np.where(usable, sweep.records.numbers("gap"), np.nan)
    if np.isfinite(gap).any():
        yield from _by_doubling(sweep, "gap_by_batch_size", "the generalisation gap", gap, objective, 1.0)


def _by_doubling(
    sweep: Sweep, quantity: str, name: str, values: FloatArray, objective: FloatArray, sign: float
) -> Iterator[Finding]:
    at = own_best(sweep, objective, values)
    if at is None:
        return
    doublings = np.log2(at.batch)[:, None]
    raw, ranks = (tested(x, x.y[:, None], doublings) for x in (at, at.on_scores()))
    p_value = max(float(raw.p_values[0]), float(ranks.p_values[0]))
    estimate, half = sign * float(raw.estimate[0]), raw.critical * float(raw.error[0])
    change = f"{name} changes by {interval(estimate, estimate - half, estimate + half)} with every doubling"
    noise, span = floor(sweep) if values is objective else None, float(np.ptp(doublings))
    verdict: Verdict = "supported" if p_value <= LEVEL else "insufficient"
    if verdict == "insufficient" and noise is not None and (abs(estimate) + half) * span <= noise:
        verdict = "rejected"
    budget, way = _budget(sweep), "rises" if estimate > 0 else "falls"
    claims: dict[Verdict, str] = {
        "supported": f"With the batch size {name} {way}, each at its own best learning rate: {change}{budget}.",
        "rejected": f"At their own best learning rates batch sizes differ by less than seeds do: {change}{budget}.",
        "insufficient": f"Whether batch sizes differ at their own best learning rates is not settled: {change}.",
    }
    yield Finding(
        miner=MINER, hyperparameters=BATCH, quantity=quantity, claim=claims[verdict],
        claim_if_insufficient=claims["insufficient"], verdict=verdict, estimate=estimate, low=estimate - half,
        high=estimate + half, unit=f"{name}, per doubling of the batch size", p_value=p_value,
        caveats=_lost(sweep), **evidence(sweep),
    )  # fmt: skip


def _budget(sweep: Sweep) -> str:
    names = {*sweep.fixed, *(h.name for h in sweep.hyperparameters)}
    known = [words for name, words in (("epochs", "epochs"), ("steps", "steps")) if name in names]
    return f", at equal {known[0]}" if len(known) == 1 else ""


def _lost(sweep: Sweep) -> tuple[str, ...]:
    return (f"Infeasible runs ({sweep.infeasible_share:.0%}) are left out.",) if sweep.infeasible.any() else ()
