"""Keeps capture's bytecode beside the runs where capture's own folder cannot be written.

Without that each start of Python would compile the modules of capture anew, which takes longer than all else at the
start. Nothing changes for other modules, nor where Python is told to write no bytecode or where to write it.

A file tells by a hash, not by a time, which source it was made of: it may outlive an image whose files all have the
same time.
"""

from __future__ import annotations

import os
import sys
from binascii import crc32
from importlib.machinery import FileFinder, SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHECKED = b"\3\0\0\0"  # flags of a file with a hash that is compared whenever it is read (PEP 552)


def keep_bytecode(folder: str, run_dir: str) -> None:
    """Lets capture's folder have its bytecode beside the run folder too, if it cannot be kept where it belongs."""
    own = os.path.join(folder, "__pycache__", "")
    if sys.dont_write_bytecode or sys.pycache_prefix or os.access(own, os.W_OK):  # made for this module, if it could be
        return
    place = os.path.join(os.path.dirname(run_dir), f".bytecode-{crc32(os.fsencode(folder)):08x}")
    if not _is_private(place):
        return

    class Loader(SourceFileLoader):
        """Prefers the bytecode of `place` to what was installed with capture; writes none but that."""

        def get_code(self, fullname: str) -> Any:
            try:
                return super().get_code(fullname)
            except (EOFError, TypeError, ValueError):  # a disk was full when the bytecode was written
                return self.source_to_code(self.get_data(self.path), self.path)

        def get_data(self, path: str) -> bytes:
            if path.endswith(".pyc"):
                try:
                    return super().get_data(os.path.join(place, os.path.basename(path)))
                except OSError:
                    pass
            return super().get_data(path)

        def set_data(self, path: str, data: Any, *, _mode: int = 0) -> None:
            from importlib.util import source_hash

            try:
                os.makedirs(place, 0o700, exist_ok=True)
                data = data[:4] + _CHECKED + source_hash(self.get_data(self.path)) + data[16:]
            except OSError:  # it will be compiled again
                return
            super().set_data(os.path.join(place, os.path.basename(path)), data, _mode=0o600)

    sys.path_importer_cache[folder] = FileFinder(folder, (Loader, [".py"]))


def _is_private(place: str) -> bool:
    """Whether nobody else can have put code into the folder, which need not be there yet."""
    try:
        found = os.lstat(place)
    except OSError:
        return True
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022
