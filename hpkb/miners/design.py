"""What was tried and what was not, and which answers the sweep can therefore not give.

Question
--------
Which values and which combinations were never tried? Which hyperparameters always changed together, so that nobody can
say which of them did it? Does the best value lie at the edge, or where hardly anything was tried? Were later runs
chosen for the results of earlier ones, and how many runs taught nothing?

Method
------
Coverage is the share of equal cells of the tried range that hold a configuration, beside that of a uniform random
design of the same size; a hole is a stretch of a fifth of the range or more that is wider than random values leave
(the chance of a gap among uniform values), and for two hyperparameters a third by a third of their ranges that holds
nothing although both thirds were used. Aliasing is judged by canonical correlations of the hyperparameters' columns
(Hotelling 1936) and by the condition number of all of them (Belsley, Kuh & Welsch 1980, *Regression Diagnostics*): what
others explain to within 5% has no effect of its own that could be seen, and no miner here claims one. The best value is
that of *response*. The order of the runs is held against their results by Spearman's correlation; the runs at an end of
a range with none of the better half are counted, and tested by the chance of so many worse ones in a row. The
comparisons are those of the *Deep Learning Tuning Playbook* (Godbole et al. 2023).

How to read it
--------------
*Supported* names a defect of the design: two that are aliased, an optimum at the edge, hardly a configuration near the
best, an order that was not random, an end of a range where nothing was to be won. *Rejected* says that it was looked
for and is not there. For coverage, *insufficient* means what it says: nothing is known of the hole. For seeds
against settings it is the other way round: *supported* is the sound case, settings differ by more than seeds do.

When it misleads
----------------
Cells are cut on each hyperparameter's own scale: what was drawn evenly on another scale looks uneven. A list of values
chosen by hand is held to its own gaps, not to chance. A trend over time may come from a change of the code as well as
from a sampler that follows its results. An optimum at the edge of a range that cannot be widened (no dropout, the
smallest batch) is no defect.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from hpkb.findings import Finding, Verdict, evidence
from hpkb.miners import Context
from hpkb.miners._design import (
    around_the_best,
    hopeless_runs,
    infeasible_excess,
    noise_against_settings,
    words,
)
from hpkb.stats.aliasing import Aliases
from hpkb.stats.design import Corner, Cover, configurations, cover, empty_corner, order_of, thirds
from hpkb.sweep import Hyperparameter, Sweep, metric_of

FEWEST_CONFIGURATIONS = 8
FEWEST_OF_A_LEVEL = 3
FEWEST_FOR_ORDER = 16
CLOSE = 0.9  # a correlation from which two are hard to tell apart
NO_TREND = 0.2  # a rank correlation with the order that does not matter


def mine(context: Context) -> list[Finding]:
    """Returns what the design covers, cannot tell apart, and what it spent where."""
    sweep = context.sweep
    if not sweep.n_runs:
        return []
    at = configurations(sweep)
    found = [*_coverage(sweep, at), *_aliasing(sweep)]
    found.append(_sampling_bias(sweep))
    found += around_the_best(context, at)
    return [*found, *hopeless_runs(sweep, at), infeasible_excess(sweep), noise_against_settings(sweep)]


def _coverage(sweep: Sweep, at: Sweep) -> Iterator[Finding]:
    """The whole of it, each hyperparameter, and the pairs with an empty corner."""
    if at.n_runs < FEWEST_CONFIGURATIONS:
        for h in sweep.hyperparameters:
            claim = f"{at.n_runs} configurations are too few to speak of how {words(h.name)} was covered."
            yield _finding(sweep, (h.name,), "coverage", claim, "insufficient", unit="share of cells")
        return
    covers = {h.name: cover(h) for h in at.hyperparameters}
    for h in at.hyperparameters:
        known = covers[h.name]
        yield _of_number(sweep, h, known) if known else _of_category(sweep, h)
    yield from _pairs(sweep, at)
    yield _overall(sweep, {name: known for name, known in covers.items() if known})


def _finding(sweep: Sweep, names: tuple[str, ...], quantity: str, claim: str, verdict: Verdict, **more: Any) -> Finding:
    return Finding(
        miner="design", hyperparameters=names, quantity=quantity, claim=claim,
        verdict=verdict, **more, **evidence(sweep),
    )  # fmt: skip


def _of_number(sweep: Sweep, h: Hyperparameter, known: Cover) -> Finding:
    low, high = (_typed(h, x) for x in known.hole)
    cells = f"{known.share:.0%} of its range has a configuration (a random design: {known.expected:.0%})"
    if known.is_hole:
        claim = f"Nothing was tried of {words(h.name)} between {low:.3g} and {high:.3g}: {cells}."
    else:
        claim = f"{words(h.name, start=True)} has no hole: {cells}; the widest gap is {low:.3g} to {high:.3g}."
    gap = {"hyperparameter": h.name, "low": low, "high": high, "share": known.hole_share}
    figure = {"kind": "coverage", "gaps": [gap] if known.is_hole else [], "widest": gap,
              "expected": known.expected, "discrepancy": known.discrepancy}  # fmt: skip
    caveats = ("its values were chosen from a list",) if known.is_list else ()
    verdict: Verdict = "insufficient" if known.is_hole else "rejected"
    return _finding(sweep, (h.name,), "coverage", claim, verdict, estimate=known.share, unit="share of cells",
                    figure=figure, caveats=caveats)  # fmt: skip


def _of_category(sweep: Sweep, h: Hyperparameter) -> Finding:
    at = configurations(sweep).hyperparameter(h.name) or h
    counts = np.bincount(at.values[~np.isnan(at.values)].astype(np.int64), minlength=len(h.levels))
    thin = [level for level, n in zip(h.levels, counts, strict=False) if 0 < n < FEWEST_OF_A_LEVEL]
    used = int((counts > 0).sum())
    share = 1 - len(thin) / max(used, 1)
    least = int(counts[counts > 0].min()) if used else 0
    if thin:
        claim = f"{words(h.name, start=True)} {' and '.join(thin)} had fewer than {FEWEST_OF_A_LEVEL} configurations."
    else:
        claim = f"Each {words(h.name)} had at least {least} configurations."
    gaps = [{"hyperparameter": h.name, "level": level} for level in thin]
    return _finding(sweep, (h.name,), "coverage", claim, "insufficient" if thin else "rejected", estimate=share,
                    unit="share of levels", figure={"kind": "coverage", "gaps": gaps})  # fmt: skip


def _pairs(sweep: Sweep, at: Sweep) -> Iterator[Finding]:
    cells = {h.name: thirds(h) for h in at.hyperparameters if h.scale == "category" or cover(h)}
    grouped = {frozenset(pair) for group in sweep.aliases.groups for pair in combinations(group, 2)}
    for one, other in combinations([h for h in at.hyperparameters if h.name in cells], 2):
        corner = empty_corner(cells[one.name], cells[other.name])
        if corner is None or frozenset((one.name, other.name)) in grouped:
            continue
        ends = [_range(h, cell) for h, cell in ((one, corner.one), (other, corner.other))]
        claim = (
            f"Nothing was tried with {ends[0][0]} and {ends[1][0]}, where a random design of this size has about "
            f"{corner.expected:.0f} configurations."
        )
        yield _finding(sweep, (one.name, other.name), "coverage", claim, "insufficient", estimate=corner.share,
                       unit="share of cells", figure=_corner_figure(one, other, corner))  # fmt: skip


def _corner_figure(one: Hyperparameter, other: Hyperparameter, corner: Corner) -> dict[str, object]:
    gaps = [_range(h, cell)[1] for h, cell in ((one, corner.one), (other, corner.other))]
    return {"kind": "coverage", "gaps": gaps, "expected": corner.expected}


def _range(h: Hyperparameter, cell: tuple[float, float]) -> tuple[str, dict[str, object]]:
    """A cell in words, and as a gap."""
    name = words(h.name)
    if h.scale == "category":
        level = h.levels[int(cell[0])]
        return f"{name} {level}", {"hyperparameter": h.name, "level": level}
    low, high = (_typed(h, x) for x in cell)
    return f"{name} from {low:.3g} to {high:.3g}", {"hyperparameter": h.name, "low": low, "high": high}


def _overall(sweep: Sweep, covers: dict[str, Cover]) -> Finding:
    """All numbers side by side."""
    holes = [name for name, known in covers.items() if known.is_hole]
    rows = [
        {"label": name, "estimate": known.share, "low": None, "high": None,
         "verdict": "insufficient" if known.is_hole else "rejected"}
        for name, known in covers.items()
    ]  # fmt: skip
    share = float(np.mean([known.share for known in covers.values()])) if covers else None
    expected = float(np.mean([known.expected for known in covers.values()])) if covers else 0.0
    if not covers:
        claim = "No number was varied."
    elif holes:
        claim = f"The design has a hole in {', '.join(words(name) for name in holes)}: {share:.0%} of all cells."
    else:
        claim = f"The design covers {share:.0%} of the ranges that were tried (a random design: {expected:.0%})."
    figure = {"kind": "forest", "x": {"label": "share of cells with a configuration"}, "rows": rows,
              "references": [{"label": "random design", "value": expected}]} if covers else {}  # fmt: skip
    verdict: Verdict = "insufficient" if holes or not covers else "rejected"
    return _finding(sweep, (), "coverage", claim, verdict, estimate=share, unit="share of cells", figure=figure)


def _typed(h: Hyperparameter, x: float) -> float:
    """A value of the own scale as a person would type it; an exact 0 for what stands in its place."""
    if h.scale != "log":
        return float(x)
    smallest = float(np.min(h.values[h.values > 0], initial=np.inf))
    return 0.0 if (h.values == 0).any() and x < np.log(smallest) - 1e-9 else float(np.exp(x))


def _aliasing(sweep: Sweep) -> Iterator[Finding]:
    """One finding for each set that changed together; one for the whole where there is none."""
    aliases = sweep.aliases
    for group in aliases.groups:
        joined = f"{', '.join(words(name) for name in group[:-1])} and {words(group[-1])}"
        blamed = [words(name) for name in group if name in aliases.hidden]
        claim = (
            f"{joined[0].upper()}{joined[1:]} always changed together, so an effect of {' or '.join(blamed)} cannot be "
            "told from that of the others, and none is claimed."
        )
        enough = sweep.n_configurations >= FEWEST_CONFIGURATIONS
        # What changed together is recorded and no sample of anything: hence the p-value of a fact.
        yield _finding(sweep, group, "aliasing", claim, "supported" if enough else "insufficient", estimate=1.0,
                       unit="canonical correlation", p_value=0.0 if enough else None,
                       figure={"kind": "aliasing", "hidden": sorted(aliases.hidden)})  # fmt: skip
    if not aliases.groups and len(sweep.hyperparameters) > 1:
        yield _no_aliases(sweep, aliases)


def _no_aliases(sweep: Sweep, aliases: Aliases) -> Finding:
    pair = max(aliases.correlation, key=lambda p: aliases.correlation[p], default=None)
    largest = aliases.correlation[pair] if pair else 0.0
    names = " and ".join(words(name) for name in pair or ())
    closest = f"the closest are {names}, canonical correlation {largest:.2f}" if pair else ""
    verdict: Verdict = "insufficient"
    number = f"{aliases.condition:.2g}" if np.isfinite(aliases.condition) else "infinite"
    if sweep.n_configurations < FEWEST_CONFIGURATIONS or not np.isfinite(aliases.condition):
        claim = "Too few configurations to tell which hyperparameters can be told apart."
    elif largest >= CLOSE:
        claim = f"Not all hyperparameters are easily told apart: {closest} (condition number {number})."
    else:
        claim = f"All hyperparameters can be told apart: {closest or 'no two vary'} (condition number {number})."
        verdict = "rejected"
    return _finding(sweep, (), "aliasing", claim, verdict, estimate=largest, unit="canonical correlation")


def _sampling_bias(sweep: Sweep) -> Finding:
    order = order_of(sweep, FEWEST_FOR_ORDER)
    if order is None:
        claim = "Whether settings were tried in a random order cannot be said: too few runs have a known start."
        return _finding(sweep, (), "sampling_bias", claim, "insufficient", unit="rank correlation")
    number = f"{order.trend:z.2f} (95% interval {order.low:z.2f} to {order.high:z.2f})"
    unsettled = f"Whether later runs follow the results of earlier ones is open: rank correlation with order {number}."
    way = "were better" if order.trend < 0 else "were worse"
    told = f"later runs {way}" if order.p_trend <= 0.05 else "later runs lie closer to the best ones"
    claim = (
        f"Settings were not tried in a random order: {told} (rank correlation of {metric_of(sweep)} with the order "
        f"{number}). Shares and responses weigh every value of the range alike, not every run."
    )
    found = _finding(
        sweep, (), "sampling_bias", claim, "supported", claim_if_insufficient=unsettled, estimate=order.trend,
        low=order.low, high=order.high, unit="rank correlation", p_value=order.p_value,
        caveats=("negative: later runs are better",),
    )  # fmt: skip
    if order.p_value > 0.05 and max(-order.low, order.high) <= NO_TREND:
        none = f"Later runs were neither better nor worse: rank correlation with the order {number}."
        return _finding(sweep, (), "sampling_bias", none, "rejected", claim_if_insufficient=unsettled,
                        estimate=order.trend, low=order.low, high=order.high, unit="rank correlation",
                        p_value=order.p_value)  # fmt: skip
    return found.judged()
