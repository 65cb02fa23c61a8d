"""Which training each process of a job speaks for.

A job is one run until a second training begins in it: a shell script may start several, a sweep's driver many. A
training is what one process of rank 0 does from its first optimizer step on; the other ranks of its group belong to
it, and so does the process that started it through `multiprocessing`. A process that never trains, one that prepares
data or evaluates, speaks for the job as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpkb.ship.rundir import SUPERVISOR

_TOGETHER = 60.0  # seconds within which all ranks of one group make their first step


@dataclass
class _Process:
    """What a spool file says of its process. `at` is the time of its first optimizer step, None before that."""

    pid: int
    parent: int | None
    name: str
    command: list[str]
    rank: int = 0
    group: str | None = None
    at: float | None = None
    ended: bool = False


class Trainings:
    """The trainings of a job, in the order in which they began, and the spool files of each.

    A training's key is the stem of the file of the process that began it. `placed` is what an earlier shipper has
    found out and acted upon: it stays.
    """

    def __init__(self, placed: Mapping[str, str]) -> None:
        self.placed = dict(placed)
        self._processes: dict[str, _Process] = {}

    def note(self, file: str, record: Mapping[str, Any]) -> None:
        """Takes in a record that is no metric point."""
        kind = record.get("type")
        if kind == "header" and file != SUPERVISOR:
            self._processes[file] = _process(record)
        elif file in self._processes and kind == "training":
            self._begun(file, record)
        elif file in self._processes and kind == "end":
            self._processes[file].ended = True

    def of(self, file: str) -> str | None:
        """The training that the file's process speaks for, None where it speaks for the job, or is not known to."""
        return self.placed.get(file)

    def waits(self, file: str) -> bool:
        """Whether what the process says may turn out to belong to a training that has no run yet.

        The first process of a job need not wait: what it may train is the job's first training, on the job's run.
        """
        process = self._processes.get(file)
        if process is None or file in self.placed:
            return False
        if process.at is not None:  # a rank whose first is not known yet
            return True
        return not process.ended and (bool(self.placed) or file != next(iter(self._processes)))

    def give_up(self, file: str) -> None:
        """Takes the process for one that does not train: it has said too much to wait any longer."""
        self._processes[file].ended = True

    def conclude(self) -> None:
        """Gives the ranks that still wait to the nearest training of their group, now that no other can come."""
        for file, process in self._processes.items():
            if process.at is not None and file not in self.placed:
                self._join(file, float("inf"))

    def all_ended(self, key: str) -> bool:
        """Whether every process of a training has recorded its end."""
        return all(self._processes[file].ended for file in self.files(key) if file in self._processes)

    def files(self, key: str) -> list[str]:
        """The spool files of a training."""
        return [file for file, training in self.placed.items() if training == key]

    def name(self, key: str) -> str:
        """What a training may be called: its script without folder and ending."""
        process = self._processes.get(f"{key}.spool")
        return process.name if process else key

    def command(self, key: str) -> list[str]:
        """The command line of the process that began a training."""
        process = self._processes.get(f"{key}.spool")
        return process.command if process else []

    def _begun(self, file: str, record: Mapping[str, Any]) -> None:
        process = self._processes[file]
        process.rank, process.group = int(record.get("rank") or 0), record.get("group")
        process.at = float(record.get("at") or 0.0)
        if file in self.placed:
            return
        if process.rank or (int(record.get("restart") or 0) and self._nearest(process, float("inf"))):
            self._join(file, _TOGETHER if process.rank else float("inf"))
            return
        self.placed[file] = file.removesuffix(".spool")
        for other, candidate in self._processes.items():
            if other in self.placed:
                continue
            if candidate.pid == process.parent and candidate.at is None:
                self.placed[other] = self.placed[file]
            elif candidate.at is not None:
                self._join(other, _TOGETHER)

    def _join(self, file: str, within: float) -> None:
        found = self._nearest(self._processes[file], within)
        if found is not None:
            self.placed[file] = found

    def _nearest(self, process: _Process, within: float) -> str | None:
        """The training of the process's group that began nearest to it in time, if within so many seconds."""
        begun = {
            abs((other.at or 0.0) - (process.at or 0.0)): self.placed[file]
            for file, other in self._processes.items()
            if file in self.placed and other.at is not None and other.group == process.group and other.rank == 0
        }
        nearest = min(begun, default=within)
        return begun[nearest] if nearest < within else None


def _process(header: Mapping[str, Any]) -> _Process:
    command = [str(part) for part in header.get("argv") or []]
    script = command[0].replace("\\", "/").rstrip("/").rpartition("/")[2] if command else ""
    parent = header.get("parent")
    name = script.removesuffix(".py").lstrip("-") or "training"
    return _Process(int(header.get("pid") or 0), None if parent is None else int(parent), name, command)
