"""Reads of one PostgreSQL database that change nothing in it: binary COPY into Arrow, in one consistent snapshot.

All reads share a transaction, `REPEATABLE READ READ ONLY`. It takes no lock but ACCESS SHARE, so that writers go on
undisturbed, and what they write meanwhile is not seen. Rows stream in batches of some megabytes.

A URI means what it means to SQLAlchemy, which MLflow opens its stores with. What is said here of a database, in names
and in errors, is free of passwords.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from hpkb.errors import SourceError
from hpkb.sources.database_uri import identity, parsed

try:
    import adbc_driver_manager
    import adbc_driver_postgresql.dbapi
except ImportError as error:
    raise SourceError("Reading PostgreSQL needs one more package. Run: pip install 'hpkb[postgres]'") from error

_BATCH_BYTES = 8 * 2**20
_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_DEFAULTS = {"connect_timeout": 10, "fallback_application_name": "hpkb"}
_IDENTIFYING = ("host", "port", "dbname", "service", "options")  # `options` may hold a search_path

# The points of a run lie beside each other, so that an index over runs is far cheaper than the planner supposes of a
# disk; workers of the server would only be in the way of those for whom it is there; nothing here is worth compiling.
_BEGIN = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL random_page_cost = 0.1",
    "SET LOCAL max_parallel_workers_per_gather = 0",
    "SET LOCAL jit = off",
    "SET LOCAL standard_conforming_strings = on",
)


class PostgresDatabase:
    """A PostgreSQL database, open for reading only. Raises SourceError where it cannot be read."""

    def __init__(self, uri: str) -> None:
        url = parsed(uri, "PostgreSQL", _FORM)
        self.name = identity(url, "postgresql", _IDENTIFYING)
        arguments = PGDialect_psycopg2().create_connect_args(url)[1]  # type: ignore[no-untyped-call]
        self._secrets = [str(arguments[key]) for key in ("password", "sslpassword") if arguments.get(key)]
        self._in_snapshot = False
        try:
            connection = _connection_string({**_DEFAULTS, **arguments, "client_encoding": "UTF8"})
            # Autocommit as far as the driver knows: its own BEGIN would not be for reading only.
            self._connection: Any = adbc_driver_postgresql.dbapi.connect(connection, autocommit=True)
        except adbc_driver_manager.Error as error:
            raise self._failure(error) from None

    def query(self, sql: str) -> pa.Table:
        """Returns all rows of a query that yields few."""
        parts = list(self.batches(sql))
        return pa.concat_tables(parts)

    def batches(self, sql: str) -> Iterator[pa.Table]:
        """Yields the rows of a query in batches of some megabytes; at least one, which may be empty."""
        self._begin()
        with self._connection.cursor() as cursor:
            reader = self._guarded(self._execute, cursor, sql)
            yield reader.schema.empty_table()
            while (batch := self._guarded(_next, reader)) is not None:
                yield pa.Table.from_batches([batch])

    def release(self) -> None:
        """Ends the snapshot; the next read begins another."""
        if self._in_snapshot:
            self._in_snapshot = False
            self._run("COMMIT")

    def close(self) -> None:
        """Ends the connection."""
        with suppress(adbc_driver_manager.Error):
            self._connection.close()

    def _begin(self) -> None:
        if not self._in_snapshot:
            for statement in _BEGIN:
                self._run(statement)
            self._in_snapshot = True

    def _run(self, statement: str) -> None:
        with self._connection.cursor() as cursor:
            self._guarded(cursor.execute, statement)

    def _execute(self, cursor: Any, sql: str) -> Any:
        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": _BATCH_BYTES})
        cursor.execute(sql)
        return cursor.fetch_record_batch()

    def _guarded(self, function: Any, *arguments: object) -> Any:
        try:
            return function(*arguments)
        except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> SourceError:
        reason = _reason(str(error))
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        return SourceError(f"Cannot read runs from '{self.name}': {reason}")


def text_array(values: Sequence[str]) -> str:
    """Returns the values as SQL, a constant of the type text[]."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"').replace("'", "''") for value in values)
    joined = ",".join(f'"{value}"' for value in escaped)
    return f"'{{{joined}}}'::text[]"


def _connection_string(arguments: Mapping[str, object]) -> str:
    """The arguments as libpq reads them."""
    escaped = {key: str(value).replace("\\", "\\\\").replace("'", "\\'") for key, value in arguments.items()}
    return " ".join(f"{key}='{value}'" for key, value in escaped.items())


def _next(reader: Any) -> pa.RecordBatch | None:
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None


def _reason(message: str) -> str:
    """What the server or libpq said, without what the driver said of itself, on one line."""
    for start in ("ERROR:", "FATAL:", "[libpq] Failed to connect:", "[libpq]"):
        message = message.partition(start)[2] or message
    first = message.strip().partition("\n")[0].strip().rstrip(".")
    return f"{first}." if first else "the server gave no reason."
