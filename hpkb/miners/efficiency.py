"""What a result costs: throughput against batch size, time, energy and memory, and what cannot be had together.

Question
--------
From which batch size on does a larger one no longer train faster? What do time, energy and memory depend on, and how
well calibrated are the predictions? Which configurations are not beaten in the result and all of these costs at once?

Method
------
Throughput saturates: a step takes a fixed time and a time for each example. Its logarithm is fitted over that of the
batch size as a rise that bends into a level, as sharply as the data say, with the other hyperparameters and the
machine held (least squares; segmented regression, Muggeo 2003, *Statistics in Medicine* 22). The knee is where both
lines meet; its interval has every place that an F test does not tell from the best, and that there is a bend at all is
tested by the curvature. The exponents of time, energy and memory are slopes on logarithms; all errors allow for uneven
scatter (HC2, MacKinnon & White 1985). The time to a target is that to the median configuration's result. A
configuration is on the front where no other is at least as good in every mean and better in one by more than noise;
that the best result is not also the cheapest is tested for all comparisons at once (Bonferroni).

How to read it
--------------
Below the knee a larger batch costs next to nothing in time for each step; above, the time grows with the batch. The
front is the list to choose from: everything else can be bettered without giving anything up. Costs only compare on one
machine; the caveats say where there were several.

When it misleads
----------------
A knee belongs to the machine, the model and the precision. A loader that cannot keep up bends the curve as well; see
the share of time that the data were waited for. Time to a target is that of the runs which reached it; slow settings
that never did are counted, not timed. The front has many members where costs hardly differ from chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import stdtr

from hpkb.findings import Finding, Verdict, evidence
from hpkb.miners import Context, _across
from hpkb.miners._costs import COSTS, calibration, cost, machines, time_to_target
from hpkb.miners._pareto import pareto
from hpkb.miners._words import brief
from hpkb.stats.effects import design_block
from hpkb.stats.knee import STILL, Knee, knee
from hpkb.stats.slopes import Measured, Slope, measured, slope
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import FloatArray, Hyperparameter, Sweep, direction_of, metric_of

DRIVERS = ("batch_size", "width", "depth", "parameter_count")  # what costs may be a power of
CALIBRATORS = ("label_smoothing", "mixup", "dropout", "weight_decay")
FEWEST_SIZES = 4
NOTHING = 0.05  # an exponent this close to 0: a doubling changes the cost by less than 4%


def mine(context: Context) -> list[Finding]:
    """Returns the knee of the throughput, what the costs depend on, and the front."""
    sweep = context.sweep
    if not sweep.n_runs:
        return []
    return [_knee(sweep), *_exponents(sweep), *_calibrators(sweep), pareto(sweep)]


def _finding(sweep: Sweep, names: tuple[str, ...], quantity: str, claim: str, verdict: Verdict, **more: Any) -> Finding:
    return Finding(
        miner="efficiency", hyperparameters=names, quantity=quantity, claim=claim, verdict=verdict, **more,
        **evidence(sweep),
    )  # fmt: skip


# --- throughput -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Throughput:
    """ln throughput by configuration, ln batch size, and the columns of all else, (n, k)."""

    at: Measured
    x: FloatArray
    held: FloatArray
    rate: FloatArray  # (n_runs,), examples a second


def _knee(sweep: Sweep) -> Finding:
    h = sweep.hyperparameter("batch_size")
    unknown = "From which batch size on throughput stays level cannot be said"
    names = ("batch_size",) if h else ()
    if h is None or h.scale == "category" or h.name in sweep.aliases.hidden:
        return _no_knee(sweep, names, f"{unknown}: batch size was not varied by itself.")
    rate = sweep.records.feature("examples_per_second", "tail_mean")
    if np.unique(h.values[np.isfinite(rate) & (h.values > 0)]).size < FEWEST_SIZES:
        return _no_knee(sweep, names, f"{unknown}: fewer than {FEWEST_SIZES} batch sizes have a measured throughput.")
    seen = _throughput(sweep, h, rate)
    found = knee(seen.x, seen.at.y, seen.held)
    bend = _bend(sweep, seen)
    if found is None or bend is None:
        return _no_knee(sweep, names, f"{unknown}: too few configurations, or throughput does not rise with it.")
    return _of_knee(sweep, h, seen, found, bend)


def _no_knee(sweep: Sweep, names: tuple[str, ...], claim: str) -> Finding:
    return _finding(sweep, names, "throughput_knee", claim, "insufficient", unit="examples")


def _throughput(sweep: Sweep, h: Hyperparameter, rate: FloatArray) -> _Throughput:
    with np.errstate(divide="ignore", invalid="ignore"):
        at = measured(sweep, np.log(np.where(rate > 0, rate, np.nan)), h.values > 0)
    here = sweep.subset(at.first)
    blocks = [design_block(other, here, 1) for other in here.hyperparameters if other.name != h.name]
    blocks = [block for block in blocks if block.shape[1]]
    codes = machines(sweep)[at.first]
    levels = np.unique(codes)[1:]
    if levels.size and at.y.size > 4 * levels.size:
        blocks.append((codes[:, None] == levels).astype(float))
    held = np.hstack(blocks) if blocks else np.empty((at.y.size, 0))
    if at.y.size < held.shape[1] + 16:
        held = np.empty((at.y.size, 0))
    return _Throughput(at, np.log(h.values[at.first]), held, rate)


def _bend(sweep: Sweep, seen: _Throughput) -> Slope | None:
    """The curvature of ln throughput in ln batch size, in units of a doubling.

    Tested on these logarithms alone: ranks of what scatters little are curved where it is straight, and the reverse.
    """
    x = (seen.x - seen.x.mean()) / np.log(2)
    found = slope(sweep, seen.at, x**2, ("batch_size",), (x, *_indicators(sweep, seen)))
    return found and replace(found, p_value=2 * float(stdtr(found.degrees, -abs(found.estimate / found.error))))


def _indicators(sweep: Sweep, seen: _Throughput) -> list[FloatArray]:
    codes = machines(sweep)[seen.at.first]
    levels = np.unique(codes)[1:]
    return [(codes == level).astype(float) for level in levels] if seen.at.y.size > 4 * levels.size else []


def _of_knee(sweep: Sweep, h: Hyperparameter, seen: _Throughput, found: Knee, bend: Slope) -> Finding:
    place, smallest, largest = float(np.exp(found.place)), float(np.exp(seen.x.min())), float(np.exp(seen.x.max()))
    low, high = (float(np.exp(x)) if np.isfinite(x) else None for x in (found.low, found.high))
    ends = f"{'below ' if low is None else ''}{brief(low or smallest, 3)}", brief(high or largest, 3)
    number = f"{brief(place, 3)} [{', '.join(ends)}{' or more' if high is None else ''}]"
    unsettled = f"From which batch size on throughput stays level is not settled: {number}."
    figure = _figure(sweep, h, seen, found)
    common: dict[str, Any] = {"unit": "examples", "estimate": place, "low": low, "high": high, "figure": figure,
                              "claim_if_insufficient": unsettled, "caveats": _several(sweep)}  # fmt: skip
    names = ("batch_size",)
    rises = _still_rising(sweep, seen)
    if rises is not None:
        claim = f"Throughput still grows at the largest batch size ({brief(largest, 3)}): by the power {rises} of it."
        return _finding(sweep, names, "throughput_knee", claim, "rejected", p_value=bend.p_value, **common)
    power = f"below, it goes with its power {found.slope:.2f}"
    claim = f"Above a batch size of {number} throughput no longer grows; {power}."
    finding = _finding(sweep, names, "throughput_knee", claim, "supported", p_value=bend.p_value, **common).judged()
    if finding.verdict == "supported" and bend.estimate >= 0:
        return finding.insufficient("throughput bends upwards")
    if finding.verdict == "supported" and found.slope_above > STILL * found.slope:
        return finding.insufficient("throughput still grows above the knee")
    if finding.verdict == "supported" and (low is None or high is None):
        return finding.insufficient("the knee may lie beyond what was tried")
    return finding


def _still_rising(sweep: Sweep, seen: _Throughput) -> str | None:
    """The exponent over the upper half of the batch sizes with its interval, where it is clearly positive."""
    upper = seen.x >= np.median(np.unique(seen.x))
    if upper.sum() < FEWEST_SIZES or np.unique(seen.x[upper]).size < 3:
        return None
    part = Measured(seen.at.y[upper], seen.at.seeds[upper], seen.at.first[upper])
    found = slope(sweep, part, seen.x[upper], ("batch_size",))
    if found is None or found.estimate - found.half_width < 0.25:
        return None
    largest = np.unique(seen.x)[-3:]
    top = np.isin(seen.x, largest)
    last = slope(sweep, Measured(seen.at.y[top], seen.at.seeds[top], seen.at.first[top]), seen.x[top], ("batch_size",))
    return _interval(last) if last is not None and last.estimate - last.half_width > 0.25 else None


def _figure(sweep: Sweep, h: Hyperparameter, seen: _Throughput, found: Knee) -> dict[str, Any]:
    points = [
        {"x": float(h.values[i]), "y": float(seen.rate[i]), "run_id": sweep.run_ids[i],
         "infeasible": bool(sweep.infeasible[i])}
        for i in np.flatnonzero(np.isfinite(seen.rate) & (h.values > 0))
    ]  # fmt: skip
    line = [{"x": float(np.exp(x)), "y": float(np.exp(y)), "low": None, "high": None} for x, y in found.curve]
    low, high = (float(np.exp(x)) if np.isfinite(x) else None for x in (found.low, found.high))
    return {
        "kind": "response", "x": {"label": "batch_size", "scale": h.scale, "levels": []},
        "y": {"label": "examples_per_second", "scale": "log"}, "points": points, "line": line, "plateau": [],
        "optimum": {"x": float(np.exp(found.place)), "low": low, "high": high},
    }  # fmt: skip


def _several(sweep: Sweep) -> tuple[str, ...]:
    n = np.unique(machines(sweep)).size
    return (f"{n} kinds of machines",) if n > 1 else ()


# --- costs ----------------------------------------------------------------------------------------------------


def _exponents(sweep: Sweep) -> Iterator[Finding]:
    """How time, energy and memory, and the time to a common target, go with the sizes that were varied."""
    drivers = [h for name in DRIVERS if (h := sweep.hyperparameter(name)) is not None and h.scale != "category"]
    feasible = feasible_runs(sweep)
    asked = [(name, np.where(feasible, cost(sweep, name), np.nan), "") for name in COSTS]
    reached = time_to_target(sweep)
    if reached is not None:
        target = f"{metric_of(sweep)} {brief(direction_of(sweep) * reached.target, 3)}"
        asked.append(("time to target", reached.seconds, f"the target, {target}, was reached by {reached.n_runs} runs"))
    for name, values, note in asked:
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.where(values > 0, values, np.nan))
        for h in drivers:
            at = measured(sweep, logs, h.values > 0)
            column = np.log(h.values[at.first])
            found = slope(sweep, at, column, (h.name,)) if column.size > 1 and np.ptp(column) > 0 else None
            if found is not None:
                yield _exponent(sweep, h, name, note, found)


def _exponent(sweep: Sweep, h: Hyperparameter, cost_name: str, note: str, found: Slope) -> Finding:
    low, high = found.estimate - found.half_width, found.estimate + found.half_width
    size = h.name.replace("_", " ")
    ratio = [float(2**x) for x in (found.estimate, low, high)]
    number = f"twice the {size}, {ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}] times the {cost_name}"
    unsettled = f"How {cost_name} goes with {size} is not settled: {number}."
    common: dict[str, Any] = {
        "estimate": found.estimate, "low": low, "high": high, "unit": f"d ln {cost_name} / d ln {size}",
        "p_value": found.p_value, "condition": cost_name, "claim_if_insufficient": unsettled,
        "caveats": (*((note,) if note else ()), *_several(sweep)),
    }  # fmt: skip
    if max(-low, high) <= NOTHING:
        claim = f"{cost_name[0].upper()}{cost_name[1:]} does not go with {size}: {number}."
        return _finding(sweep, (h.name,), "cost_exponent", claim, "rejected", **common)
    claim = f"{cost_name[0].upper()}{cost_name[1:]} goes with {size}: {number}."
    return _finding(sweep, (h.name,), "cost_exponent", claim, "supported", **common).judged()


def _calibrators(sweep: Sweep) -> Iterator[Finding]:
    """What goes with a calibration error that the runs logged."""
    metric, values = calibration(sweep)
    if not metric:
        return
    values = np.where(feasible_runs(sweep), values, np.nan)
    for h in (h for name in CALIBRATORS if (h := sweep.hyperparameter(name)) is not None and h.scale != "category"):
        is_log = h.scale == "log"
        with np.errstate(divide="ignore", invalid="ignore"):
            x = np.where(h.values > 0, np.log10(h.values), np.nan) if is_log else h.values / 0.1
        at = measured(sweep, values, np.isfinite(x))
        column = x[at.first]
        found = slope(sweep, at, column, (h.name,)) if column.size > 1 and np.ptp(column) > 0 else None
        if found is None:
            continue
        number = f"{metric} changes by {_interval(found)} per {'decade' if is_log else '0.1'}"
        name = h.name.replace("_", " ")
        way = "better" if found.estimate < 0 else "worse"
        yield _finding(
            sweep, (h.name,), "calibration_slope", f"More {name} goes with a {way} calibration: {number}.", "supported",
            claim_if_insufficient=f"What {name} does to calibration is not settled: {number}.", p_value=found.p_value,
            estimate=found.estimate, low=found.estimate - found.half_width, high=found.estimate + found.half_width,
            unit=f"{metric} per {'decade' if is_log else '0.1'}",
        ).judged()  # fmt: skip


def _interval(found: Slope) -> str:
    low, high = found.estimate - found.half_width, found.estimate + found.half_width
    return f"{brief(found.estimate)} [{brief(low)}, {brief(high)}]"


def combine(findings: Sequence[Finding]) -> list[Finding]:
    """Returns the knee and the exponents of the costs over the tasks."""
    knees = _across.Across("throughput_knee", "", "", "throughput is level from batches of", is_log=True)
    together = [*_across.combine(knees, findings)]
    for size, what in sorted({(*f.hyperparameters, f.condition) for f in findings if f.quantity == "cost_exponent"}):
        way = f"with {size.replace('_', ' ')}, as its power"
        asked = _across.Across(
            "cost_exponent", f"{what} rises {way}", f"{what} falls {way}", f"it is open how {what} goes {way}",
        )  # fmt: skip
        together += _across.combine(asked, [f for f in findings if (*f.hyperparameters, f.condition) == (size, what)])
    return together
