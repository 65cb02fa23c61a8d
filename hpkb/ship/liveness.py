"""Whether the processes that write a run folder are still there."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from hpkb.capture.spool import segments
from hpkb.ship.rundir import SUPERVISOR, RunDir

SUPERSEDED = "superseded"  # a file of the run folder: the job was started again, so this attempt is over
_PROCESS = re.compile(r"process-(\d+)-")
_QUIET = 3600.0  # seconds without a write after which a process on another machine is taken for gone
_STARTING = 60.0  # seconds in which a new run folder is taken for one whose job is just being started
_SLACK = 2.0  # seconds by which the start of a process, counted in clock ticks since boot, may be off


def job_alive(run: RunDir) -> bool:
    """Whether any process that could still add to the run is there: the supervisor, its child, or one captured."""
    if (run.path / SUPERSEDED).exists():
        return False
    if not run.supervised() and time.time() - run.created_at < _STARTING:
        return True
    return any(writer_alive(run, file) for file in run.spools())


def writer_alive(run: RunDir, spool: Path) -> bool:
    """Whether the writer of this spool file is there; on another machine, whether it wrote in the last hour."""
    try:
        written = os.stat(segments(str(spool))[-1]).st_mtime
    except (FileNotFoundError, IndexError):
        return False
    if run.host != os.uname().nodename:
        return time.time() - written < _QUIET
    return any(_alive(pid, written) for pid in _writers(run, spool))


def _writers(run: RunDir, spool: Path) -> list[int]:
    if spool.name == SUPERVISOR:
        return [int(record["pid"]) for record in run.supervised() if record.get("type") in ("header", "child")]
    found = _PROCESS.match(spool.name)
    return [int(found[1])] if found else []


def _alive(pid: int, written: float) -> bool:
    """Whether the process `pid` exists and is no later one under the same number: it was there at the last write."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # another user's: the number was given out again
    state, started = _state_and_start(pid)
    return state != "Z" and started <= written + _SLACK


def _state_and_start(pid: int) -> tuple[str, float]:
    """The state and the start, in seconds since 1970, as Linux has them; a process anywhere else is taken as it is."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text("utf-8").splitlines() if line.startswith("btime "))
    except (OSError, StopIteration):
        return "R", 0.0
    return fields[0], int(boot.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
