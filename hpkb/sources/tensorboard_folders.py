"""Which folders of event files are one run.

A folder with event files is a run, as for TensorBoard, but for three kinds of folder that belong to the one above:

- named as a split (`train`, `validation`, …), as Keras and TensorFlow's estimators write: its metrics are `train/TAG`;
- written by torch's `add_scalars`, whose name is a tag and a series (`loss_train`): its metric is `TAG/SERIES`;
- written by torch's `add_hparams`, whose name is a time, where the run above has only one of these.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "eval", "evaluation", "test"})
_TIME = re.compile(r"\d{9,11}\.\d+")
_NAME_TIME = re.compile(r"tfevents\.(\d+)")

#: The first tag in a file, None where it has none.
FirstTag = Callable[[Path], str | None]


@dataclass(frozen=True)
class Part:
    """The event files of one folder, in the order of time, and what makes metrics of their tags."""

    files: tuple[Path, ...]
    prefix: str = ""
    series: str = ""

    def metric(self, tag: str) -> str:
        """Returns the name of the metric."""
        return f"{self.prefix}{tag}/{self.series}" if self.series else self.prefix + tag


def runs_in(root: Path, first_tag: FirstTag) -> dict[Path, list[Part]]:
    """Returns the parts of each run below a folder, its own first, by the run's folder."""
    folders = {folder: files for folder, files in _walk(root) if files}
    above = {folder: _above(folder, root, folders, first_tag) for folder in folders}
    runs: dict[Path, list[Part]] = {}
    for folder in sorted(folders):
        prefix = series = ""
        place = folder
        while part := above.get(place):
            prefix, series = part.prefix + prefix, part.series or series
            place = place.parent
        runs.setdefault(place, []).append(Part(folders[folder], prefix, series))
    return runs


def event_files(folder: Path) -> Iterator[Path]:
    """Yields the event files in a folder and below it."""
    for _, files in _walk(folder):
        yield from files


def _walk(root: Path) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    for place, _, names in os.walk(root):
        files = [Path(place, name) for name in names if "tfevents" in name]
        yield Path(place), tuple(sorted(files, key=_time_of))


def _time_of(file: Path) -> tuple[int, str]:
    found = _NAME_TIME.search(file.name)
    return int(found[1]) if found else 0, file.name


def _above(
    folder: Path, root: Path, folders: Mapping[Path, tuple[Path, ...]], first_tag: FirstTag
) -> Part | None:
    """How a folder's tags are called in the run above it, None where it is a run of its own."""
    if folder == root:
        return None
    if folder.name.lower() in _SPLITS:
        return Part((), prefix=f"{folder.name}/")
    if folder.parent not in folders:
        return None
    if _TIME.fullmatch(folder.name):
        siblings = Counter(other.parent for other in folders if _TIME.fullmatch(other.name))
        return Part(()) if siblings[folder.parent] == 1 else None
    tag = first_tag(folders[folder][0])
    beginning = f"{tag.replace('/', '_')}_" if tag else "/"  # no folder's name has a slash
    is_series = folder.name.startswith(beginning)
    return Part((), series=folder.name.removeprefix(beginning)) if is_series else None
