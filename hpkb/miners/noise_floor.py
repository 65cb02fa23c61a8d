"""How far the result moves when nothing changes but the seed.

Question
--------
Two runs with the same settings and different seeds end differently. How differently, and how large must the
difference between two settings be before it means anything? Does that depend on the batch size, or on how good the
setting is?

Method
------
The variance within each configuration that was run with two or more seeds is pooled over configurations: `seed_sd` is
the root of the mean variance of *the configurations that were repeated*, each counted by its degrees of freedom. Its
interval comes from leaving out one configuration at a time (the jackknife of the logarithm of a variance, Miller
1968, *Jackknifing variances*, Annals of Mathematical Statistics 39), which stays right when the noise has heavy
tails. For the better half of the configurations the noise of a *typical* one is given: the mean of the logarithms
of their variances, less its bias (Bartlett & Kendall 1946), so that one setting beside a cliff does not speak for
all. That is the *noise floor* against which plateaus are drawn. The minimum detectable difference is what a
two-sided test at 5% finds four times in five at that noise: (t(0.975) + t(0.8)) · s · √(2/n) for n seeds of each of
two settings (Cohen 1988, *Statistical Power Analysis for the Behavioral Sciences*); turned round, it gives the seeds
that a difference needs. Whether configurations differ by more than their seeds do is an F test on ranks. How the noise
changes is a regression of the logarithm of each configuration's deviation: on the batch size with all else held, and
on how good the *other* configurations predict the setting to be.

Where nothing was repeated, the noise is what near-duplicates have about a smooth response (the nugget of a Gaussian
process, Rasmussen & Williams 2006, chapter 2). It is marked as that and supports no claim.

How to read it
--------------
A difference smaller than the noise floor is not worth a decision. The table says how many seeds a difference takes:
four times the seeds for half the difference. *Supported* means that the settings that were tried differ by more
than seeds do; it says nothing of which is better.

When it misleads
----------------
Settings that all but diverge scatter far more than good ones, so the scatter over everything overstates the noise
where it matters; use the better half's. Only the seed that the script sets is counted: data order, hardware and
library versions are further noise. With repeats at fewer than ten configurations the interval is wide, and it tells
the whole truth only about configurations like those that were repeated. An estimate without repeats is too large
wherever the response has cliffs or steps.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from hpkb.findings import Finding, evidence
from hpkb.miners import Context
from hpkb.miners._words import brief
from hpkb.stats.noise import (
    SeedNoise,
    better_half,
    between_configurations,
    minimum_detectable_difference,
    pooled,
    repeats_of,
    seeds_needed,
    typical,
)
from hpkb.stats.noise_trend import by_batch_size, by_distance, without_repeats
from hpkb.stats.slopes import Slope
from hpkb.stats.surrogate import configurations_of, feasible_runs, winsorised
from hpkb.sweep import Sweep, metric_of

SEEDS = (1, 2, 3, 5, 10)
USUAL_SEEDS = 3
SMALL = 0.1  # a change of the logarithm of the deviation that is none
REPEAT = "Repeat three or more of the better configurations with two more seeds each."


def mine(context: Context) -> list[Finding]:
    """Returns the seed noise over all and over the better configurations, what it depends on, and what it hides."""
    sweep = context.sweep
    repeats = repeats_of(sweep)
    noise, p_value = pooled(repeats), between_configurations(repeats)
    if noise is None:
        return _without_repeats(context)
    better = typical(better_half(repeats, sweep))
    found = [_seed_sd(sweep, noise, p_value)]
    if better:
        found.append(_better_sd(sweep, better, p_value))
    usual = better or typical(repeats) or noise
    found += [_detectable(sweep, usual, p_value), *_needed(sweep, usual, p_value)]
    trends = (by_batch_size(sweep), by_distance(sweep))
    return [*found, *(make(sweep, t) for make, t in zip((_by_batch, _by_distance), trends, strict=True) if t)]


def _without_repeats(context: Context) -> list[Finding]:
    """The two quantities from near-duplicates, never as a verdict; or that they are unknown."""
    sweep = context.sweep
    repeated = repeats_of(sweep).degrees.size
    if context.process is None or repeated or context.process.noise[0] <= 0:
        return [_unknown(sweep, quantity) for quantity in ("seed_sd", "minimum_detectable_difference")]
    noise, metric = without_repeats(context.process), metric_of(sweep)
    caveats = ("estimated from near-duplicates, not from repeated seeds: at most about so much",)
    factor = minimum_detectable_difference(noise, USUAL_SEEDS) / noise.sd
    said = f"No configuration was repeated; near-duplicates scatter by about {_interval(noise)} in {metric}"
    return [
        Finding(
            miner="noise_floor", hyperparameters=(), quantity=quantity, verdict="insufficient", claim=claim,
            estimate=by * noise.sd, low=by * noise.low, high=by * noise.high, unit=metric, caveats=caveats,
            figure=_figure(sweep, noise) if by > 1 else {}, **evidence(sweep),
        )
        for quantity, by, claim in (
            ("seed_sd", 1.0, f"{said}. {REPEAT}"),
            ("minimum_detectable_difference", factor, f"{said}: with {USUAL_SEEDS} seeds each, two settings would have "
             f"to differ by {brief(factor * noise.sd)}. {REPEAT}"),
        )
    ]  # fmt: skip


def _unknown(sweep: Sweep, quantity: str) -> Finding:
    metric = metric_of(sweep)
    claim = f"The seed noise of {metric} is unknown: fewer than three configurations were run with several seeds."
    return Finding(
        miner="noise_floor", hyperparameters=(), quantity=quantity, claim=f"{claim} {REPEAT}",
        verdict="insufficient", unit=metric, **evidence(sweep),
    )  # fmt: skip


def _seed_sd(sweep: Sweep, noise: SeedNoise, p_value: float | None) -> Finding:
    metric = metric_of(sweep)
    said = f"Seeds alone move {metric} by {_interval(noise)} (standard deviation over the repeated configurations)"
    return Finding(
        miner="noise_floor", hyperparameters=(), quantity="seed_sd", verdict="supported",
        claim=f"{said}; the configurations that were tried differ by more than that.",
        claim_if_insufficient=f"{said}; the configurations do not demonstrably differ by more than that.",
        estimate=noise.sd, low=noise.low, high=noise.high, unit=metric, p_value=p_value,
        caveats=_caveats(sweep, noise), **evidence(sweep),
    ).judged()  # fmt: skip


def _better_sd(sweep: Sweep, noise: SeedNoise, p_value: float | None) -> Finding:
    metric = metric_of(sweep)
    said = f"At a typical one of the better configurations seeds move {metric} by {_interval(noise)}"
    return Finding(
        miner="noise_floor", hyperparameters=(), quantity="noise_floor", verdict="supported",
        claim=f"{said}: a smaller difference between two good runs says nothing.",
        claim_if_insufficient=f"{said}, and the configurations do not demonstrably differ by more.",
        estimate=noise.sd, low=noise.low, high=noise.high, unit=metric, p_value=p_value,
        caveats=_caveats(sweep, noise), **evidence(sweep),
    ).judged()  # fmt: skip


def _detectable(sweep: Sweep, noise: SeedNoise, p_value: float | None) -> Finding:
    metric = metric_of(sweep)
    difference = minimum_detectable_difference(noise, USUAL_SEEDS)
    factor = difference / noise.sd
    said = f"With {USUAL_SEEDS} seeds each, two configurations must differ by {brief(difference)} in {metric}"
    return Finding(
        miner="noise_floor", hyperparameters=(), quantity="minimum_detectable_difference", verdict="supported",
        claim=f"{said} before it shows (four times in five, at 5%); some that were tried do differ.",
        claim_if_insufficient=f"{said} before it shows (four times in five, at 5%).",
        estimate=difference, low=factor * noise.low, high=factor * noise.high, unit=metric, p_value=p_value,
        caveats=_caveats(sweep, noise), figure=_figure(sweep, noise), **evidence(sweep),
    ).judged()  # fmt: skip


def _needed(sweep: Sweep, noise: SeedNoise, p_value: float | None) -> list[Finding]:
    """The seeds that tell a good setting (the best tenth) from a middling one."""
    good, middle = np.quantile(configurations_of(sweep).y, (0.1, 0.5))
    if not middle > good:
        return []
    gap = float(middle - good)
    estimate, low, high = (
        seeds_needed(replace(noise, sd=sd), gap) for sd in (noise.sd, noise.low, noise.high)
    )
    said = f"To tell a good setting from a middling one ({brief(gap)} apart in {metric_of(sweep)}) takes"
    halves = f"half that difference {seeds_needed(noise, gap / 2)}, a tenth {seeds_needed(noise, gap / 10)}"
    return [
        Finding(
            miner="noise_floor", hyperparameters=(), quantity="seeds_needed", verdict="supported",
            claim=f"{said} {estimate} [{low}, {high}] seeds of each; {halves}.",
            claim_if_insufficient=f"{said} {estimate} [{low}, {high}] seeds of each, if they do differ; {halves}.",
            estimate=float(estimate), low=float(low), high=float(high), unit="seeds of each", p_value=p_value,
            caveats=_caveats(sweep, noise), **evidence(sweep),
        ).judged()
    ]  # fmt: skip


def _by_batch(sweep: Sweep, found: Slope) -> Finding:
    low, high = found.estimate - found.half_width, found.estimate + found.half_width
    number = f"to the power {found.estimate:.2f} [{low:.2f}, {high:.2f}] of batch_size"
    way = "more" if found.estimate > 0 else "less"
    finding = Finding(
        miner="noise_floor", hyperparameters=("batch_size",), quantity="seed_sd_batch_exponent", verdict="supported",
        claim=f"Seeds scatter {way} at larger batch sizes: the deviation goes {number}.",
        claim_if_insufficient=f"Whether seed noise depends on the batch size is not settled: it goes {number}.",
        estimate=found.estimate, low=low, high=high, unit="exponent", p_value=found.p_value, **evidence(sweep),
    )  # fmt: skip
    if max(-low, high) <= SMALL:
        claim = f"Seed noise does not depend on the batch size: the deviation goes {number}."
        return replace(finding, verdict="rejected", claim=claim)
    return finding.judged()


def _by_distance(sweep: Sweep, found: Slope) -> Finding:
    low, high = found.estimate - found.half_width, found.estimate + found.half_width
    ratio = [math.exp(float(np.clip(x, -20, 20))) for x in (found.estimate, low, high)]
    number = f"{brief(ratio[0])} [{brief(ratio[1])}, {brief(ratio[2])}] times"
    finding = Finding(
        miner="noise_floor", hyperparameters=(), quantity="seed_sd_ratio_away_from_optimum", verdict="supported",
        claim=f"At a middling setting seeds scatter {number} as much as at the best ones.",
        claim_if_insufficient=f"Whether seeds scatter more away from the optimum is not settled: {number} as much at a "
        "middling setting as at the best ones.",
        estimate=ratio[0], low=ratio[1], high=ratio[2], unit="ratio", p_value=found.p_value, **evidence(sweep),
    )  # fmt: skip
    if max(-low, high) <= SMALL:
        claim = f"Seeds scatter as much at middling settings as at the best ones: {number}."
        return replace(finding, verdict="rejected", claim=claim)
    return finding.judged()


def _figure(sweep: Sweep, noise: SeedNoise) -> dict[str, Any]:
    """The smallest visible difference for 1, 2, 3, 5 and 10 seeds each, beside the noise itself."""
    rows = []
    for seeds in SEEDS:
        difference = minimum_detectable_difference(noise, seeds)
        factor = difference / noise.sd
        limits = {"estimate": difference, "low": factor * noise.low, "high": factor * noise.high}
        rows.append({"label": f"{seeds} seed{'s' if seeds > 1 else ''} each", **limits, "verdict": ""})
    references = [{"label": "noise floor", "value": noise.sd}]
    return {
        "kind": "forest",
        "x": {"label": f"smallest visible difference in {metric_of(sweep)}"},
        "rows": rows,
        "references": references,
    }


def _interval(noise: SeedNoise) -> str:
    return f"{brief(noise.sd)} [{brief(noise.low)}, {brief(noise.high)}]"


def _caveats(sweep: Sweep, noise: SeedNoise) -> tuple[str, ...]:
    caveats = []
    if noise.n_configurations < 10:
        caveats.append(f"only {noise.n_configurations} configurations were repeated")
    cut = int((sweep.y[feasible_runs(sweep)] > winsorised(sweep)[feasible_runs(sweep)]).sum())
    if cut:
        caveats.append(f"{cut} runs with far-out results were brought to the limit of the others")
    return tuple(caveats)
