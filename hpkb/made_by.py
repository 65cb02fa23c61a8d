"""What findings are made by: hpkb's own code, which changes between versions, and the libraries that compute."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import hpkb

_PACKAGE = Path(hpkb.__file__).parent
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "duckdb")

# What mines and recommends; and what makes of rows the arrays that they are mined from.
_MINING = ("miners", "stats", "recommend", "suggest")
_READING = (
    "analysis.py", "configuration.py", "findings.py", "names.py", "records.py", "sweep.py", "vocabulary.py",
    "kb/columns.py", "kb/lake_curves.py", "kb/mined.py", "kb/records.py", "kb/state.py", "kb/sweep.py",
    "sources/metric_reading.py",
)  # fmt: skip


@cache
def libraries() -> str:
    """Returns the libraries that the findings may depend on, with their versions."""
    return ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)


@cache
def code_digest() -> str:
    """Returns a digest of the code that findings and recommendations are made by.

    A version number does not change while somebody works on it.
    """
    files = [file for folder in _MINING for file in sorted((_PACKAGE / folder).glob("*.py"))]
    return _digest([*files, *(_PACKAGE / name for name in _READING)])


@cache
def made_by() -> str:
    """Returns hpkb's version and all of its code, and the libraries' versions, as one line."""
    return f"hpkb {hpkb.__version__} ({_digest(sorted(_PACKAGE.rglob('*.py')))}), {libraries()}"


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.blake2b(digest_size=4)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
