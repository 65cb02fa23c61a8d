"""What a lake holds at one moment: a file with a number, the highest of which counts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import NamedTuple, TypeVar

from hpkb.errors import SourceError
from hpkb.lake.layout import FILES, MANIFESTS, folder_of
from hpkb.lake.place import Place

_NAMED = re.compile(r"(?:^|/)manifest-(\d+)\.json$")
_TRIES = 20  # to be the next who changes a lake
T = TypeVar("T")

FORMAT = 1  # goes up when an older hpkb could not read what a newer one writes


class Partition(NamedTuple):
    """What the runs of a part have in common: the store that they came from, experiment, stated task, month."""

    source: str
    experiment: str | None
    task: str | None
    month: str | None


@dataclass(frozen=True)
class Part:
    """A batch of runs of one experiment, task and month: `name` is that of its files, `bytes` of all of them."""

    name: str
    source: str
    experiment: str | None
    task: str | None
    month: str | None
    runs: int
    points: int
    bytes: int

    @property
    def folder(self) -> str:
        """Where its file of a kind lies, below that kind's folder."""
        return folder_of(self.experiment, self.task, self.month)

    def path(self, kind: str) -> str:
        """Returns the path of its file of that kind."""
        return f"{kind}/{self.folder}/{self.name}.parquet"

    @property
    def partition(self) -> Partition:
        """What its runs have in common."""
        return Partition(self.source, self.experiment, self.task, self.month)


@dataclass(frozen=True)
class Origin:
    """A store whose runs are in the lake: its kind, and the objectives that it states by task, METRIC:DIRECTION."""

    kind: str
    objectives: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The parts that are in the lake after so many changes of it, and where their runs came from."""

    number: int = 0
    parts: tuple[Part, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def paths(self) -> set[str]:
        """Returns the paths of all files, the manifest's own among them."""
        return {part.path(kind) for part in self.parts for kind in FILES} | {_path(self.number)}


def last_number(place: Place) -> int:
    """Returns the number of the last manifest, 0 where there is no lake."""
    numbers = (number_of(name) for name in place.names(MANIFESTS))
    return max((number for number in numbers if number is not None), default=0)


def read_manifest(place: Place, number: int | None = None) -> Manifest:
    """Returns the last manifest, or the one of that number; an empty one where there is no lake."""
    number = last_number(place) if number is None else number
    if number == 0:
        return Manifest()
    document = json.loads(place.read(_path(number)))
    if document["format"] > FORMAT:
        raise SourceError(
            f"The lake '{place.url}' has format {document['format']}, this hpkb knows {FORMAT}. Update hpkb."
        )
    known = [column.name for column in fields(Part)]
    parts = tuple(Part(**{name: part[name] for name in known}) for part in document["parts"])
    return Manifest(number, parts, {name: Origin(**origin) for name, origin in document["origins"].items()})


def commit(
    place: Place, parts: Iterable[Part], origins: Mapping[str, Origin], after: Manifest
) -> Manifest | None:
    """Makes these parts what the lake holds, if nobody changed it since `after`; returns None where somebody did."""
    ordered = tuple(sorted(parts, key=lambda part: part.path("runs")))
    manifest = Manifest(after.number + 1, ordered, dict(sorted(origins.items())))
    document = {
        "format": FORMAT,
        "origins": {name: asdict(origin) for name, origin in manifest.origins.items()},
        "parts": [
            asdict(part) | {"folder": part.folder} for part in ordered
        ],  # for those who read it without hpkb
    }
    content = json.dumps(document, ensure_ascii=False, indent=0).encode()
    return manifest if place.create(_path(manifest.number), content) else None


def changed(place: Place, attempt: Callable[[Manifest], T | None]) -> T:
    """Returns what an attempt to change the lake returned; one that returned None, being too late, is made anew.

    Each gets the lake's last manifest. Raises SourceError where others are first each time.
    """
    for _ in range(_TRIES):
        if (outcome := attempt(read_manifest(place))) is not None:
            return outcome
    raise SourceError(f"The lake '{place.url}' is being changed by many at once. Try again later.")


def number_of(name: str) -> int | None:
    """Returns the number of the manifest in a file of that name or path; None where it is none."""
    found = _NAMED.search(name)
    return int(found[1]) if found else None


def _path(number: int) -> str:
    return f"{MANIFESTS}/manifest-{number:08}.json"
