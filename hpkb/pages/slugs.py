"""File names and anchors made of names that nobody vouches for."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from hpkb.capture.redact import free

_PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,58}[a-z0-9])?")
#: Names that Windows keeps for devices, and those that a folder has already.
_TAKEN = frozenset(
    {"con", "prn", "aux", "nul", "index", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}
)


def slug(name: str) -> str:
    """Returns a file name for a name: the name itself where it is plain, else its letters and a digest of it.

    Two names never share a slug (short of a collision of 40-bit digests): a plain name cannot contain the dot that
    stands before the digest.
    """
    shown = free(name)
    if _PLAIN.fullmatch(name) and name not in _TAKEN and shown == name:
        return name
    letters = unicodedata.normalize("NFKD", shown[:200]).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:40] or "x"
    return f"{stem}.{digest(name)}"


def anchor(kind: str, name: str) -> str:
    """Returns an element id: "run-1f3c…" for a plain run id, its digest for any other."""
    safe = re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name) and free(name) == name
    return f"{kind}-{name}" if safe else f"{kind}-x.{digest(name)}"


def digest(text: str) -> str:
    """Returns ten hexadecimal characters that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
