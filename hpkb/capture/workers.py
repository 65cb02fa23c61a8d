"""The end of a process that `multiprocessing` started: it leaves without Python's own ways of saying so."""

from __future__ import annotations

import sys

from .process import is_worker
from .session import current


def watch_end_of_worker() -> None:
    """Has the session closed where `multiprocessing` cleans up; a forked process runs no `atexit` functions."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None and is_worker():
        util.Finalize(None, _close, exitpriority=-1000)  # the last of all


def _close() -> None:
    live = current()
    if live is not None:
        try:
            live.close(*_outcome(sys.exc_info()[1]))
        except Exception as error:
            live.failed("the end", error)


def _outcome(error: BaseException | None) -> tuple[str, str, int | None]:
    """Returns (status, reason, exit status) of a process whose function has returned, or raised this."""
    if isinstance(error, SystemExit):
        number = error.code if isinstance(error.code, int) else int(error.code is not None)
        return "FAILED" if number else "FINISHED", f"exit status {number}", number
    if error is None:
        return "FINISHED", "exit status 0", 0
    status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
    return status, f"{type(error).__name__}: {error}"[:1000], None
