"""How a run ended, from what its processes and its supervisor wrote at their ends, or did not come to write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpkb.ship.rundir import SUPERVISOR

UNSAID = "the job ended without a word: it was killed, or the machine stopped"


@dataclass(frozen=True)
class Ending:
    """The end of a run. `at` is in seconds since 1970, `dropped` counts records that capture could not write."""

    status: str
    reason: str
    at: float
    dropped: int


@dataclass
class Witness:
    """Remembers what the end of a run is judged by: each process's rank and end, and when anything last happened."""

    ranks: dict[str, int] = field(default_factory=dict)
    ends: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    last_time: float = 0.0

    def note(self, file: str, record: Mapping[str, Any]) -> None:
        """Takes in a record that is no metric point."""
        if record.get("type") == "header":
            self.ranks[file] = int(record.get("rank") or 0)
            self.seen(float(record.get("started_at") or 0.0))
        elif record.get("type") == "end":
            self.ends[file] = record
            self.seen(float(record.get("ended_at") or 0.0))

    def seen(self, time: float) -> None:
        """Takes in that the run was alive at this time."""
        self.last_time = max(self.last_time, time)

    def ending(self) -> Ending:
        """The run's end: the supervisor's word, else that of its processes if each has one, else that it was killed."""
        supervisor = self.ends.get(SUPERVISOR)
        processes = {file: end for file, end in self.ends.items() if file != SUPERVISOR}
        dropped = sum(int(end.get("dropped") or 0) for end in self.ends.values())
        failure = _failure(list(processes.values()))
        if supervisor is not None:
            status, reason = str(supervisor.get("status")), str(supervisor.get("reason"))
            at = float(supervisor.get("ended_at") or self.last_time)
            said = f"{reason}: {failure}" if failure and status != "FINISHED" and failure not in reason else reason
            return Ending(status, said, at, dropped)
        if processes and set(processes) == set(self.ranks) - {SUPERVISOR}:
            ranked = sorted(processes, key=lambda file: self.ranks.get(file, 0))
            told = min((processes[file] for file in ranked), key=lambda end: end.get("status") == "FINISHED")
            return Ending(str(told.get("status")), str(told.get("reason")), self.last_time, dropped)
        return Ending("KILLED", UNSAID, self.last_time, dropped)


def _failure(ends: list[Mapping[str, Any]]) -> str:
    """The reason of the first process that failed; what others say after it is mostly its consequence."""
    failed = [end for end in ends if end.get("status") != "FINISHED" and end.get("reason")]
    return str(min(failed, key=lambda end: float(end.get("ended_at") or 0.0))["reason"]) if failed else ""
