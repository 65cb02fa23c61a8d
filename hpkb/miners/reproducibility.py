"""Whether a run gives the same result again: on another machine, with the same seed, on the same data.

Question
--------
Does the same configuration end differently on other hardware, in another precision or with other library versions? Does
one seed give one result? Did all runs of the task see the same data, and is any of it in two splits at once?

Method
------
Runs of one configuration are compared across machines (processor, GPU and their number), library versions, and
precision, each within the others held the same; where two of them always changed together, they are judged as one. A
nested analysis of variance splits the scatter within configurations into that between machines and that between seeds
(Searle, Casella & McCulloch 1992, *Variance Components*); the interval of the share is that of an F ratio whose degrees
of freedom are cut to the error that leaving out a configuration at a time shows (Miller 1968), so that noise of any
shape keeps it right. The test is done on the ranks as well. Runs with the same configuration, seed, machine, versions
and code are set side by side; that two of them differ, that two digests of a split differ, or that examples were found
in two splits, is recorded and needs no test.

How to read it
--------------
*Supported*: the machine moves the result, the data differ, examples leak, or a seed does not fix the result; the number
says by how much. *Rejected*: looked for and not there, as far as it was recorded. Runs whose splits differ must not be
compared with each other. With leakage the objective is too good, by an unknown amount.

When it misleads
----------------
A machine that only ran at another time, by another hand or on other code carries their effect. That digests differ may
be meant, where each seed draws its own split. Examples count as shared where their bytes are equal; near duplicates are
not seen. Runs that differ in a setting that nobody recorded look like one seed with two results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hpkb.findings import Finding, Verdict, evidence
from hpkb.miners import Context
from hpkb.miners._overlap import leakage
from hpkb.stats.nested import Ratio, variance_ratio
from hpkb.stats.noise import Repeats, pooled
from hpkb.stats.surrogate import feasible_runs, winsorised
from hpkb.sweep import BoolArray, FloatArray, IntArray, Sweep, metric_of

#: What a run was computed with, by what a reader calls it; a name that ends in "." stands for all below it.
FACTORS = {
    "hardware": ("hpkb.hw.gpu.name", "hpkb.hw.gpu.count", "hpkb.hw.cpu.model", "hpkb.hw.host"),
    "library versions": ("hpkb.env.python", "hpkb.env.torch", "hpkb.env.cuda", "hpkb.env.cudnn", "hpkb.env.numpy",
                         "hpkb.env.jax", "hpkb.env.lightning", "hpkb.env.transformers", "hpkb.env.torchvision"),
    "precision": ("precision",),
}  # fmt: skip
#: Settings of how something is computed: runs that differ in them alone have the same configuration here.
COMPUTED = ("precision", "compiled", "world_size", "micro_batch_size", "accumulation_steps")
CODE = ("mlflow.source.git.commit", "hpkb.code.git.commit", "hpkb.code.commit")
FEWEST_CONFIGURATIONS = 4  # that ran with more than one level
LITTLE = 0.2  # of the scatter: then the factor moves the result by less than half of what a seed does
FEWEST_RUNS = 6
UNIT = "share of the variance within configurations"


def mine(context: Context) -> list[Finding]:
    """Returns how much machines, versions and precision move the result, and whether data and seeds are what they seem.
    """
    sweep = context.sweep
    if not sweep.n_runs:
        return []
    return [*_hardware(sweep), _nondeterminism(sweep), *_splits(sweep), *leakage(sweep)]


def _finding(sweep: Sweep, quantity: str, claim: str, verdict: Verdict, **more: Any) -> Finding:
    return Finding(
        miner="reproducibility", hyperparameters=more.pop("hyperparameters", ()), quantity=quantity, claim=claim,
        verdict=verdict, **more, **evidence(sweep),
    )  # fmt: skip


# --- machines, versions, precision ----------------------------------------------------------------------------


def _hardware(sweep: Sweep) -> Iterator[Finding]:
    same, usable = _settings(sweep), np.flatnonzero(feasible_runs(sweep))
    levels = {name: codes for name in FACTORS if np.unique((codes := _levels(sweep, name))[codes >= 0]).size > 1}
    if not levels or usable.size == 0:
        claim = "Whether hardware moves the result cannot be said: all runs had the same, or nobody recorded it."
        yield _finding(sweep, "hardware_variance_share", claim, "insufficient", unit=UNIT)
        return
    y, left = winsorised(sweep), dict(levels)
    for factor, codes in levels.items():
        held = [same, *(other for name, other in levels.items() if name != factor)]
        found = _ratio(y, _joined(held), codes, usable)
        if found is not None:
            del left[factor]
            yield _share(sweep, factor, found)
    if left:
        together, several = " and ".join(left), list(left.values())
        held = [same, *(codes for name, codes in levels.items() if name not in left)]
        both = np.where(np.min(several, axis=0) < 0, -1, _joined(several))
        found = _ratio(y, _joined(held), both, usable)
        yield _share(sweep, together, found) if found else _too_few(sweep, together)


def _ratio(y: FloatArray, group: IntArray, level: IntArray, rows: IntArray) -> Ratio | None:
    """The variance between levels within groups, of groups that have several or a level with several runs."""
    rows = rows[level[rows] >= 0]
    cells = np.unique(np.stack([group[rows], level[rows]]), axis=1)
    _, levels_of = np.unique(cells[0], return_counts=True)
    if (levels_of > 1).sum() < FEWEST_CONFIGURATIONS:
        return None
    return variance_ratio(y[rows], np.unique(group[rows], return_inverse=True)[1], level[rows])


def _share(sweep: Sweep, factor: str, found: Ratio) -> Finding:
    estimate, low, high = found.share
    number = f"{estimate:.0%} [{100 * low:.0f}, {100 * high:.0f}] of what runs of one configuration scatter"
    is_setting = factor in COMPUTED
    common: dict[str, Any] = {
        "estimate": estimate, "low": low, "high": high, "unit": UNIT, "p_value": found.p_value,
        "hyperparameters": (factor,) if is_setting else (), "condition": "" if is_setting else factor,
        "claim_if_insufficient": f"Whether {factor} moves {metric_of(sweep)} is not settled: {number}.",
        "caveats": (f"{found.n_units} configurations", *(("they changed together",) if " and " in factor else ())),
    }  # fmt: skip
    if high <= LITTLE:
        claim = f"Other {factor} moves {metric_of(sweep)} by little against seeds: {number}."
        return _finding(sweep, "hardware_variance_share", claim, "rejected", **common)
    claim = f"The same configuration ends differently with other {factor}: that is {number}."
    found_ = _finding(sweep, "hardware_variance_share", claim, "supported", **common)
    return found_.judged() if low > 0 else found_.insufficient("the interval holds 0")


def _too_few(sweep: Sweep, factor: str) -> Finding:
    why = "too few configurations ran with several, or were repeated with one"
    claim = f"Whether other {factor} moves {metric_of(sweep)} cannot be said: {why}."
    return _finding(sweep, "hardware_variance_share", claim, "insufficient", unit=UNIT, condition=factor)


def _levels(sweep: Sweep, factor: str) -> IntArray:
    """The combination of a factor's facts in each run, (n_runs,); -1 for those that recorded none of them."""
    parameter = sweep.hyperparameter(factor)
    if parameter is not None:
        return np.nan_to_num(parameter.values, nan=-1.0).astype(np.int64)
    texts = [sweep.records.texts(name) for name in FACTORS[factor] if name in sweep.records.names]
    if not texts:
        return np.full(sweep.n_runs, -1, dtype=np.int64)
    known = np.array([any(told) for told in zip(*texts, strict=True)], dtype=bool)
    return np.where(known, _joined([_codes(told) for told in texts]), -1)


