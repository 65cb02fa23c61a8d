"""A file's lock, which the kernel lets go of when the process that holds it dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PAUSE = 0.1  # seconds, at most, between two attempts


@contextmanager
def held(path: Path, patience: float = 0.0, mode: int = 0o600) -> Iterator[bool]:
    """Gives True while the caller alone holds the lock of the file, False where another still does after `patience` s.

    The file is made with these permissions where there is none. Who holds the lock may remove it: who waits for it
    then takes the lock of the next file of that name. Raises OSError where the file cannot be opened.
    """
    descriptor = _locked(path, time.monotonic() + patience, mode)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(path: Path, deadline: float, mode: int) -> int | None:
    """An open file whose lock is held and whose name is the path, None where another held it until the deadline."""
    pause = _PAUSE / 64
    while True:
        descriptor = _opened(path, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:  # its last holder has just removed it
            pass
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE)
        os.close(descriptor)


def _opened(path: Path, mode: int) -> int:
    """A descriptor of the file. One that belongs to another user can often only be read, which is enough for a lock."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
