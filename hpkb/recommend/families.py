"""Which tasks are of one family, so that a default can be tested on a family that it was not derived from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hpkb.sweep import Sweep

FEWEST = 3  # families, so that two are left to choose by
DATASET = ("dataset", "dataset_name", "data_name", "data_set", "corpus")
_SEPARATOR = re.compile(r"[^0-9A-Za-z]+")
_PATH = re.compile(r"[./]")


@dataclass(frozen=True)
class Families:
    """What tasks are grouped by, in words, and of each family the numbers of its tasks in the order they were given."""

    by: str
    groups: dict[str, list[int]]


def families_of(sweeps: Sequence[Sweep]) -> Families | None:
    """Returns the families of the tasks; None where there are fewer than three, or each task is its own.

    By the first of these that all tasks have and that puts tasks together: a recorded `family`, the data set by its
    recorded name or by its content, the model, the first word of the task's name.
    """
    for by, label in _LABELS.items():
        labels = [label(sweep) for sweep in sweeps]
        groups: dict[str, list[int]] = {}
        for number, name in enumerate(labels):
            groups.setdefault(name, []).append(number)
        if all(labels) and FEWEST <= len(groups) < len(sweeps):
            return Families(by, groups)
    return None


def _fixed(*names: str) -> Callable[[Sweep], str]:
    """Reads what all runs of a task recorded under one of these names, whatever path it stands at the end of."""

    def label(sweep: Sweep) -> str:
        found = {_PATH.split(name)[-1].lower(): value.lower() for name, value in sweep.fixed.items()}
        return next((found[name] for name in names if name in found), "")

    return label


def _training_data(sweep: Sweep) -> str:
    digests = set(sweep.records.digests("training"))
    only = digests.pop() if len(digests) == 1 else None
    return only or ""


_LABELS: dict[str, Callable[[Sweep], str]] = {
    "the family that the runs recorded": _fixed("family", "task_family"),
    "the data set": _fixed(*DATASET),
    "the training data": _training_data,
    "the model": _fixed("model"),
    "the first word of the name": lambda sweep: _SEPARATOR.split(sweep.task.lower())[0],
}
