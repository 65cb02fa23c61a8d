"""How the process ended: its exception, or the status that it gave to `sys.exit`.

Neither is changed. A signal that kills the process is seen by the supervisor, not here.
"""

from __future__ import annotations

import atexit
import os
import sys

from .session import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_exit_argument: Any = None


def watch_end() -> None:
    """Hooks `sys.exit` and the end of the interpreter."""
    original = sys.exit

    def exit(*args: Any) -> None:
        global _exit_argument
        _exit_argument = args[0] if args else None
        original(*args)

    exit.__doc__ = original.__doc__
    sys.exit = exit  # type: ignore[assignment]
    atexit.register(_at_exit)
    if sys.version_info < (3, 11):
        _hide_frames_of_capture()


def outcome() -> tuple[str, str, int | None]:
    """Returns (status, reason, exit status) of a process that is about to end; no exit status after an exception."""
    error = getattr(sys, "last_value", None)
    if error is not None and not hasattr(sys, "ps1"):  # Python has set it before it printed the traceback
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        text = str(error)
        return status, (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:1000], None
    argument = _exit_argument
    if argument is None or isinstance(argument, int):
        number = int(argument or 0) & 0xFF
        return "FAILED" if number else "FINISHED", f"exit status {number}", number
    return "FAILED", f"exit status 1: {str(argument)[:500]}", 1


def _at_exit() -> None:
    live = current()
    if live is not None:
        try:
            live.close(*outcome())
        except Exception as error:
            live.failed("the end", error)


def _hide_frames_of_capture() -> None:
    """Prints tracebacks as they are without hpkb; later Pythons let `patch.py` drop its frames as they arise."""
    original = sys.excepthook
    folder = os.path.dirname(os.path.abspath(__file__))

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> Any:
        _leave_out(folder, error)
        return original(kind, error, error.__traceback__)

    sys.excepthook = excepthook


def _leave_out(folder: str, error: BaseException | None) -> None:
    """Takes the frames of that folder out of the error's traceback and out of those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = _without(folder, error.__traceback__)
        error = error.__cause__ or error.__context__


def _without(folder: str, traceback: TracebackType | None) -> TracebackType | None:
    kept = []
    while traceback is not None:
        if os.path.dirname(traceback.tb_frame.f_code.co_filename) != folder:
            kept.append(traceback)
        traceback = traceback.tb_next
    for i, entry in enumerate(kept[1:]):
        kept[i].tb_next = entry
    return kept[0] if kept else None
