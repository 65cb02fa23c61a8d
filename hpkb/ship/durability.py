"""`--durability fsync`: what a job has logged survives a loss of power, but for its last second.

The supervisor asks the operating system once a second to put every spool file of the run on the disk, and once more
at the end: any process may do so for a file that another one writes, so the training loop waits for no disk. While
the supervisor lives, at most `PERIOD`, and the time that the disk takes, is lost with the power.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PERIOD = 1.0  # seconds


@contextmanager
def on_disk(folder: Path, wanted: bool, period: float = PERIOD) -> Iterator[None]:
    """A context in which the folder's spool files go to the disk once a period; without `wanted` it does nothing."""
    if not wanted:
        yield
        return
    ended, disk = threading.Event(), Disk(folder)

    def work() -> None:
        while not ended.wait(period):
            disk.sync()

    thread = threading.Thread(target=work, name="hpkb-durability", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        disk.sync()


class Disk:
    """Puts the spool files of one run folder on the disk, those that have grown since the last time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[str, int] = {}

    def sync(self) -> None:
        """Returns when all that was written before the call is on the disk; what cannot be synced is left."""
        known = set(self._sizes)
        for file in self._folder.glob("*.spool*"):
            with suppress(OSError):
                size = file.stat().st_size
                if self._sizes.get(file.name) != size:
                    to_disk(file)
                    self._sizes[file.name] = size
        if set(self._sizes) != known:
            with suppress(OSError):
                to_disk(self._folder)  # the names of the new files


def to_disk(path: Path) -> None:
    """Returns when what the file, or the folder, holds is on the disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
