"""Where runs come from: read-only, one module a kind of store, all yielding the same Arrow tables.

A source never changes a byte of what it reads. Whatever a store calls things, these five tables come out of it; the
knowledge base knows no other form:

| table | grain | columns |
| --- | --- | --- |
| `fingerprints` | a run | run_id, fingerprint |
| `runs` | a run | see `RUNS`; the task is what the store says it is, NULL where it says nothing |
| `parameters` | a run and recorded parameter | see `PARAMETERS`; names as the store has them |
| `hardware` | a run and fact about its machine, code or environment | see `HARDWARE` |
| `splits` | a run and data split | see `SPLITS` |
| `curves` | a point of a curve | see `CURVES`; NaN and infinities as such |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pyarrow as pa

from hpkb.errors import SourceError
from hpkb.sources.objectives import Objective

TEXT, INTEGER, REAL, TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("ms")


def schema(**columns: pa.DataType) -> pa.Schema:
    """Returns the Arrow schema with these columns."""
    return pa.schema(list(columns.items()))


FINGERPRINTS = schema(run_id=TEXT, fingerprint=TEXT)
RUNS = schema(
    run_id=TEXT, experiment=TEXT, run_name=TEXT, status=TEXT, started_at=TIME, ended_at=TIME, task=TEXT, end_reason=TEXT
)
PARAMETERS = schema(run_id=TEXT, name=TEXT, value=TEXT, origin=TEXT)
HARDWARE = schema(run_id=TEXT, name=TEXT, value=TEXT)
SPLITS = schema(run_id=TEXT, role=TEXT, digest=TEXT, n_examples=INTEGER)
CURVES = schema(run_id=TEXT, metric=TEXT, step=INTEGER, timestamp=TIME, value=REAL)


class Source(Protocol):
    """The shape of a store of runs. `ids` is an Arrow array of run ids, none of them unknown to the store."""

    kind: str
    #: The URI or path that identifies the store, without a password.
    name: str

    def experiments(self) -> list[str]:
        """Returns the names of the experiments that are not deleted, in the order of the alphabet."""

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        """Returns a digest of the state of every active run, cheaply: a run that changed has another one."""

    def runs(self, ids: pa.Array) -> pa.Table:
        """Returns what is known of the runs themselves."""

    def parameters(self, ids: pa.Array) -> pa.Table:
        """Returns the recorded parameters, under the names that the store has."""

    def hardware(self, ids: pa.Array) -> pa.Table:
        """Returns the facts about machine, code and environment."""

    def splits(self, ids: pa.Array) -> pa.Table:
        """Returns the data splits."""

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        """Yields the points of all curves, in batches of bounded size."""

    def notes(self) -> Mapping[str, int]:
        """Returns what had to be altered since the source was opened, and how often; empty where nothing was."""

    def objectives(self) -> Mapping[str, Sequence[Objective]]:
        """Returns the objectives that the source itself states, by task, in order of preference."""

    def close(self) -> None:
        """Lets go of the store."""


def open_source(uri: str) -> Source:
    """Returns the store of runs at a tracking URI or path, opened and checked.

    Raises SourceError where there is no store, where it cannot be read, or where its kind is not supported.
    """
    if uri.lower().startswith(("http://", "https://")):
        from hpkb.sources.mlflow_http import MlflowHttp

        return MlflowHttp(uri)
    if uri.partition("://")[0].lower() == "databricks":
        from hpkb.sources.mlflow_databricks import MlflowDatabricks

        return MlflowDatabricks(uri)
    if uri.partition("://")[0].lower().partition("+")[0] in ("postgresql", "mysql", "mariadb"):
        return _database_store(uri)
    scheme = urlsplit(uri).scheme
    if scheme.partition("+")[0] == "sqlite":
        return _sqlite_store(_sqlite_path(uri))
    if is_lake(uri):
        from hpkb.sources.lake import Lake

        return Lake(uri)
    if scheme in ("", "file") and Path(uri.removeprefix("file://")).suffix in (".db", ".sqlite", ".sqlite3"):
        return _sqlite_store(Path(uri.removeprefix("file://")))
    if scheme in ("", "file") and (journal := _journal(Path(uri.removeprefix("file://")))):
        return journal
    if scheme in ("", "file") and (folder := _mlflow_folder(uri)):
        from hpkb.sources.mlflow_files import MlflowFiles

        return MlflowFiles(folder)
    raise SourceError(f"Cannot read runs from '{without_password(uri)}'. {_what_else(Path(uri.removeprefix('file://')))}")


def is_lake(uri: str) -> bool:
    """Returns whether a lake can be at the address: in object storage nothing else is, and a folder says so itself."""
    if urlsplit(uri).scheme in ("s3", "gs", "wasbs", "abfss", "memory"):
        return True
    return urlsplit(uri).scheme in ("", "file") and (Path(uri.removeprefix("file://")) / "_hpkb").is_dir()


def _what_else(place: Path) -> str:
    """What to give instead of what is no store."""
    for name in ("mlflow.db", "mlruns"):
        if (place / name).exists():
            return f"There is a store in it: {place / name}"
    if place.exists():
        return "It is no MLflow store; a table, an Optuna, W&B or TensorBoard folder comes in with: hpkb import"
    return (
        "Give an MLflow or Optuna SQLite store: sqlite:///mlflow.db, the folder of an MLflow file store: mlruns, "
        "a lake: s3://BUCKET/PREFIX or its folder, "
        "the address of an MLflow server: http://HOST:5000, or its database: postgresql://USER@HOST/DATABASE "
        "or mysql://USER@HOST/DATABASE"
    )


def _database_store(uri: str) -> Source:
    """The store in the database of a server: MLflow's, or Optuna's where it has not MLflow's tables."""
    from hpkb.sources.mlflow_database import NoMlflowTables

    try:
        if uri.lower().startswith("postgresql"):
            from hpkb.sources.mlflow_postgres import MlflowPostgres

            return MlflowPostgres(uri)
        from hpkb.sources.mlflow_mysql import MlflowMysql

        return MlflowMysql(uri)
    except NoMlflowTables as error:
        return _optuna_database(uri, error.name, error)


