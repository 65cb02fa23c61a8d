"""What findings are made by: hpkb's own code, which changes between versions, and the libraries that compute."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import hpkb

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "duckdb")
#: The folders whose code decides what is found in the runs of a task, and those that decide what its runs are.
MINING, READING = ("miners", "stats", "recommend", "suggest"), ("sources", "kb", "lake")


def libraries() -> str:
    """Returns the versions of the libraries that the findings may depend on."""
    return ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)


@cache
def code_digest(*folders: str) -> str:
    """Returns a digest of the code in these folders: a version number does not change while somebody works on it."""
    package = Path(hpkb.__file__).parent
    digest = hashlib.blake2b(digest_size=4)
    for folder in folders:
        for file in sorted((package / folder).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def made_by() -> str:
    """Returns hpkb's version and code and the libraries' versions, as one line."""
    return f"hpkb {hpkb.__version__} ({code_digest(*MINING, *READING)}), {libraries()}"
