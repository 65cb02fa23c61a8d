"""How far the result moves when nothing changes but the seed.

Question
--------
Two runs with the same settings and different seeds end differently. How differently, and how large must the
difference between two settings be before it means anything?

Method
------
The variance within each configuration that was run with two or more seeds is pooled over configurations. Its
interval comes from leaving out one configuration at a time (the jackknife of the logarithm of a variance, Miller
1968, *Jackknifing variances*, Annals of Mathematical Statistics 39), which stays right when the noise has heavy
tails. For the better half of the configurations the noise of a *typical* one is given: the mean of the logarithms
of their variances, less its bias (Bartlett & Kendall 1946), so that one setting beside a cliff does not speak for
all. That is the *noise floor* against which plateaus are drawn. The minimum detectable difference is what a
two-sided test at 5% finds four times in five at that noise: (t(0.975) + t(0.8)) · s · √(2/n) for n seeds of each of
two settings (Cohen 1988, *Statistical Power Analysis for the Behavioral Sciences*). Whether configurations differ
by more than their seeds do is an F test on ranks.

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
the whole truth only about configurations like those that were repeated.
"""

from __future__ import annotations

from typing import Any

from hpkb.findings import Finding, evidence
from hpkb.miners import Context
from hpkb.stats.noise import (
    SeedNoise,
    better_half,
    between_configurations,
    minimum_detectable_difference,
    pooled,
    repeats_of,
    typical,
)
from hpkb.stats.surrogate import feasible_runs, winsorised
from hpkb.sweep import Sweep, metric_of

SEEDS = (2, 3, 5, 10)
USUAL_SEEDS = 3
REPEAT = "Repeat three or more of the better configurations with two more seeds each."


def mine(context: Context) -> list[Finding]:
    """Returns the seed noise over all and over the better configurations, and the smallest visible difference."""
    sweep = context.sweep
    repeats = repeats_of(sweep)
    noise, p_value = pooled(repeats), between_configurations(repeats)
    if noise is None:
        return [_unknown(sweep, quantity) for quantity in ("seed_sd", "minimum_detectable_difference")]
    better = typical(better_half(repeats, sweep))
    found = [_seed_sd(sweep, noise, p_value)]
    if better:
        found.append(_better_sd(sweep, better, p_value))
    return [*found, _detectable(sweep, better or typical(repeats) or noise, p_value)]


def _unknown(sweep: Sweep, quantity: str) -> Finding:
    metric = metric_of(sweep)
    claim = f"The seed noise of {metric} is unknown: fewer than three configurations were run with several seeds."
    return Finding(
        miner="noise_floor", hyperparameters=(), quantity=quantity, claim=f"{claim} {REPEAT}",
        verdict="insufficient", unit=metric, **evidence(sweep),
    )  # fmt: skip


def _seed_sd(sweep: Sweep, noise: SeedNoise, p_value: float | None) -> Finding:
    metric = metric_of(sweep)
    said = f"Seeds alone move {metric} by {_interval(noise)} (standard deviation)"
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
    said = f"With {USUAL_SEEDS} seeds each, two configurations must differ by {difference:.2g} in {metric}"
    return Finding(
        miner="noise_floor", hyperparameters=(), quantity="minimum_detectable_difference", verdict="supported",
        claim=f"{said} before it shows (four times in five, at 5%); some that were tried do differ.",
        claim_if_insufficient=f"{said} before it shows (four times in five, at 5%).",
        estimate=difference, low=factor * noise.low, high=factor * noise.high, unit=metric, p_value=p_value,
        caveats=_caveats(sweep, noise), figure=_figure(sweep, noise), **evidence(sweep),
    ).judged()  # fmt: skip


def _figure(sweep: Sweep, noise: SeedNoise) -> dict[str, Any]:
    """The smallest visible difference for 2, 3, 5 and 10 seeds each, beside the noise itself."""
    rows = []
    for seeds in SEEDS:
        difference = minimum_detectable_difference(noise, seeds)
        factor = difference / noise.sd
        limits = {"estimate": difference, "low": factor * noise.low, "high": factor * noise.high}
        rows.append({"label": f"{seeds} seeds each", **limits, "verdict": ""})
    references = [{"label": "noise floor", "value": noise.sd}]
    return {
        "kind": "forest",
        "x": {"label": f"smallest visible difference in {metric_of(sweep)}"},
        "rows": rows,
        "references": references,
    }


def _interval(noise: SeedNoise) -> str:
    return f"{noise.sd:.2g} [{noise.low:.2g}, {noise.high:.2g}]"


def _caveats(sweep: Sweep, noise: SeedNoise) -> tuple[str, ...]:
    caveats = []
    if noise.n_configurations < 10:
        caveats.append(f"only {noise.n_configurations} configurations were repeated")
    cut = int((sweep.y[feasible_runs(sweep)] > winsorised(sweep)[feasible_runs(sweep)]).sum())
    if cut:
        caveats.append(f"{cut} runs with far-out results were brought to the limit of the others")
    return tuple(caveats)
