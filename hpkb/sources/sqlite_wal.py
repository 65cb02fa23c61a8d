"""How a SQLite file in WAL mode is read so that neither it nor what lies beside it changes.

Read as any other, SQLite makes a `-wal` and a `-shm` file where there is none, and writes into the `-shm` that a
killed program left. Which of them are there, and whether a program has the file open, says how it can be done without.
"""

from __future__ import annotations

import fcntl
import shutil
import struct
import sys
from pathlib import Path

#: The URI parameters with which a file is read under SQLite's locks, as beside a writer it must be.
LOCKED = "mode=ro"
#: The file alone holds all its pages: nothing else is looked at.
IMMUTABLE = "mode=ro&immutable=1"
#: The index of the log that a dead program left is rebuilt in memory.
LEFT_BEHIND = "mode=ro&readonly_shm=1"

_OPEN_BYTE = 128  # of the -shm file, on which whoever has the database open holds a lock (os_unix.c, UNIX_SHM_DMS)
_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, process


def way_to_read(path: Path) -> str | None:
    """Returns the URI parameters for a file in WAL mode; None where only a copy of it can be read without a change."""
    log, index = Path(f"{path}-wal"), Path(f"{path}-shm")
    if not log.exists():
        return IMMUTABLE
    if not index.exists():
        return None
    return LOCKED if _is_open(index) else LEFT_BEHIND


def copy_with_log(path: Path, folder: Path) -> Path:
    """Returns a copy in the folder of a file and the log beside it, which belong together."""
    copy = folder / "store.db"
    shutil.copyfile(path, copy)
    shutil.copyfile(f"{path}-wal", f"{copy}-wal")
    return copy


def _is_open(index: Path) -> bool:
    """Whether a program has the database open; taken for granted where that cannot be seen."""
    if sys.platform != "linux":
        return True
    try:
        with index.open("rb") as file:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, 0, _OPEN_BYTE, 1, 0)
            answer = fcntl.fcntl(file, fcntl.F_GETLK, asked)
    except OSError:
        return True
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
