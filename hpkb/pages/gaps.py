"""What to run next on each task, as `hpkb suggest` proposes it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hpkb.pages.formats import plain
from hpkb.pages.parts import FindingView, Gap, Link, Number, Proposed
from hpkb.pages.places import Places
from hpkb.suggest.options import arguments

SCRIPT = "python train.py"  # what stands for a task's own command


def gaps(
    documents: Iterable[Mapping[str, Any]], where: Places, findings: Mapping[str, FindingView]
) -> tuple[Gap, ...]:
    """Returns the next experiments of each task, from what `hpkb suggest` proposed."""
    return tuple(_gap(document, where, findings) for document in documents)


def _gap(document: Mapping[str, Any], where: Places, findings: Mapping[str, FindingView]) -> Gap:
    task, baseline = str(document["task"]), document["baseline"]["values"]
    n = max(1, len(document["experiments"]))
    command = f"hpkb suggest --task {shlex.quote(plain(task, 200))} --n {n} --run -- {SCRIPT}"
    return Gap(
        where.task(task) or Link(plain(task, 80), ""), document["reason"],
        tuple((where.hyperparameter(name), value) for name, value in baseline.items()), document["baseline"]["origin"],
        tuple(_proposed(document, where, findings)), tuple(document["left_out"]), command,
    )  # fmt: skip


def _proposed(
    document: Mapping[str, Any], where: Places, findings: Mapping[str, FindingView]
) -> Iterator[Proposed]:
    baseline = document["baseline"]["values"]
    for e in document["experiments"]:
        words = [plain(word, 200) for word in arguments(e["values"], e["seed"], document["options"])]
        yield Proposed(
            e["rank"], tuple(_changed(e["values"], baseline, where)), e["seed"], e["is_repeat"], e["design"],
            e["settles"], findings.get(e["finding_id"] or ""), shlex.join(words),
        )  # fmt: skip


def _changed(
    values: Mapping[str, Number], baseline: Mapping[str, Number], where: Places
) -> Iterator[tuple[Link, Number]]:
    """What differs from the baseline; None where the experiment leaves out what that sets."""
    for name, value in values.items():
        if baseline.get(name) != value:
            yield where.hyperparameter(name), value
    for name in baseline:
        if name not in values:
            yield where.hyperparameter(name), None