def _optuna_database(uri: str, name: str, otherwise: SourceError) -> Source:
    """Optuna's studies in a database; raises `otherwise` where it has none."""
    from hpkb.sources.optuna_storage import of_database

    try:
        return of_database(uri, name)
    except SourceError:
        raise otherwise from None


def _journal(path: Path) -> Source | None:
    """Optuna's studies in a journal's file; None where it is another file."""
    from hpkb.sources.optuna_storage import is_journal, of_journal

    return of_journal(path) if is_journal(path) else None


def _sqlite_store(path: Path) -> Source:
    """The store in a SQLite file: Optuna's where it has Optuna's tables, else MLflow's."""
    from hpkb.sources.mlflow_sqlite import MlflowSqlite
    from hpkb.sources.optuna_sqlite import OptunaSqlite, is_optuna

    return OptunaSqlite(path) if is_optuna(path) else MlflowSqlite(path)


def _mlflow_folder(uri: str) -> Path | None:
    """The folder of a path or file URI where it is an MLflow file store."""
    from hpkb.sources.mlflow_files import folder_of, is_store

    folder = folder_of(uri)
    return folder if is_store(folder) else None


def _sqlite_path(uri: str) -> Path:
    """The file of sqlite:///relative.db or sqlite:////absolute.db; SQLAlchemy decodes no percent signs either."""
    path = uri.partition("://")[2].partition("?")[0].removeprefix("/")
    if not path or path == ":memory:":
        raise SourceError(f"'{uri}' names no file. Write sqlite:///mlflow.db")
    return Path(path)


def without_password(uri: str) -> str:
    """Returns the URI with the password in it, if any, replaced by stars."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    return uri.replace(f":{parts.password}@", ":***@", 1)
