"""Values that are already decided: what goes with them, inside of what was tried and beyond it.

Inside, over tasks, the surrogates choose among configurations with the given values, and the test is made with them.
One task has too few runs at each value for that: where a supported finding ties the learning rate to the value, the
task's default moves along the ridge, which rests on all of its runs. Beyond what was tried nothing was
measured: the choice is made at the nearest value that was tried, and the learning rate follows the supported exponent
from there; without one there is no recommendation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Value
from hpkb.recommend.laws import RATE, Law, moved_by
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
    there = [put_in(configuration, given, laws) for configuration in pool]
    return list({candidates.key(c): c for c in there}.values())


def tied(given: Mapping[str, Value], laws: Sequence[Law]) -> dict[str, Value]:
    """Returns the given numbers that a law ties the learning rate to; none where the learning rate is given too."""
    knobs = set() if RATE in given else {law.knob for law in laws}
    return {name: value for name, value in given.items() if name in knobs and not isinstance(value, str)}


def put_in(configuration: Mapping[str, Value], given: Mapping[str, Value], laws: Sequence[Law]) -> dict[str, Value]:
    """Returns the configuration with the given values, its learning rate moved along the ridge where a law has one."""
    moved = dict(configuration)
    moved.update((n, v) for n, v in given.items() if isinstance(v, str))
    for name, value in given.items():
        law = _law_of(laws, name, moved)
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
    ranges += [(min(fixed), max(fixed)) for _ in fixed]  # each task at its own value: together they span a range
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


def followed(default: Mapping[str, Value], along: Mapping[str, Value], laws: Sequence[Law]) -> list[dict[str, Any]]:
    """Returns what each value in `along` does to the learning rate of a default, as `moved_beyond` has it."""
    notes, values = [], dict(default)
    for name, value in along.items():
        law = _law_of(laws, name, values)
        if law is not None and values[name] != value:
            notes.append(_note(law, float(value), float(values[name]), float(values[RATE]), ""))
        values = put_in(values, {name: value}, laws)
    return notes


def moved_beyond(
    document: dict[str, Any], outside: Sequence[Beyond], given: Mapping[str, Value], laws: Sequence[Law]
) -> dict[str, Any]:
    """Returns the document with its configurations moved from the anchors to what is given, and what that rests on.

    `conditional` has an entry for each value that the learning rate followed or that lies beyond what was tried. The
    verdict is *insufficient* where no law says how the learning rate goes with a value beyond, or where it lies further
    out than the range that was tried is wide.
    """
    if not outside or not document["configurations"]:
        return document
    notes, verdict = [], document["verdict"]
    for one in outside:
        default = document["configurations"][0]["values"]
        law = None if RATE in given or one.anchor is None else _law_of(laws, one.name, default)
        notes.append(_beyond_note(one, law, default))
        document["configurations"] = [_moved(c, one, law) for c in document["configurations"]]
        if one.tried and (law is None or one.reach > 1):
            verdict = "insufficient"
    said = [note["words"] for note in notes]
    reason = " ".join([*said, document["reason"]] if verdict == "insufficient" else [document["reason"], *said])
    conditional = [*document.get("conditional", ()), *notes]
    return {**document, "given": dict(given), "verdict": verdict, "reason": reason, "conditional": conditional}


def _law_of(laws: Sequence[Law], name: str, values: Mapping[str, Value]) -> Law | None:
    return next((law for law in laws if law.knob == name and law.holds_for(values)), None)


def _moved(configuration: Mapping[str, Any], one: Beyond, law: Law | None) -> dict[str, Any]:
    values = dict(configuration["values"])
    plateau = {name: ends for name, ends in configuration["plateau"].items() if name != one.name}
    cited = list(configuration.get("finding_ids", ()))
    if law is None or one.anchor is None or isinstance(one.value, str) or not law.holds_for(values):
        return {**configuration, "values": {**values, one.name: one.value}, "plateau": plateau}
    factor, low, high = law.factors(float(one.value), one.anchor)
    rate = float(values[RATE])
    moved, plateau = moved_by(factor, rate, plateau, *_ends(rate, low, high))
    values |= {one.name: one.value, RATE: moved}
    return {**configuration, "values": values, "plateau": plateau, "finding_ids": [law.finding_id, *cited]}


def _ends(rate: float, low: float, high: float) -> tuple[float | None, float | None]:
    """The interval of a rate from that of its factor; None where it is open."""
    return (rate * low if low > 0 else None), (rate * high if high < np.inf else None)


def _note(law: Law, value: float, reference: float, rate: float, more: str) -> dict[str, Any]:
    """What a value does to the learning rate from where `rate` belongs."""
    factor, *ends = law.factors(value, reference)
    low, high = _ends(rate, *ends)
    of = "1 - momentum" if law.knob == "momentum" else law.knob
    interval = "" if law.low is None or law.high is None else f" [{law.low:.2f}, {law.high:.2f}]"
    whose = "" if law.task else ", of all tasks"
    said = (
        f"With {law.knob} {value:g} the learning rate follows {of} to the power {law.exponent:.2f}{interval} from "
        f"{reference:g} (finding {law.finding_id}{whose})"
    )
    return {
        "hyperparameter": law.knob, "value": value, "from": reference, RATE: rate * factor, "low": low, "high": high,
        "finding_id": law.finding_id, "extrapolated": bool(more), "words": f"{said}{more}.",
    }  # fmt: skip


def _beyond_note(one: Beyond, law: Law | None, default: Mapping[str, Value]) -> dict[str, Any]:
    value = one.value if isinstance(one.value, str) else f"{one.value:g}"
    if law is None or one.anchor is None or isinstance(one.value, str):
        outside = f"{one.name} {value} lies outside what was tried ({one.tried}), and no supported finding says"
        words = f"{outside} what goes " if one.tried else f"No run recorded {one.name}: it is not known what goes "
        return {
            "hyperparameter": one.name, "value": one.value, "from": one.anchor, RATE: None, "low": None, "high": None,
            "finding_id": None, "extrapolated": True, "words": f"{words}with it.",
        }  # fmt: skip
    far = ", and it lies further out than that range is wide" if one.reach > 1 else ""
    more = f"; that is an extrapolation, not tested: {one.tried} was tried{far}"
    return _note(law, float(one.value), one.anchor, float(default[RATE]), more)
