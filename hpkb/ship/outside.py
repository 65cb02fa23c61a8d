"""What can be recorded of a job from outside alone: what it prints and what it was told.

Only of a job that capture cannot enter does its output go through here: a pipe, or a pseudo-terminal where the output
is a terminal, so that the job sees what it would see. Every byte is passed on as it is and at once.
"""

from __future__ import annotations

import fcntl
import os
import termios
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hpkb.capture.arguments import plain_arguments
from hpkb.capture.output import Lines
from hpkb.capture.redact import parameter
from hpkb.capture.session import SEEN, Session
from hpkb.ship.obstacle import arguments_of_program
from hpkb.ship.rundir import RunDir

_PATIENCE = 1.0  # seconds that output may go on, from a process that the job has left behind, before it is let go
_CHUNK = 1 << 16


class _Outside(Session):
    """A session of a process that is seen from outside; its spool is like one of the process itself."""

    def __init__(self, run_dir: str) -> None:
        super().__init__(run_dir)
        self._waits = False

    @property
    def own_script(self) -> bool:
        return True


class Outside:
    """One job seen from outside; with `tee`, its output goes through here.

    `streams` are for the job's Popen, `listen` follows right after it.
    """

    def __init__(self, run: RunDir, command: Sequence[str], tee: bool) -> None:
        self._run_dir = run
        self._command = command
        self._session = _Outside(str(run.path))
        self._pumps: dict[str, _Pump] = {}
        if tee:
            out = _Pump(1, self._heard)  # for both streams where they are one file, so that their order is kept
            self._pumps = {"stdout": out, "stderr": out if _same_file(1, 2) else _Pump(2, self._heard)}

    @property
    def streams(self) -> dict[str, int]:
        """The standard streams that the job is to be started with, by Popen's names."""
        return {name: pump.inlet for name, pump in self._pumps.items()}

    def listen(self) -> None:
        """Passes on what the job writes from now on."""
        for pump in set(self._pumps.values()):
            pump.begin()

    def conclude(self) -> bool:
        """Whether the job was captured from inside; if not, records what it was told. The output has ended then."""
        for pump in set(self._pumps.values()):
            pump.end()
        if self._captured():
            return True
        told = plain_arguments(arguments_of_program(self._command))
        self._session.params({f"cli.{name}": parameter(name, value) for name, value in told.items()}, "argv")
        if self._session.is_open:
            self._session.close("FINISHED", "seen from outside", 0)  # how it ended, the supervisor tells
        return False

    def _heard(self, lines: Lines, text: str) -> None:
        if not self._captured():
            lines.feed(self._session, text)

    def _captured(self) -> bool:
        return (self._run_dir.path / SEEN).exists()


class _Pump(threading.Thread):
    """Carries the bytes of one stream from the job to where they would have gone."""

    def __init__(self, target: int, heard: Any) -> None:
        super().__init__(name="hpkb-output", daemon=True)
        self._target = target
        self._heard = heard
        self._lines = Lines()
        self._last = time.monotonic()
        self._outlet, self.inlet = _terminal(target) if os.isatty(target) else os.pipe()
        self._size = _size(target)

    def begin(self) -> None:
        os.close(self.inlet)
        self.start()

    def end(self) -> None:
        """Waits for the end of the stream, but not for a process that was left behind with it."""
        while self.is_alive() and time.monotonic() - self._last < _PATIENCE:
            self.join(0.05)
            self._last = self._last if self.is_alive() else 0.0

    def run(self) -> None:
        with suppress(OSError):  # Linux's way to say that nobody has the other end of a terminal any more
            while data := os.read(self._outlet, _CHUNK):
                self._last = time.monotonic()
                _write_all(self._target, data)
                with suppress(Exception):  # what is printed is the job's; to read it is ours
                    self._heard(self._lines, data.decode("utf-8", "replace"))
                self._follow_size()
        with suppress(OSError):
            os.close(self._outlet)  # a job whose reader is gone gets the SIGPIPE that it would have got

    def _follow_size(self) -> None:
        size = _size(self._target)
        if size is not None and size != self._size:
            self._size = size
            fcntl.ioctl(self._outlet, termios.TIOCSWINSZ, size)


def _terminal(target: int) -> tuple[int, int]:
    """A pseudo-terminal like the real one, which changes nothing of what is written: the real one will."""
    outlet, inlet = os.openpty()
    settings = termios.tcgetattr(target)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(inlet, termios.TCSANOW, settings)
    size = _size(target)
    if size is not None:
        fcntl.ioctl(inlet, termios.TIOCSWINSZ, size)
    return outlet, inlet


def _size(terminal: int) -> bytes | None:
    try:
        return fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None


def _same_file(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:  # one of them is closed
        return False


def _write_all(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]
