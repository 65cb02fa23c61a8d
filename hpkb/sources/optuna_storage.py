"""Optuna's studies where they are not in a SQLite file: a journal, or the database of a server.

Optuna itself copies them into a SQLite file of their own in a temporary folder, and that is read as any other. A
trial has the same id there, so that a study is known again wherever it went. Nothing is written to the storage: a
journal is copied before it is opened, and a database is spoken to in transactions that may only read.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy.engine import make_url

from hpkb.errors import SourceError
from hpkb.sources.optuna_sqlite import OptunaSqlite

_FIRST = b'{"op_code"'  # how every line of a journal begins
_NEEDS = "is read with Optuna's own package. Run: pip install 'hpkb[optuna]'"
_READ_ONLY = {
    "postgresql": {"options": "-c default_transaction_read_only=on"},
    "mysql": {"init_command": "SET SESSION TRANSACTION READ ONLY"},
}


class OptunaStorage(OptunaSqlite):
    """The trials of a copy of a storage; `name` is the storage's own."""

    kind = "optuna_storage"

    def __init__(self, open_storage: Callable[[Path], Any], name: str) -> None:
        """`open_storage` opens it, and may use a folder for what it has to put somewhere."""
        self._folder = TemporaryDirectory(prefix="hpkb-optuna-")
        try:
            super().__init__(_copied(open_storage, Path(self._folder.name), name))
        except BaseException:
            self._folder.cleanup()
            raise
        self.name = name

    def close(self) -> None:
        """Deletes the copy."""
        super().close()
        self._folder.cleanup()


def is_journal(path: Path) -> bool:
    """Whether a file is a journal of Optuna's."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_FIRST)) == _FIRST


def of_journal(path: Path) -> OptunaStorage:
    """Returns the studies in a journal's file."""

    def open_storage(folder: Path) -> Any:
        journal = _optuna("optuna.storages.journal", f"'{path}'")
        copy = shutil.copyfile(path, folder / "journal.log")
        return importlib.import_module("optuna").storages.JournalStorage(
            journal.JournalFileBackend(str(copy))
        )

    return OptunaStorage(open_storage, path.absolute().as_uri())


def of_database(uri: str, name: str) -> OptunaStorage:
    """Returns the studies in a database; `name` is its URI without secrets. Raises SourceError where there are none."""

    def open_storage(_: Path) -> Any:
        storages = _optuna("optuna.storages", f"'{name}'")
        url = make_url(uri)
        product = "postgresql" if url.drivername.startswith("postgresql") else "mysql"
        if product == "mysql":
            url = url.set(drivername="mysql+pymysql")  # the driver that MLflow's stores are read with
        return storages.RDBStorage(
            url.render_as_string(hide_password=False), skip_table_creation=True,
            engine_kwargs={"connect_args": _READ_ONLY[product]},
        )  # fmt: skip

    return OptunaStorage(open_storage, name)


def _optuna(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise SourceError(f"{what} {_NEEDS}") from None


def _copied(open_storage: Callable[[Path], Any], folder: Path, name: str) -> Path:
    """A SQLite file with all studies of the storage."""
    optuna = _optuna("optuna", f"'{name}'")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = open_storage(folder)
        names = optuna.get_all_study_names(storage)
        for study in names:
            to = f"sqlite:///{folder / 'studies.db'}"
            optuna.copy_study(from_study_name=study, from_storage=storage, to_storage=to)
    except SourceError:
        raise
    except Exception as error:  # of Optuna, of SQLAlchemy, of a driver; some would show the password
        raise SourceError(f"Cannot read '{name}' as an Optuna storage ({type(error).__name__}).") from None
    finally:
        optuna.logging.set_verbosity(before)
    if not names:
        raise SourceError(f"No study in '{name}'.")
    return folder / "studies.db"
