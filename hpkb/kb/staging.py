"""Arrow tables, and streams of batches, under a name that SQL can read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb


@contextmanager
def registered(connection: duckdb.DuckDBPyConnection, name: str, rows: object) -> Iterator[None]:
    """Gives rows a name for as long as the body runs."""
    connection.register(name, rows)
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # after a failed statement; what the body raised says more
            connection.unregister(name)
