"""MLflow's tables in a PostgreSQL database, made by one shipper at a time, on however many machines jobs start.

MLflow makes them in transactions of its own: of several that begin on an empty database, all but one fail, and try
again while the first is still at work. A lock in the database itself keeps apart even those that share no file.
"""

from __future__ import annotations

import time

from mlflow.store.db.utils import create_sqlalchemy_engine
from sqlalchemy import Connection, text

from hpkb.ship.client import MlflowClient

_PATIENCE = 60.0  # seconds to wait for another process; then MLflow may say what is wrong
_PAUSE = 0.1  # seconds between two attempts
# One row: whether the lock is this transaction's now. The number is "hpkb" in ASCII; such locks are the database's own.
_LOCK = text("SELECT pg_try_advisory_xact_lock(x'68706b62'::int)")


def open_alone(uri: str) -> None:
    """Has MLflow open the PostgreSQL database of the URI, while no other shipper does; leaves any other URI alone.

    The lock ends with the transaction, so that it is let go of behind a connection pool too. Raises whatever MLflow
    and SQLAlchemy raise.
    """
    if not uri.startswith("postgresql"):
        return
    engine = create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]
    try:
        with engine.begin() as connection:
            _await_lock(connection)
            MlflowClient(uri).search_experiments(max_results=1)
    finally:
        engine.dispose()


def _await_lock(connection: Connection) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not connection.execute(_LOCK).scalar() and time.monotonic() < deadline:
        time.sleep(_PAUSE)
