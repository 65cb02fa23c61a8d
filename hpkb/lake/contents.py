"""What a lake holds, by store and experiment, from its manifest alone."""

from __future__ import annotations

from dataclasses import dataclass

from hpkb.lake.manifest import Part, read_manifest
from hpkb.lake.place import no_lake, place_of


@dataclass(frozen=True)
class Holding:
    """What a lake has of one experiment of a store; `months` are the first and the last in which a run was started."""

    source: str
    experiment: str | None
    months: tuple[str | None, str | None]
    parts: int
    runs: int
    points: int
    bytes: int


def contents(url: str) -> list[Holding]:
    """Returns what the lake holds, by store and experiment; raises SourceError where there is none."""
    place = place_of(url)
    manifest = read_manifest(place)
    if not manifest.number:
        raise no_lake(place.url)
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in manifest.parts:
        groups.setdefault((part.source, part.experiment or ""), []).append(part)
    return [_holding(parts) for _, parts in sorted(groups.items())]


def _holding(parts: list[Part]) -> Holding:
    months = sorted(part.month for part in parts if part.month)
    return Holding(
        parts[0].source, parts[0].experiment, (months[0], months[-1]) if months else (None, None), len(parts),
        sum(p.runs for p in parts), sum(p.points for p in parts), sum(p.bytes for p in parts),
    )  # fmt: skip
