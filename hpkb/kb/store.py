"""The knowledge base's file: opened, checked, and written in one transaction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

import duckdb

from hpkb.errors import KnowledgeBaseError

#: Goes up when schema.sql changes in a way that an older file does not follow.
SCHEMA_VERSION = "4"

# A writer has no more memory than this, and what is more goes through temporary files beside the knowledge base.
# DuckDB's own limit is most of the machine's memory, and it takes what it is given: a job may be training there.
_MEMORY, _MEMORY_OF_RUN = 256, 0.01  # megabytes
# Nothing is ever fetched from a network, least of all because somebody gave a file of another kind.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_SCHEMA = (files("hpkb.kb") / "schema.sql").read_text("utf-8")
_HOLDER = re.compile(r"held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")

# DuckDB cannot be asked whether a transaction is open, and a second BEGIN aborts the first.
_in_transaction: set[int] = set()

_HAS_TABLE = """-- One row: whether the file has the table.
SELECT count(*) > 0 FROM duckdb_tables() WHERE table_name = $table"""
_IS_EMPTY = """-- One row: whether the file has no table at all, as after an interrupted first analysis.
SELECT count(*) = 0 FROM duckdb_tables()"""
_VERSION = """-- One row: the version of the file's schema.
SELECT value FROM meta WHERE name = 'schema'"""
_SET_VERSION = "INSERT OR REPLACE INTO meta VALUES ('schema', $version)"


def connect(path: str | Path, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Returns a connection to the knowledge base; for a writer, made with its tables where there is none.

    Raises KnowledgeBaseError where a reader finds no file, where the file is no knowledge base or one of another
    version, and where another process holds it.
    """
    file = Path(path)
    _check_file(file, read_only)
    connection = _open(file, read_only)
    try:
        _check_tables(connection, file, read_only)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def writing(path: str | Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yields a connection inside one transaction: everything that is done with it is kept, or nothing.

    Where the body raises, an existing file stays as it was, and one that was not there is not there afterwards.
    """
    file = Path(path)
    is_new = not file.exists()
    connection = connect(file)
    try:
        with transaction(connection):
            yield connection
    except BaseException:
        connection.close()
        if is_new:
            remove(file)
        raise
    connection.close()


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Runs the body in one transaction; within the body of another `transaction`, in that one."""
    if id(connection) in _in_transaction:
        yield
        return
    connection.begin()
    _in_transaction.add(id(connection))
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):  # the error that brought us here says more
            connection.rollback()
        raise
    else:
        connection.commit()
    finally:
        _in_transaction.discard(id(connection))


@contextmanager
def in_memory(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yields an empty knowledge base in memory for one thread, as `connect_in_memory` has it."""
    connection = connect_in_memory(folder)
    try:
        connection.execute(_SCHEMA)
        yield connection
    finally:
        connection.close()


def connect_in_memory(folder: Path, threads: int = 1) -> duckdb.DuckDBPyConnection:
    """Returns a database of half a gigabyte; what is more goes to the folder. 0 threads: one a core."""
    limits = {"memory_limit": "512 MB", "temp_directory": str(folder)}
    return duckdb.connect(config=_CONFIG | limits | ({"threads": threads} if threads else {}))


def complete(connection: duckdb.DuckDBPyConnection) -> None:
    """Adds the tables that a file of this version lacks because it was made before they were thought of."""
    connection.execute(_SCHEMA)


def has_table(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Returns whether the file has the table: one that was made before it was thought of has not, until `complete`."""
    return bool(connection.execute(_HAS_TABLE, {"table": table}).fetchall()[0][0])


def make_room(connection: duckdb.DuckDBPyConnection, runs: int) -> None:
    """Lets the database have the memory that many runs need: 10 kB each, 256 MB at least."""
    connection.execute(f"SET memory_limit = '{max(_MEMORY, int(_MEMORY_OF_RUN * runs))} MB'")


def remove(path: str | Path) -> None:
    """Deletes a knowledge base and its write-ahead log."""
    for file in (Path(path), Path(f"{path}.wal")):
        file.unlink(missing_ok=True)


def _check_file(file: Path, read_only: bool) -> None:
    if not file.exists():
        if read_only:
            raise KnowledgeBaseError(f"No knowledge base at '{file}'. Make one: hpkb analyze --kb {file}")
        if not file.absolute().parent.is_dir():
            raise KnowledgeBaseError(f"No folder '{file.parent}' to put the knowledge base in.")
        return
    if not file.is_file():
        raise KnowledgeBaseError(f"'{file}' is no file. Give the knowledge base's file with --kb.")
    try:
        with file.open("rb") as opened:
            magic = opened.read(12)[8:]
    except OSError as error:
        raise KnowledgeBaseError(f"Cannot read the knowledge base '{file}': {error.strerror}.") from None
    if magic != b"DUCK":
        raise KnowledgeBaseError(f"'{file}' is no knowledge base. Delete it or give another with --kb.")


def _open(file: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        connection = duckdb.connect(str(file), read_only=read_only, config=_CONFIG)
        if not read_only:
            make_room(connection, 0)
        return connection
    except duckdb.ConnectionException:
        raise KnowledgeBaseError(f"The knowledge base '{file}' is already open in this process.") from None
    except duckdb.Error as error:
        raise _not_opened(file, error) from None


def _not_opened(file: Path, error: duckdb.Error) -> KnowledgeBaseError:
    if holder := _HOLDER.search(str(error)):
        who = f"process {holder['pid']} ({Path(holder['program']).name})"
        return KnowledgeBaseError(f"The knowledge base '{file}' is in use by {who}. Wait until it is done, or end it.")
    if "lock" in str(error):
        return KnowledgeBaseError(f"The knowledge base '{file}' is in use by another process. Wait until it is done.")
    reason = str(error).partition("\n")[0]
    return KnowledgeBaseError(f"Cannot open the knowledge base '{file}' ({reason}). Delete it and analyze again.")


def _check_tables(connection: duckdb.DuckDBPyConnection, file: Path, read_only: bool) -> None:
    if _one(connection, _IS_EMPTY):
        if read_only:
            raise KnowledgeBaseError(f"The knowledge base '{file}' is empty. Fill it: hpkb analyze --kb {file}")
        with transaction(connection):
            connection.execute(_SCHEMA)
            connection.execute(_SET_VERSION, {"version": SCHEMA_VERSION})
    if not has_table(connection, "meta"):
        raise KnowledgeBaseError(f"'{file}' is a DuckDB file, but no knowledge base. Give another with --kb.")
    if (version := _one(connection, _VERSION)) != SCHEMA_VERSION:
        raise KnowledgeBaseError(
            f"The knowledge base '{file}' has schema {version}, this hpkb knows {SCHEMA_VERSION}. "
            "Delete it and analyze again; it is only a cache."
        )


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> object:
    rows = connection.execute(sql).fetchall()  # all, because an unfinished result would block the connection
    return rows[0][0] if rows else None
