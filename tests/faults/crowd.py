"""Many jobs that begin to train at the same moment, on one machine or on several, and what their server was asked."""

from __future__ import annotations

import bisect
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.jobs import TOGETHER, Witness
from tests.faults.place import Place, wait_for

_ID = re.compile(r"[0-9a-f]{32}|(?<=/experiments/)\d+")


@dataclass(frozen=True)
class Loop:
    """What a job tells of its loop, in seconds: how long it took, its processor time, its longest call of `log`."""

    seconds: float
    processor: float
    longest: float


@dataclass(frozen=True)
class Load:
    """What a server was asked: how many requests, for how many seconds, and how many within any one second."""

    requests: int
    seconds: float
    most: int
    by_kind: Counter[str]

    @classmethod
    def of(cls, arrivals: Sequence[tuple[float, str]]) -> Load:
        """The load of these requests, each with its time."""
        times = sorted(moment for moment, _ in arrivals)
        most = max((bisect.bisect_left(times, moment + 1.0) - i for i, moment in enumerate(times)), default=0)
        seconds = times[-1] - times[0] if times else 0.0
        return cls(len(times), seconds, most, Counter(_ID.sub("ID", what) for _, what in arrivals))


class Crowd:
    """Jobs that wait for one another before their first step. `captured` ones are started by `hpkb log`.

    The jobs are spread over the places; each is a machine of its own, with a spool and so a shipper of its own.
    """

    def __init__(self, folder: Path, places: Sequence[Place], jobs: int, captured: bool = True) -> None:
        folder.mkdir(parents=True)
        self._go = folder / "go"
        self._places, self._captured = places, captured
        self._processes: list[subprocess.Popen[str]] = []
        self.said: list[str] = []  # by each `hpkb log`, nothing where all went well
        self.took = 0.0  # seconds from the first step until everything was in the store
        self.witnesses = [Witness(folder / f"job-{i}.witness") for i in range(jobs)]

    def gather(self, steps: int, pause: float, patience: float) -> None:
        """Starts the jobs; returns when all of them wait for their first step."""
        for i, witness in enumerate(self.witnesses):
            place, arguments = self._places[i % len(self._places)], (witness.file, self._go, pause, steps)
            started = place.log(witness.file.stem, TOGETHER, *arguments) if self._captured else None
            self._processes.append(started or place.plain(TOGETHER, *arguments))
        wait_for(lambda: all(witness.pid for witness in self.witnesses), patience, pause=0.2)

    def train(self, patience: float) -> list[Loop]:
        """Lets the jobs train, waits until all that they have logged is in the store; returns what they tell."""
        deadline = time.monotonic() + patience
        self._go.touch()
        for process in self._processes:
            self.said.append("".join(process.communicate(timeout=max(1.0, deadline - time.monotonic()))))
        assert [process.returncode for process in self._processes] == [0] * len(self.said), self.said
        for place in self._places:
            wait_for(lambda place=place: not place.left(), max(1.0, deadline - time.monotonic()), pause=0.2)
        self.took = time.monotonic() - deadline + patience
        return [Loop(**json.loads(Path(f"{one.file}.told").read_text())) for one in self.witnesses]
