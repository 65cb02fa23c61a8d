"""Small parts of a lake merged, and the files deleted that nothing lists any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hpkb.engine import Engine
from hpkb.lake.manifest import Manifest, Part, changed, commit, number_of, read_manifest
from hpkb.lake.place import Place, in_lake, no_lake, place_of
from hpkb.lake.writing import merge

SMALL = 64_000_000  # bytes of a part that it is worth merging, and of what they are merged to
DAY = 86_400.0


@dataclass(frozen=True)
class CompactionReport:
    """What a compaction did: parts before and after, files and bytes that are no longer there."""

    lake: str
    parts_before: int
    parts: int
    deleted: int


def compact(url: str, engine: Engine, older_than: float = DAY) -> CompactionReport:
    """Merges small parts, deletes the files that were not listed for so many seconds, and returns what it did.

    A knowledge base that was analyzed from the lake longer ago does not find its curves until the next `hpkb analyze`.
    Raises SourceError where there is no lake.
    """
    place = place_of(url)
    with in_lake(place.url):
        return changed(place, lambda before: _compacted(place, engine, before, older_than))


def _compacted(place: Place, engine: Engine, before: Manifest, older_than: float) -> CompactionReport | None:
    if not before.number:
        raise no_lake(place.url)
    after = _merged(place, engine, before)
    if after is None:
        return None
    return CompactionReport(place.url, len(before.parts), len(after.parts), _delete(place, after, older_than))


def _merged(place: Place, engine: Engine, before: Manifest) -> Manifest | None:
    groups = list(_groups(before.parts))
    if not groups:
        return before
    merged = [
        part for part in engine.map(merge, ((place.url, group) for group in groups)) if part is not None
    ]
    gone = {part.name for group in groups for part in group}
    kept = [part for part in before.parts if part.name not in gone]
    return commit(place, [*kept, *merged], before.origins, before)


def _groups(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Parts to be merged into one: neighbours in a partition, as large together as one should be."""
    small = defaultdict(list)
    for part in parts:
        if part.bytes < SMALL:
            small[part.partition].append(part)
    for of_partition in small.values():
        group: list[Part] = []
        for part in of_partition:
            if group and sum(p.bytes for p in group) + part.bytes > SMALL:
                yield from [group] if len(group) > 1 else []
                group = []
            group.append(part)
        yield from [group] if len(group) > 1 else []


def _delete(place: Place, now: Manifest, older_than: float) -> int:
    """Deletes the files that the lake has not listed for so long; those of parts not yet committed are younger."""
    files = dict(place.files())
    ages = {number: age for path, age in files.items() if (number := number_of(path)) is not None}
    listed = now.paths()
    # A manifest counted until the next one was written.
    for number, following in pairwise(sorted(ages)):
        if ages[following] < older_than:
            listed |= read_manifest(place, number).paths()
    gone = [path for path, age in files.items() if path not in listed and age >= older_than]
    for path in gone:
        place.delete(path)
    return len(gone)
