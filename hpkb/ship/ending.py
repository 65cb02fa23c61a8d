"""How a run ended, from what its processes and its supervisor wrote at their ends, or did not come to write."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
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
    times: dict[str, float] = field(default_factory=dict)

    def note(self, file: str, record: Mapping[str, Any]) -> None:
        """Takes in a record that is no metric point."""
        if record.get("type") == "header":
            self.ranks[file] = int(record.get("rank") or 0)
            self.seen(file, float(record.get("started_at") or 0.0))
        elif record.get("type") == "training":
            self.ranks[file] = int(record.get("rank") or 0)
        elif record.get("type") == "end":
            self.ends[file] = record
            self.seen(file, float(record.get("ended_at") or 0.0))
        elif record.get("type") == "segment":
            self.seen(file, float(record.get("until") or 0.0))

    def seen(self, file: str, time: float) -> None:
        """Takes in that the process was alive at this time."""
        self.times[file] = max(self.times.get(file, 0.0), time)

    def ending_of(self, files: Collection[str]) -> Ending:
        """The end of a part of the job: the word of its processes, or else the signal that ended the whole job."""
        part = Witness(
            {file: rank for file, rank in self.ranks.items() if file in files},
            {file: end for file, end in self.ends.items() if file in files},
            {file: time for file, time in self.times.items() if file in files},
        )
        ending, job = part.ending(), self.ends.get(SUPERVISOR, {})
        if ending.reason == UNSAID and job.get("status") == "KILLED":
            return replace(ending, reason=str(job.get("reason")))
        return ending

    def ending(self) -> Ending:
        """The run's end: the supervisor's word, else that of its processes if each has one, else that it was killed."""
        supervisor = self.ends.get(SUPERVISOR)
        processes = {file: end for file, end in self.ends.items() if file != SUPERVISOR}
        last_time = max(self.times.values(), default=0.0)
        dropped = sum(int(end.get("dropped") or 0) for end in self.ends.values())
        failed = _first_failure(list(processes.values()))
        failure = str(failed["reason"]) if failed else ""
        if supervisor is not None:
            status, reason = str(supervisor.get("status")), str(supervisor.get("reason"))
            at = float(supervisor.get("ended_at") or last_time)
            said = f"{reason}: {failure}" if failure and status != "FINISHED" and failure not in reason else reason
            return Ending(status, said, at, dropped)
        if processes and set(processes) == set(self.ranks) - {SUPERVISOR}:
            ranked = sorted(processes, key=lambda file: self.ranks.get(file, 0))
            told = min((processes[file] for file in ranked), key=lambda end: end.get("status") == "FINISHED")
            return Ending(str(told.get("status")), str(told.get("reason")), last_time, dropped)
        if failed:  # the processes without a word were ended because of it
            return Ending(str(failed.get("status")), failure, last_time, dropped)
        return Ending("KILLED", UNSAID, last_time, dropped)


def _first_failure(ends: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The end of the first process that failed; what others say after it is mostly its consequence."""
    failed = [end for end in ends if end.get("status") != "FINISHED" and end.get("reason")]
    return min(failed, key=lambda end: float(end.get("ended_at") or 0.0), default=None)
