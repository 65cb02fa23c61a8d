"""Reads of one MySQL or MariaDB database that change nothing in it: binary rows into Arrow, in one consistent snapshot.

All reads share a transaction, `WITH CONSISTENT SNAPSHOT, READ ONLY`. It locks no row, so that writers go on
undisturbed, and what they write meanwhile is not seen. Rows are never kept by the server nor by the driver: they stream
in batches of some megabytes.

The driver is PyMySQL, which most users of MLflow on MySQL have: it connects, and knows the ways to authenticate, TLS
and what a URI may say. Its own rows are Python objects, made one by one; so the rows of a prepared statement are taken
from its connection as bytes, and `mysql_rows` makes columns of them. A million points took 1.4 s, 0.4 s of them the
processor's, and 9.5 s with PyMySQL's cursor, 4.7 s with asyncmy, 3.9 s and 290 MiB with MariaDB's connector. ConnectorX
took as long and as little memory as this, but opens a connection a query, and a snapshot is a connection's own.
mysqlclient has no wheel for Linux, Oracle's came without its C extension, and PyPI has no ADBC driver for MySQL.

A URI means what it means to SQLAlchemy, which MLflow opens its stores with. What is said here of a database, in names
and in errors, is free of passwords.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TypeVar

import pyarrow as pa
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.exc import SQLAlchemyError

from hpkb.errors import SourceError
from hpkb.sources.database_uri import identity, parsed
from hpkb.sources.mysql_rows import BrokenResult, Column, RowStream

try:
    import pymysql
    from pymysql.protocol import FieldDescriptorPacket
except ImportError as error:
    raise SourceError("Reading MySQL needs one more package. Run: pip install 'hpkb[mysql]'") from error

T = TypeVar("T")

_BATCH_BYTES = 4 * 2**20
_FORM = "mysql://USER:PASSWORD@HOST:PORT/DATABASE"
_FIXED = {"charset": "utf8mb4", "autocommit": True}  # no transaction but the one below
_IDENTIFYING = ("unix_socket",)

# A server ends a result that nobody takes a row of for a minute; features of curves may take longer on a slow machine.
_BEGIN = (
    "SET SESSION net_write_timeout = 3600",
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)

# Commands of the protocol, and how what is sent with them, and answered to the first, lies in bytes.
_PREPARE, _EXECUTE, _CLOSE = 0x16, 0x17, 0x19
_PREPARED = struct.Struct("<xIHH")  # the statement, the number of its columns, the number of its parameters
_TO_EXECUTE = struct.Struct("<IBI")  # the statement, no cursor of the server's, once
_TO_CLOSE = struct.Struct("<I")


class MysqlDatabase:
    """A MySQL or MariaDB database, open for reading only. Raises SourceError where it cannot be read."""

    def __init__(self, uri: str) -> None:
        url = parsed(uri, "MySQL", _FORM)
        self.name = identity(url, "mysql", _IDENTIFYING)
        self._in_snapshot = False
        self._secrets: list[str] = []
        arguments = self._guarded(lambda: MySQLDialect_pymysql().create_connect_args(url)[1])
        self._secrets = [str(value) for key, value in arguments.items() if "passw" in key and value]
        self._connection = self._guarded(lambda: pymysql.connect(**{**arguments, **_FIXED}))

    def query(self, sql: str) -> pa.Table:
        """Returns all rows of a query that yields few."""
        return pa.concat_tables(list(self.batches(sql)))

    def batches(self, sql: str, parameters: Mapping[str, object] | None = None) -> Iterator[pa.Table]:
        """Yields the rows of a query in batches of some megabytes; at least one, which may be empty."""
        self._begin()
        statement = self._guarded(lambda: self._prepare(sql, parameters))
        rows = self._guarded(lambda: self._execute(statement))
        parts = rows.batches()
        try:
            while (part := self._guarded(lambda: next(parts, None))) is not None:
                yield part
        finally:
            with suppress(SourceError):  # a connection that was lost has told so, and will tell again
                self._guarded(lambda: self._finish(statement, rows))

    def release(self) -> None:
        """Ends the snapshot; the next read begins another."""
        if self._in_snapshot:
            self._in_snapshot = False
            self._guarded(self._connection.commit)

    def close(self) -> None:
        """Ends the connection."""
        with suppress(pymysql.Error):
            self._connection.close()

    def _begin(self) -> None:
        if not self._in_snapshot:
            self._guarded(lambda: [self._connection.query(statement) for statement in _BEGIN])
            self._in_snapshot = True

    # PyMySQL has no prepared statements, and so no binary rows; these are made with what it keeps to itself.

    def _prepare(self, sql: str, parameters: Mapping[str, object] | None) -> int:
        """The number of the statement, which the server keeps until it is closed."""
        with self._connection.cursor() as cursor:
            sql = cursor.mogrify(sql, parameters)
        self._connection._execute_command(_PREPARE, sql)
        statement, n_columns, _ = _PREPARED.unpack_from(self._connection._read_packet().get_all_data())
        for _ in range(n_columns + 1):
            self._connection._read_packet()
        return int(statement)

    def _execute(self, statement: int) -> RowStream:
        self._connection._execute_command(_EXECUTE, _TO_EXECUTE.pack(statement, 0, 1))
        n_columns = self._connection._read_packet().read_length_encoded_integer()
        fields = [self._connection._read_packet(FieldDescriptorPacket) for _ in range(n_columns)]
        self._connection._read_packet()  # the end of the columns
        columns = [Column(field.name, field.type_code) for field in fields]
        return RowStream(self._connection._rfile.read1, columns, _BATCH_BYTES)

    def _finish(self, statement: int, rows: RowStream) -> None:
        """Makes the connection free for the next statement."""
        rows.skip()
        self._connection._execute_command(_CLOSE, _TO_CLOSE.pack(statement))  # it has no answer

    def _guarded(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except (pymysql.Error, SQLAlchemyError, pa.ArrowException, BrokenResult, OSError, RuntimeError) as error:
            raise self._failure(error) from None
        except (TypeError, ValueError) as error:  # PyMySQL's on what a URI says
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> SourceError:
        reason = _reason(error)
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        return SourceError(f"Cannot read runs from '{self.name}': {reason}")


def _reason(error: Exception) -> str:
    """What the server or the driver said, on one line."""
    if isinstance(error, BrokenResult) and error.packet:
        message = error.packet[9:].decode(errors="replace")  # behind its number and the state of SQL
    else:
        message = str(error.args[-1]) if error.args else ""
    first = message.strip().partition("\n")[0].strip().rstrip(".")
    return f"{first}." if first else "the server gave no reason."
