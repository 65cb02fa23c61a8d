"""What changed since the last edition: values of defaults that moved, claims that fell, rose or are new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpkb.kb.editions import Edition
from hpkb.names import rank_of
from hpkb.pages.formats import matched
from hpkb.pages.model import Changes
from hpkb.pages.parts import FindingView, Link, Moved, Number, Turned
from hpkb.pages.places import Places

#: In the order in which they are told.
HOW = ("fell", "rose", "rejected", "open", "moved", "new", "gone")
_ROUNDING = 1e-6  # of a value: what differs by less is the same


def changes(last: Edition, now: Edition, findings: Mapping[str, FindingView], where: Places) -> Changes:
    """Returns what is different; nothing where there was no edition before."""
    if not last.number:
        return Changes(now.number, 0, 0, now.n_runs, (), (), 0)
    claims = sorted(_claims(last, now, findings, where), key=_place)
    n_open = sum(
        now.findings[name]["verdict"] == "insufficient" for name in now.findings.keys() - last.findings.keys()
    )
    return Changes(
        now.number, last.number, last.n_runs, now.n_runs, tuple(_defaults(last, now, where)), tuple(claims), n_open
    )


def _place(claim: Turned) -> tuple[int, bool, str, str]:
    """What fell first; claims over all tasks before those of one."""
    return HOW.index(claim.how), claim.task is not None, claim.task.text if claim.task else "", claim.claim


def _claims(
    last: Edition, now: Edition, findings: Mapping[str, FindingView], where: Places
) -> Iterator[Turned]:
    for name in sorted(last.findings.keys() | now.findings.keys()):
        before, after = last.findings.get(name), now.findings.get(name)
        how = _how(before, after)
        if how:
            said = after or before or {}
            yield Turned(
                how, where.task(said["task"]), said["claim"], before["claim"] if before else "", findings.get(name),
                (_figures(before), _figures(after)),
            )  # fmt: skip


def _how(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """In which way a claim changed, empty where it did not or was open and still is."""
    was = before["verdict"] if before else ""
    verdict = after["verdict"] if after else ""
    if not before:
        return "new" if verdict in ("supported", "rejected") else ""
    if not after:
        return "gone" if was in ("supported", "rejected") else ""
    if was != verdict:
        other = "rejected" if verdict == "rejected" else "open"
        return "fell" if was == "supported" else "rose" if verdict == "supported" else other
    return "moved" if verdict == "supported" and _left_its_interval(before, after) else ""


def _left_its_interval(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    old, new = before["estimate"], after["estimate"]
    if isinstance(old, str) or isinstance(new, str):
        return bool(old != new)
    ends = (before["low"], before["high"])
    if new is None or not all(isinstance(end, int | float) for end in ends):
        return False
    return not ends[0] <= new <= ends[1]


def _figures(document: Mapping[str, Any] | None) -> str:
    if document is None:
        return ""
    return " ".join(matched(document["estimate"], document["low"], document["high"])).strip()


def _defaults(last: Edition, now: Edition, where: Places) -> Iterator[Moved]:
    """The values of each task's default that are others, in the order of the canonical names."""
    for task in sorted(last.defaults.keys() | now.defaults.keys()):
        before, after = last.defaults.get(task), now.defaults.get(task)
        link = where.task(task)
        verdicts = [document["verdict"] if document else None for document in (before, after)]
        if verdicts[0] != verdicts[1]:
            yield Moved(link, None, *verdicts)
        if before and after:
            yield from _moved(link, before["values"], after["values"], where)


def _moved(
    task: Link | None, before: Mapping[str, Number], after: Mapping[str, Number], where: Places
) -> Iterator[Moved]:
    for name in sorted(before.keys() | after.keys(), key=rank_of):
        old, new = before.get(name), after.get(name)
        if not _same(old, new):
            yield Moved(task, where.hyperparameter(name), old, new)


def _same(one: Number, other: Number) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= _ROUNDING * max(abs(one), abs(other))
    return one == other