def _settings(sweep: Sweep) -> IntArray:
    """The configuration of each run but for how it was computed, (n_runs,)."""
    own = [h.values for h in sweep.hyperparameters if h.name not in COMPUTED]
    if len(own) == len(sweep.hyperparameters):
        return sweep.configuration
    if not own:
        return np.zeros(sweep.n_runs, dtype=np.int64)
    rows = np.nan_to_num(np.stack(own, axis=1), nan=-1e300)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _codes(texts: Sequence[str | None]) -> IntArray:
    order = {text: i for i, text in enumerate(sorted({text or "" for text in texts}))}
    return np.array([order[text or ""] for text in texts], dtype=np.int64)


def _joined(codes: Sequence[IntArray]) -> IntArray:
    """The number of each combination, (n,)."""
    return np.unique(np.stack(codes), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


# --- one seed, two results ------------------------------------------------------------------------------------


def _nondeterminism(sweep: Sweep) -> Finding:
    """The scatter of runs that share configuration, seed, machine, versions, code and data."""
    metric = metric_of(sweep)
    rows = feasible_runs(sweep) & np.isfinite(sweep.seed)
    repeats = _same_in_all(sweep, rows)
    if not repeats.degrees.size:
        claim = f"Whether one seed gives one {metric} cannot be said: no configuration ran twice with the same seed."
        return _finding(sweep, "nondeterminism_sd", claim, "insufficient", unit=metric)
    n, differ = int(repeats.degrees.size), int((repeats.squares > 0).sum())
    common: dict[str, Any] = {"unit": metric, "caveats": ("settings that nobody recorded may differ",)}
    if sweep.n_runs < FEWEST_RUNS:
        return _finding(sweep, "nondeterminism_sd", "Too few runs to tell whether one seed gives one result.",
                        "insufficient", **common)  # fmt: skip
    if not differ:
        claim = f"One seed gave one {metric}, to the last digit, in all {n} settings that ran twice with it."
        return _finding(sweep, "nondeterminism_sd", claim, "rejected", estimate=0.0, **common)
    noise = pooled(repeats)
    sd = noise.sd if noise else float(np.sqrt(repeats.squares.sum() / repeats.degrees.sum()))
    interval = f" [{noise.low:.2g}, {noise.high:.2g}]" if noise else ""
    claim = (
        f"One seed does not fix the result: in {differ} of {n} settings that ran again with the same seed {metric} "
        f"differed, by {sd:.2g}{interval} (standard deviation)."
    )
    # That two recorded numbers differ is a fact: hence the p-value.
    return _finding(sweep, "nondeterminism_sd", claim, "supported", estimate=sd, low=noise.low if noise else None,
                    high=noise.high if noise else None, p_value=0.0, **common)  # fmt: skip


def _same_in_all(sweep: Sweep, rows: BoolArray) -> Repeats:
    facts = [_levels(sweep, factor) for factor in FACTORS]
    facts += [_codes(sweep.records.texts(name)) for name in CODE if name in sweep.records.names]
    facts += [_codes(sweep.records.digests(role)) for role in sweep.records.roles]
    seeds = np.unique(np.nan_to_num(sweep.seed, nan=-1.0), return_inverse=True)[1]
    group = _joined([sweep.configuration, seeds.astype(np.int64), *facts])[rows]
    y = winsorised(sweep)[rows]
    counts = np.bincount(group, minlength=1)
    kept = counts[group] >= 2
    _, member = np.unique(group[kept], return_inverse=True)
    n = np.bincount(member).astype(float)
    # As differences from a run of each: the mean of equal numbers need not be equal to them.
    y = y[kept]
    first = np.full(n.size, np.nan)
    first[member[::-1]] = y[::-1]
    away = y - first[member]
    means = np.bincount(member, weights=away) / np.maximum(n, 1)
    squares = np.bincount(member, weights=(away - means[member]) ** 2)
    return Repeats(y, member.astype(np.int64), first + means, n - 1, np.asarray(squares, dtype=np.float64))


# --- the data -------------------------------------------------------------------------------------------------


def _splits(sweep: Sweep) -> Iterator[Finding]:
    """Whether the runs had the same data in each role."""
    if not sweep.records.roles:
        claim = "Whether the runs saw the same data cannot be said: no digest of a split was recorded."
        yield _finding(sweep, "split_mismatch", claim, "insufficient", unit="share of runs")
    for role in sweep.records.roles:
        yield _split(sweep, role)


def _split(sweep: Sweep, role: str) -> Finding:
    digests = sweep.records.digests(role)
    told = Counter(d for d in digests if d and not d.startswith("shape:"))
    by_content = bool(told)
    told = told or Counter(d for d in digests if d)
    known, counts = sum(told.values()), sorted(told.values(), reverse=True)
    share = 1 - counts[0] / known if known else None
    common: dict[str, Any] = {
        "condition": role, "unit": "share of runs", "estimate": share,
        "caveats": (f"{sweep.n_runs - known} runs have no digest of it",) if known < sweep.n_runs else (),
    }  # fmt: skip
    if known < FEWEST_RUNS:
        claim = f"Too few runs have a digest of their {role} data."
        return _finding(sweep, "split_mismatch", claim, "insufficient", **common)
    if len(told) > 1:
        by_seed = " (each seed its own)" if _follows(digests, sweep.seed, told) else ""
        claim = (
            f"The runs did not all have the same {role} data: {len(told)} digests{by_seed}, and {share:.0%} of "
            "the runs have another than most."
        )
        # Two digests differ only where the data do: a fact, hence the p-value.
        return _finding(sweep, "split_mismatch", claim, "supported", p_value=0.0, **common)
    if not by_content:
        claim = f"Whether the runs had the same {role} data cannot be said: only its kind and size were recorded."
        return _finding(sweep, "split_mismatch", claim, "insufficient", **common)
    claim = f"All {known} runs with a digest had the same {role} data."
    return _finding(sweep, "split_mismatch", claim, "rejected", **common)


def _follows(digests: Sequence[str | None], seed: FloatArray, told: Counter[str]) -> bool:
    """Whether the seed decides the digest."""
    pairs = {(float(s), d) for d, s in zip(digests, seed, strict=True) if d in told and np.isfinite(s)}
    seeds = {s for s, _ in pairs}
    return len(seeds) > 1 and len(pairs) == len(seeds)

