"""Starts a job so that it is captured, and records what is known of it from outside. Standard library only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpkb.errors import HpkbError
from hpkb.ship.rundir import RunDir

PACKAGE = Path(__file__).resolve().parent.parent
INJECT = PACKAGE / "capture" / "inject"
RUN_DIR = "HPKB_RUN_DIR"
OUT_OF_MEMORY = "out of memory (killed by the kernel)"


class CommandError(HpkbError):
    """The command cannot be started; the exit status is the one that env(1) gives, 127 not found or 126 no program."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def environment(run_dir: str | Path, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of a captured child: `base` with the run folder, and the capture folder first on PYTHONPATH.

    The child may run in another Python environment than hpkb: the folder brings its own way to `hpkb.capture`.
    """
    return {**base, RUN_DIR: str(run_dir), "PYTHONPATH": os.pathsep.join([str(INJECT), *python_path(base)])}


def start(run: RunDir, command: Sequence[str], **popen_options: Any) -> subprocess.Popen[bytes]:
    """Starts the command as a captured child; raises CommandError and removes the run folder where it cannot be."""
    base = popen_options.pop("env", None) or os.environ
    try:
        child = subprocess.Popen(list(command), env=environment(run.path, base), **popen_options)
    except OSError as error:
        run.discard()
        raise command_error(command, error) from error
    record(run, {"type": "child", "pid": child.pid})
    return child


def record(run: RunDir, record: Mapping[str, Any]) -> None:
    """Appends to the supervisor's spool; a disk that is full costs the record, never the job."""
    try:
        run.record(record)
    except OSError as error:
        print(f"hpkb: {run.path} cannot be written: {error.strerror}", file=sys.stderr)


def record_surroundings(run: RunDir, directory: str | None = None) -> None:
    """Records the machine and the code as tags, and what of the code is not committed as an artifact."""
    folder = directory or os.getcwd()
    try:
        from hpkb.capture.environment import of_scheduler
        from hpkb.capture.hardware import hardware
        from hpkb.capture.repository import code, difference

        tags = {**hardware(), **of_scheduler(os.environ), **code(folder)}
        changes = difference(folder) if "hpkb.code.commit" in tags else ""
    except Exception as error:  # whatever a machine may have in store: the job goes on
        tags, changes = {"hpkb.env.unknown": f"{type(error).__name__}: {error}"}, ""
    record(run, {"type": "tags", "values": tags})
    if changes:
        record(run, {"type": "artifact", "path": "code/dirty.diff", "text": changes})


def record_end(
    run: RunDir, returncode: int, interrupted: signal.Signals | None = None, out_of_memory: bool = False
) -> None:
    """Records how the command ended: FINISHED, FAILED with its exit status, or KILLED with its signal.

    `returncode` is that of Popen, negative for a signal. An exit status above 128 is a signal as a shell reports it.
    `interrupted` is a signal that the supervisor passed on or saw: a command that then ends badly was killed by it.
    `out_of_memory` says that the kernel killed for want of memory meanwhile: a SIGKILL was its.
    """
    number = -returncode if returncode < 0 else returncode - 128
    killer = _signal(number) or (interrupted if returncode else None)
    told = f"exit status {returncode}"
    if killer is None:
        return record_ending(run, "FAILED" if returncode else "FINISHED", told, returncode)
    why = OUT_OF_MEMORY if killer == signal.SIGKILL and out_of_memory else killer.name
    if returncode < 0:
        record_ending(run, "KILLED", why, None)
    else:
        record_ending(run, "KILLED", f"{why} ({told})", returncode)


def record_ending(run: RunDir, status: str, reason: str, exit_status: int | None) -> None:
    """Records the end of the run in words."""
    record(run, {"type": "end", "status": status, "reason": reason, "exit_status": exit_status,
                 "ended_at": time.time(), "dropped": 0})  # fmt: skip


def exit_status(returncode: int) -> int:
    """The exit status that a shell would give for the return code of Popen: 128 and the number of a signal."""
    return 128 - returncode if returncode < 0 else returncode


def python_path(base: Mapping[str, str]) -> list[str]:
    """The parts of PYTHONPATH, without what a job of `hpkb log` has first on it."""
    return [part for part in base.get("PYTHONPATH", "").split(os.pathsep) if part and part != str(INJECT)]


def _signal(number: int) -> signal.Signals | None:
    try:
        return signal.Signals(number) if 0 < number < 32 else None
    except ValueError:
        return None


def command_error(command: Sequence[str], error: OSError) -> CommandError:
    """What to tell the person whose command could not be started."""
    name = command[0]
    if Path(name).is_file() and os.sep not in name:
        return CommandError(f"'{name}' is a file here, not a command. Try: hpkb log -- python {name}", 127)
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return CommandError(f"There is no command '{name}'. Check its spelling and the PATH; nothing was run.", 127)
    return CommandError(f"'{name}' cannot be run: {error.strerror}. Try: hpkb log -- python {name}", 126)
