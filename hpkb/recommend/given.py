"""Values that are already decided: what goes with them, inside of what was tried and beyond it.

Inside, the surrogates choose among configurations with the given values, their learning rates moved along the ridge
where a supported finding has one. Beyond, nothing was measured: the choice is made at the nearest value that was tried,
and the learning rate follows the supported exponent from there; without one there is no recommendation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Value
from hpkb.recommend.laws import RATE, Law, typed_rate
from hpkb.sweep import Sweep

SLACK = 0.02  # of the range that was tried, by which a value may leave it


@dataclass(frozen=True)
class Beyond:
    """A given value outside of what was tried: `anchor` is the nearest one inside, None where there is none at all.

    `reach` is how far beyond it lies, in widths of the range that was tried.
    """

    name: str
    value: Value
    tried: str
    anchor: float | None = None
    reach: float = np.inf


def with_given(
    pool: list[dict[str, Value]], given: Mapping[str, Value], laws: Sequence[Law]
) -> list[dict[str, Value]]:
    """Returns the configurations that agree with what is given; where these are few, all of them with it put in.

    Where a value is put in and a law ties the learning rate to it, the rate moves along the ridge.
    """
    if not given:
        return pool
    asked = candidates.key(given)
    agreeing = [c for c in pool if candidates.key({name: c.get(name, "") for name in given}) == asked]
    if len(agreeing) >= candidates.ENOUGH_TO_AGREE:
        return agreeing
    put_in = [_put_in(configuration, given, laws) for configuration in pool]
    return list({candidates.key(c): c for c in put_in}.values())


def _put_in(configuration: Mapping[str, Value], given: Mapping[str, Value], laws: Sequence[Law]) -> dict[str, Value]:
    moved = dict(configuration)
    moved.update((n, v) for n, v in given.items() if isinstance(v, str))
    for name, value in given.items():
        law = next((law for law in laws if law.knob == name and law.holds_for(moved)), None)
        is_tied = law is not None and RATE not in given and not isinstance(value, str)
        moved = law.moved(moved, float(value)) if law is not None and is_tied else {**moved, name: value}
    return moved


def inside(given: Mapping[str, Value], outside: Sequence[Beyond]) -> dict[str, Value]:
    """Returns what is given with the nearest tried value of each that lies outside; without what has none."""
    anchors: dict[str, Value] = {one.name: one.anchor for one in outside if one.anchor is not None}
    names = {one.name for one in outside}
    return {name: value for name, value in given.items() if name not in names} | anchors


def beyond(given: Mapping[str, Value], sweeps: Sequence[Sweep]) -> list[Beyond]:
    """Returns the given values outside of what at least half of the tasks that know of the hyperparameter tried."""
    return [found for name, value in given.items() if (found := _beyond(name, value, sweeps)) is not None]


def _beyond(name: str, value: Value, sweeps: Sequence[Sweep]) -> Beyond | None:
    kinds = [h for s in sweeps if (h := s.hyperparameter(name)) is not None]
    if any(h.scale == "category" for h in kinds) or isinstance(value, str):
        levels = {level for h in kinds for level in h.levels} | {s.fixed[name] for s in sweeps if name in s.fixed}
        text = value if isinstance(value, str) else f"{value:g}"
        return None if text in levels else Beyond(name, value, ", ".join(sorted(levels)))
    scale = kinds[0].scale if kinds else "linear"
    ranges = [(float(np.nanmin(h.values)), float(np.nanmax(h.values))) for h in kinds]
    fixed = [x for s in sweeps if isinstance(x := candidates.number(s.fixed.get(name, "")), float)]
    ranges += [(min(fixed), max(fixed))] * len(fixed)  # each task at its own value: together they span a range
    if not ranges:
        return Beyond(name, value, "")
    place = (lambda x: float(np.log(max(x, 1e-12)))) if scale == "log" else float
    ends = np.array([[place(low), place(high)] for low, high in ranges])
    width = max(float(np.ptp(ends)), 1e-12)

    def covers(at: float) -> bool:
        inside = (ends[:, 0] - SLACK * width <= at) & (at <= ends[:, 1] + SLACK * width)
        return bool(2 * inside.sum() >= len(ranges))

    at = place(float(value))
    if covers(at):
        return None
    inside = [(abs(place(x) - at), x) for pair in ranges for x in pair if covers(place(x))]
    distance, anchor = min(inside, default=(np.inf, None))
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    tried = f"{low:g} to {high:g}" if low < high else f"{low:g}"
    return Beyond(name, value, tried, anchor, distance / width)


def moved_beyond(
    document: dict[str, Any], outside: Sequence[Beyond], given: Mapping[str, Value], laws: Sequence[Law]
) -> dict[str, Any]:
    """Returns the document with its configurations moved from the anchors to what is given, and what that rests on.

    `extrapolated` has an entry for each value beyond what was tried. The verdict is *insufficient* where no law says
    how the learning rate goes with a value, or where it lies further out than the range that was tried is wide.
    """
    if not outside or not document["configurations"]:
        return document
    notes, verdict, default = [], document["verdict"], document["configurations"][0]["values"]
    for one in outside:
        law = next((law for law in laws if law.knob == one.name and law.holds_for(default)), None)
        usable = law if RATE not in given and one.anchor is not None else None
        notes.append(_note(one, usable, default))
        document["configurations"] = [_moved(c, one, usable) for c in document["configurations"]]
        default = document["configurations"][0]["values"]
        if one.tried and (usable is None or one.reach > 1):
            verdict = "insufficient"
    reason = " ".join([document["reason"], *(note["words"] for note in notes)])
    return {**document, "given": dict(given), "verdict": verdict, "reason": reason, "extrapolated": notes}


def _moved(configuration: Mapping[str, Any], one: Beyond, law: Law | None) -> dict[str, Any]:
    values = dict(configuration["values"])
    plateau = {name: ends for name, ends in configuration["plateau"].items() if name != one.name}
    cited = list(configuration.get("finding_ids", ()))
    if law is None or one.anchor is None or isinstance(one.value, str) or not law.holds_for(values):
        return {**configuration, "values": {**values, one.name: one.value}, "plateau": plateau}
    factor, low, high = law.factors(float(one.value), one.anchor)
    rate = float(values[RATE])
    moved = typed_rate(rate * factor, *(rate * x if 0 < x < np.inf else None for x in (low, high)))
    if RATE in plateau:
        ends = plateau[RATE]
        plateau[RATE] = [ends[0] * factor, ends[1] * factor]
    values |= {one.name: one.value, RATE: moved}
    return {**configuration, "values": values, "plateau": plateau, "finding_ids": [law.finding_id, *cited]}


def _note(one: Beyond, law: Law | None, default: Mapping[str, Value]) -> dict[str, Any]:
    value = one.value if isinstance(one.value, str) else f"{one.value:g}"
    note: dict[str, Any] = {
        "hyperparameter": one.name, "value": one.value, "nearest_tried": one.anchor,
        "finding_id": law.finding_id if law else None, RATE: None, "low": None, "high": None,
    }  # fmt: skip
    start = f"{one.name} {value} lies outside what was tried ({one.tried})"
    if not one.tried:
        return note | {"words": f"No run recorded {one.name}: what goes with {value} is not known."}
    if law is None or one.anchor is None or isinstance(one.value, str):
        return note | {"words": f"{start}, and no supported finding says what goes with it: this is a guess."}
    factor, low, high = law.factors(float(one.value), one.anchor)
    rate = float(default[RATE])
    ends = [rate * x if 0 < x < np.inf else None for x in (low, high)]
    note |= {RATE: rate * factor, "low": ends[0], "high": ends[1]}
    of = "1 - momentum" if law.knob == "momentum" else law.knob
    interval = "" if law.low is None or law.high is None else f" [{law.low:.2f}, {law.high:.2f}]"
    far = ", further out than the tried range is wide" if one.reach > 1 else ""
    power = f"{of} to the power {law.exponent:.2f}{interval} (finding {law.finding_id})"
    words = f"{start}: from {one.anchor:g} the learning rate follows {power}."
    return note | {"words": f"{words} That is an extrapolation, not tested{far}."}
