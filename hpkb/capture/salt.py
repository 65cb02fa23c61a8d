"""Salts: what makes the digest of a name say nothing of the name to who does not have the salt."""

from __future__ import annotations

import os

_BYTES = 32


def salt(path: str) -> bytes:
    """Returns the salt in the file, which is made where there is none; processes that start at once agree on one.

    Raises OSError where the file can be neither read nor made.
    """
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        beside = f"{path}.{os.urandom(4).hex()}"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, os.urandom(_BYTES))
            os.link(beside, path)
        except FileExistsError:  # another process was faster; its salt holds
            pass
        finally:
            os.close(descriptor)
            os.unlink(beside)
    with open(path, "rb") as file:
        return file.read(64)  # as long as a key of BLAKE2b may be
