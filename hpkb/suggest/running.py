"""Runs experiments one after another, each as its own run under `hpkb log`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from hpkb.suggest.options import arguments

STOPPED = (130, 143)  # interrupted, or told to end: whoever did that wants no further run


@dataclass(frozen=True)
class Ended:
    """One experiment that was run: its place in the list, its arguments, and the command's exit status."""

    rank: int
    arguments: str
    status: int


def run_all(
    document: Mapping[str, Any],
    command: Sequence[str],
    log: Callable[[list[str]], int],
    out: TextIO | None = None,
) -> list[Ended]:
    """Returns how each experiment of a `suggest` document ended, run in its order by `log(command with arguments)`.

    One that fails does not stop the rest; one that was interrupted does.
    """
    out = out or sys.stderr
    ended: list[Ended] = []
    experiments = document["experiments"]
    for experiment in experiments:
        words = arguments(experiment["values"], experiment["seed"], document["options"])
        said = f"{experiment['rank']}/{len(experiments)} {' '.join(words)}"
        print(f"hpkb: {said}", file=out, flush=True)
        ended.append(Ended(experiment["rank"], " ".join(words), log([*command, *words])))
        if ended[-1].status in STOPPED:
            break
    return ended


def summary(ended: Sequence[Ended], total: int) -> str:
    """Returns how the runs went, in a line, and a line for each that failed."""
    failed = [e for e in ended if e.status]
    said = f"{len(ended) - len(failed)} of {total} experiments done" + (
        f", {len(failed)} failed" if failed else ""
    )
    said += f", {total - len(ended)} not run" if len(ended) < total else ""
    lines = [f"{said}. Then: hpkb analyze"]
    return "\n".join([*lines, *(f"  {e.rank}: exit status {e.status}: {e.arguments}" for e in failed)])
