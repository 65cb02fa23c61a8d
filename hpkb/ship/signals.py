"""What the supervisor does with signals: it outlives its child, and passes on what the child did not get."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from types import FrameType, TracebackType
from typing import Any

# A terminal sends these to the whole foreground group, so the child has them already.
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
_FROM_PROGRAMS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Forwarding:
    """While entered, no signal ends this process before its child; `seen` is the last that asked for an end.

    A handler that is a function, unlike SIG_IGN, is not inherited: the child meets each signal as it would without
    us. What was ignored before (nohup, a job in the background) stays ignored.
    """

    def __init__(self) -> None:
        self.seen: signal.Signals | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Forwarding:
        if threading.current_thread() is threading.main_thread():  # Python has handlers nowhere else
            for number in (*_FROM_TERMINAL, *_FROM_PROGRAMS):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def to(self, child: subprocess.Popen[bytes]) -> None:
        """Sends to this child from now on, and first what came before it was there."""
        self._child = child
        for number in self._early:
            child.send_signal(number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number not in (signal.SIGUSR1, signal.SIGUSR2):
            self.seen = signal.Signals(number)
        if self._child is None:
            self._early.append(number)
        elif number in _FROM_PROGRAMS or not _in_foreground():
            self._child.send_signal(number)


def _in_foreground() -> bool:
    """Whether this process's group is the one that its terminal sends Ctrl-C to."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
