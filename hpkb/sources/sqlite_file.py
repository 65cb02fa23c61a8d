"""Reads of one SQLite file that change nothing in it and never hold its lock for long.

A reader of a file in rollback-journal mode makes its writer wait, and after 20 s fail. So every statement here is
short: windows of 200,000 rows, each fetched whole before anything else is done with it.

A file in WAL mode that nobody has open is read without locks (`sqlite_wal` says how), because a mere `mode=ro` would
change what lies beside it. A writer that comes along meanwhile changes the file's size or time of change; then the
window is read again under the lock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import adbc_driver_manager
import adbc_driver_sqlite.dbapi
import pyarrow as pa

from hpkb.errors import SourceError
from hpkb.sources.sqlite_wal import LOCKED, copy_with_log, way_to_read

WINDOW = 200_000
# SQLite waits up to 100 ms between two looks at a lock; a writer that commits all the time has long taken it again.
_LOOK_AGAIN = 0.001  # s
_WAIT_FOR_LOCK = 20.0  # s
_WAIT_FOR_JOURNAL = 1.0  # s; a journal that its writer is just deleting looks like a dead writer's
_MAGIC = b"SQLite format 3\x00"
_WAL = b"\x02\x02"  # bytes 18 and 19 of the header, the file format's write and read version


class SqliteFile:
    """A SQLite file, open for reading only. Raises SourceError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        header = _header(self.path)
        state = self._state()
        way = way_to_read(self.path) if header[18:20] == _WAL else LOCKED
        self._unlocked_state = None if way == LOCKED else state
        self._copy: TemporaryDirectory[str] | None = None
        self._connection = self._open(self.path, way) if way else self._open(self._make_copy(), LOCKED)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Returns all rows of a query that yields at most some 200,000; types follow from the values."""
        began = time.monotonic()
        while True:
            try:
                result = self._fetch(sql, parameters)
            except adbc_driver_manager.Error as error:
                if not self._overtaken():
                    if time.monotonic() - began > _patience(error):
                        raise self._failure(error) from error
                    time.sleep(_LOOK_AGAIN)
                    continue
            else:
                if not self._overtaken():
                    return result
            self._reopen_locked()

    def windows(self, highest: str, sql: str) -> Iterator[pa.Table]:
        """Yields the rows of a table in windows of its rowid.

        `highest` is the query for the largest rowid; `sql` takes the lower bound (exclusive) and the upper one.
        """
        end = self.query(highest).column(0)[0].as_py() or 0
        for low in range(0, end, WINDOW):
            yield self.query(sql, (low, min(low + WINDOW, end)))

    def by_key(self, sql: str, keys: Sequence[str]) -> Iterator[pa.Table]:
        """Yields the rows of each key through an index, in windows.

        `sql` takes the key, the rowid after which to go on and the number of rows; its last column is the rowid.
        """
        for key in keys:
            after, full = 0, True
            while full:
                rows = self.query(sql, (key, after, WINDOW))
                full = rows.num_rows == WINDOW
                if rows.num_rows:
                    after = rows.column(rows.num_columns - 1)[-1].as_py()
                    yield rows.drop_columns(rows.column_names[-1:])

    def layout(self) -> int:
        """Returns a number that changes when the file is rewritten (VACUUM) and rowids may have moved."""
        return int(self.query("PRAGMA schema_version").column(0)[0].as_py())

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()
        if self._copy:
            self._copy.cleanup()

    def _fetch(self, sql: str, parameters: Sequence[Any]) -> pa.Table:
        with self._connection.cursor() as cursor:
            # One batch a window: the driver infers types from the first batch, which may hold only NULLs.
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": WINDOW})
            cursor.execute(sql, tuple(parameters) or None)
            return cursor.fetch_arrow_table()

    def _open(self, path: Path, way: str) -> Any:
        try:
            # Autocommit, or the driver's own BEGIN would hold the lock from the first read to the last.
            return adbc_driver_sqlite.dbapi.connect(f"file:{quote(str(path))}?{way}", autocommit=True)
        except adbc_driver_manager.Error as error:
            raise self._failure(error) from error

    def _make_copy(self) -> Path:
        self._copy = TemporaryDirectory(prefix="hpkb-")
        try:
            return copy_with_log(self.path, Path(self._copy.name))
        except OSError as error:
            self._copy.cleanup()
            reason = f"its log ({self.path.name}-wal) belongs to it, and there is no room to copy both"
            raise SourceError(f"Cannot read '{self.path}': {reason} ({error.strerror}). Set TMPDIR.") from None

    def _overtaken(self) -> bool:
        return self._unlocked_state is not None and self._unlocked_state != self._state()

    def _reopen_locked(self) -> None:
        self._unlocked_state = None
        with suppress(adbc_driver_manager.Error):
            self._connection.close()
        self._connection = self._open(self.path, LOCKED)

    def _state(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def _failure(self, error: Exception) -> SourceError:
        text = str(error)
        if "readonly" in text:
            reason = "a program died while writing to it; open it once with that program"
        elif "locked" in text:
            reason = "another process has held its lock for 20 s; try again"
        else:
            reason = "it is damaged, or no SQLite database; check it with: sqlite3 FILE 'PRAGMA integrity_check'"
        return SourceError(f"Cannot read '{self.path}': {reason}.")


def _patience(error: Exception) -> float:
    """How many seconds it may take until what stands in the way of a read is over; 0 where it will not be."""
    text = str(error)
    return _WAIT_FOR_LOCK if "locked" in text else _WAIT_FOR_JOURNAL if "readonly" in text else 0.0


def _header(path: Path) -> bytes:
    """The first 100 bytes of the file; raises SourceError where it is not there or no SQLite database."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        what_next = "Give another with --tracking-uri, or make one: hpkb log -- CMD"
        if (beside := path.with_name("mlruns")).is_dir():
            what_next = f"Beside it is MLflow's older kind of store: --tracking-uri {beside}"
        raise SourceError(f"No store at '{path}'. {what_next}") from None
    except OSError as error:
        raise SourceError(f"Cannot read '{path}': {error.strerror}.") from None
    if not header.startswith(_MAGIC):
        raise SourceError(f"'{path}' is no SQLite database, or a damaged one. Give the file of an MLflow store.")
    return header
