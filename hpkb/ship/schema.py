"""An MLflow store in an SQLite file: made once, however many jobs start at once, and never migrated unasked.

MLflow migrates any SQLite file that it opens, adds its tables to a foreign one, and fails when two processes make
one at the same time. So the file is looked at first, read-only, and a new one is made under a lock and beside its
place, so that nobody ever sees half a store.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import mlflow.store.db_migrations
from alembic.script import ScriptDirectory

from hpkb.errors import TrackingError
from hpkb.ship.address import sqlite_file
from hpkb.ship.client import MlflowClient
from hpkb.ship.database import open_alone
from hpkb.ship.keys import artifact_path
from hpkb.ship.lock import held

_PATIENCE = 60.0  # seconds to wait for another process that makes the store
_BEING_MADE = 10.0  # seconds since its last change in which a store may still be under way


def ensure_store(uri: str) -> None:
    """Makes the SQLite file, or the PostgreSQL database, of the URI an MLflow store where it is none yet.

    A new SQLite file is in WAL mode; any other URI is left alone. Raises TrackingError for a file that is no MLflow
    store, or one that this MLflow would have to migrate; for a database whatever MLflow and SQLAlchemy raise.
    """
    file = sqlite_file(uri)
    if file is None:
        open_alone(uri)
        return
    if not _has_content(file):
        with _only_one(file):
            if not _has_content(file):
                _make(file)
    _check(file)


def artifact_location(uri: str, experiment: str) -> str | None:
    """The folder for an experiment's artifacts: `mlruns` beside a SQLite file; None where a server decides.

    MLflow would take the folder that the process happens to be in, and a shipper is in none.
    """
    file = sqlite_file(uri)
    return str(file.absolute().parent / "mlruns" / artifact_path(experiment)) if file else None


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


@contextmanager
def _only_one(file: Path) -> Iterator[None]:
    """Holds the lock of one store; its file goes away again with the last who needs it."""
    lock = file.with_name(f".{file.name}.hpkb-lock")
    with ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            alone = stack.enter_context(held(lock, _PATIENCE, 0o666))  # whoever may write the store may take it
        except OSError as error:
            raise TrackingError(f"The store {file} cannot be made ({error.strerror}).") from error
        if not alone:
            raise TrackingError(f"The store {file} cannot be made: for {_PATIENCE:.0f} s another process has made it.")
        try:
            yield
        finally:
            with suppress(OSError):  # in a folder like /tmp only its owner may remove it
                lock.unlink()


def _make(file: Path) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        beside.touch()  # with the rights that the user gives to new files; SQLite would let nobody else write
        MlflowClient(f"sqlite:///{beside.absolute()}").search_experiments(max_results=1)
        with closing(sqlite3.connect(beside)) as connection:
            default = (artifact_location(f"sqlite:///{file.absolute()}", "0"),)
            with connection:
                connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0", default)
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        beside.rename(file)
    except Exception as error:
        raise TrackingError(f"MLflow could not make the store {file}: {error}") from error
    finally:
        for left in file.parent.glob(f"{beside.name}*"):
            left.unlink(missing_ok=True)


def _check(file: Path) -> None:
    migrations = ScriptDirectory(os.path.dirname(mlflow.store.db_migrations.__file__))
    head = migrations.get_current_head()
    found = _settled_version(file, str(head))
    if found == head:
        return
    if found is None:
        raise TrackingError(f"{file} is an SQLite file but no MLflow store. Name another file in the tracking URI.")
    if found in {revision.revision for revision in migrations.walk_revisions()}:
        raise TrackingError(
            f"{file} was written by an older MLflow (schema {found}; this one, {mlflow.__version__}, needs {head}). "
            f"Copy the file as a backup, then: mlflow db upgrade sqlite:///{file}"
        )
    raise TrackingError(
        f"{file} was written by a newer MLflow (schema {found}) than this one ({mlflow.__version__}). "
        "Try: pip install --upgrade mlflow-skinny"
    )


def _settled_version(file: Path, head: str) -> str | None:
    """The schema version of the file, after a while where another program is just making it."""
    while True:
        found = _version(file)
        if found == head or time.time() - file.stat().st_mtime > _BEING_MADE:
            return found
        time.sleep(0.25)


def _version(file: Path) -> str | None:
    uri = f"{file.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=20)) as connection:
            # One row per table named alembic_version: none or one.
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
                return None
            # One row: the schema's version.
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(row[0]) if row else None
    except sqlite3.DatabaseError as error:
        raise TrackingError(f"{file} cannot be read as an SQLite file ({error}).") from error
