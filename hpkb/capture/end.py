"""How the process ended: its exception, or the status that it gave to `sys.exit`.

Neither is changed. What only the system knows is seen by the supervisor, not here: a signal that kills the process,
and the status of a `raise SystemExit(3)`, which leaves no trace in the interpreter.
"""

from __future__ import annotations

import atexit
import os
import sys

from .session import current
from .tracebacks import leave_out_this_frame, print_without_capture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FRAMES = 5  # of a traceback that are recorded
_LONGEST = 1000  # characters of a reason
_OUTERMOST = ("<module>", "_run_module_as_main")  # the function by which a main program runs

# What torch raises, beside its OutOfMemoryError, where memory is short; by where the memory was to be.
_OUT_OF_MEMORY = {
    "CUDA": ("CUDA out of memory", "CUDA error: out of memory", "HIP out of memory", "CUBLAS_STATUS_ALLOC_FAILED"),
    "host": ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory"),
}

_exit: list[Any] = []  # the argument of the `sys.exit` that is ending the process, behind the number of the call
_calls = 0


class _Carried:
    """Goes with the exception of a `sys.exit`, to learn whether the job catches it.

    The interpreter drops the exception that ends it when no code of the job runs any more. One that is dropped while
    a function runs has been caught.
    """

    def __init__(self, call: int) -> None:
        self._call = call

    def __del__(self) -> None:
        try:
            sys._getframe(1)
        except (ValueError, AttributeError):  # nobody called; or the interpreter is being taken down
            return
        if _exit[:1] == [self._call]:
            _exit.clear()


def watch_end() -> None:
    """Hooks `sys.exit` and the end of the interpreter."""
    original = sys.exit

    def exit(*args: Any) -> None:
        global _calls
        try:
            original(*args)
        except SystemExit as error:
            if _of_main_program():
                _calls += 1
                _exit[:] = [_calls, args[0] if args else None]
                error.__dict__["_hpkb"] = _Carried(_calls)
            leave_out_this_frame(error)
            raise

    exit.__doc__ = original.__doc__
    sys.exit = exit  # type: ignore[assignment]
    atexit.register(_at_exit)
    print_without_capture()


def outcome() -> tuple[str, str, int | None]:
    """Returns (status, reason, exit status) of a process that is about to end; no exit status after an exception."""
    error = _last_error()
    if error is not None:
        return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", reason_of(error), None
    argument = _exit[1] if _exit else None
    if argument is None or isinstance(argument, int):
        number = int(argument or 0) & 0xFF
        return "FAILED" if number else "FINISHED", f"exit status {number}", number
    return "FAILED", f"exit status 1: {_without_secrets(str(argument)[:500])}", 1


def reason_of(error: BaseException) -> str:
    """Returns an exception's type and message, behind `out of memory (host)` or `(CUDA)` where it is that."""
    text = str(error)
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    where = out_of_memory(error)
    return _without_secrets((f"out of memory ({where}): {reason}" if where else reason)[:_LONGEST])


def out_of_memory(error: BaseException) -> str | None:
    """Returns where there was not enough memory, "host" or "CUDA"; None for an exception that means something else."""
    if isinstance(error, MemoryError):
        return "host"
    if type(error).__name__ == "OutOfMemoryError" and type(error).__module__.partition(".")[0] == "torch":
        return "CUDA"
    text = str(error) if isinstance(error, RuntimeError) else ""
    return next((where for where, signs in _OUT_OF_MEMORY.items() if any(sign in text for sign in signs)), None)


def frames_of(error: BaseException) -> str:
    """Returns the last frames of an exception, the innermost last: `train.py:12 main > model.py:30 forward`.

    Where all of them are a library's, the first gives way to the last frame of the job's own code.
    """
    from .callers import installed

    frames = []
    traceback = error.__traceback__
    here = os.path.dirname(os.path.abspath(__file__))
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if os.path.dirname(code.co_filename) != here:
            text = f"{os.path.basename(code.co_filename)}:{traceback.tb_lineno} {code.co_name}"
            frames.append((text, not installed(code.co_filename)))
        traceback = traceback.tb_next
    last = frames[-_FRAMES:]
    own = [frame for frame in frames if frame[1]]
    if own and own[-1] not in last:
        last[0] = own[-1]
    return " > ".join(text for text, _ in last)


def _at_exit() -> None:
    live = current()
    if live is not None:
        try:
            error = _last_error()
            if error is not None:
                live.tags({"hpkb.end.traceback": frames_of(error)})
            live.close(*outcome())
        except Exception as error:
            live.failed("the end", error)


def _last_error() -> BaseException | None:
    """Returns the exception that ends the process; Python has set it before it printed the traceback."""
    return None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)


def _of_main_program() -> bool:
    """Whether the main program is calling; in a thread and in a handler of atexit, `sys.exit` ends no process."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_name in _OUTERMOST


def _without_secrets(text: str) -> str:
    from .redact import free

    return free(text)
