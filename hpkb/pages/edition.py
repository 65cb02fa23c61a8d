"""Which edition of the handbook a knowledge base gives, so that one that is there already need not be made again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import duckdb

from hpkb.kb.store import has_table

#: What the pages are made of. The points of curves are left out: a run that gets new ones gets a new fingerprint.
_TABLES = (
    "meta", "tasks", "runs", "hyperparameters", "splits", "hardware", "findings", "run_lists", "defaults",
    "curve_features", "last_edition", "suggestions",
)  # fmt: skip

_SOURCES = """-- One row per source; when it was read says nothing.
SELECT source, kind FROM sources ORDER BY ALL"""


def edition(connection: duckdb.DuckDBPyConnection, templates: Path | None = None) -> str:
    """Returns a digest of all that the handbook of a knowledge base is made of: its rows, the code, the templates."""
    found = hashlib.blake2b(digest_size=16)
    found.update(repr([(table, *_digest(connection, table)) for table in _TABLES]).encode())
    found.update(repr(connection.execute(_SOURCES).fetchall()).encode())
    for package in ("hpkb", "hpkb.templates"):
        for file in _files(resources.files(package)):
            found.update(file.read_bytes())
    own = sorted(path for path in templates.rglob("*") if path.is_file()) if templates else []
    for path in own:
        found.update(repr((str(path), path.read_bytes())).encode())
    return found.hexdigest()


def _digest(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[int, int]:
    """The number of rows and the sum of their digests, whatever their order; of a table that is not there yet, 0."""
    if not has_table(connection, table):
        return 0, 0
    rows = connection.table(table).aggregate(f"count(*), coalesce(sum(hash({table})), 0)")
    n, total = rows.fetchall()[0]
    return int(n), int(total)


def _files(folder: Traversable) -> Iterator[Traversable]:
    """The files of a package that pages are made with, in the order of their names."""
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir() and entry.name in ("pages", "miners", "findings", "suggest", "kb", "hpkb"):
            yield from _files(entry)
        elif entry.is_file() and not entry.name.endswith((".pyc", ".so")):
            yield entry
