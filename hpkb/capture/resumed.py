"""Where a resumed job goes on: how many optimizer steps its earlier attempts had taken.

The supervisor leaves the checkpoints that those have written in the run folder. The job goes on at the step of the one
that it reads before its first optimizer step; a checkpoint that was renamed is known by its size and time. Of one that
nobody knows, the optimizer's own count tells (Adam's `step`). Without either the steps begin at 1 again.
"""

from __future__ import annotations

import json
import os
from typing import Any  # torch has imported it by now

from .session import Session

FILE = "resumed.json"  # {"checkpoints": {path: [step, bytes, time in ns]}}, in the run folder
_PARAMETERS = 100  # of an optimizer, whose steps are looked at


class Resumed:
    """The earlier attempts of one session's job; of a job that has none it does nothing."""

    def __init__(self, live: Session) -> None:
        self._live = live
        self._found: list[int] = []
        self._checkpoints: dict[str, Any] = {}
        self.known = os.path.exists(os.path.join(live.run_dir, FILE))
        if self.known:
            with open(os.path.join(live.run_dir, FILE), encoding="utf-8") as file:
                self._checkpoints = json.load(file)["checkpoints"]

    def was_read(self, path: str) -> None:
        """Takes note of a checkpoint that the job has read."""
        if self._checkpoints and not self._live.step:
            step = self._step_of(path)
            if step is not None:
                self._found.append(step)
                self._live.before = step

    def begun(self, optimizer: Any) -> None:
        """Settles the step that the job has gone on from; its first optimizer step has run."""
        counted = _steps(optimizer) - 1
        if counted > 0 and (counted in self._found or not self._found):
            self._live.before = counted
        self._live.tags({"hpkb.resumed.from_step": str(self._live.before)})

    def _step_of(self, path: str) -> int | None:
        place = os.path.abspath(path)
        stamp = stamp_of(place)
        for known, (step, *of_known) in reversed(list(self._checkpoints.items())):
            if stamp is not None and stamp == of_known:
                return int(step)
            if (os.path.isdir(known) and os.path.dirname(place) == known) or (place == known and os.path.isdir(place)):
                return int(step)
        return None


class Resumption:
    """Tells the session's `Resumed` of the first optimizer step."""

    def __init__(self, training: Any) -> None:
        self._training = training
        self._resumed = training.live.part(Resumed)
        if self._resumed.known:
            training.at_begin.add(self._begun)

    def _begun(self, optimizer: Any, number: int) -> None:
        if number == 1:
            self._training.at_begin.remove(self._begun)
            self._resumed.begun(optimizer)


def stamp_of(path: str) -> list[int] | None:
    """Returns the size and the time of a file in ns, by which it is known again; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _steps(optimizer: Any) -> int:
    """Returns how often the optimizer has stepped by its own count, 0 where it keeps none that can be read at once."""
    most = 0
    for state, _ in zip(list(optimizer.state.values()), range(_PARAMETERS)):
        step = state.get("step") if isinstance(state, dict) else None
        if step is not None and not getattr(step, "is_cuda", False) and getattr(step, "device", None) != "meta":
            most = max(most, int(step))
    return most
