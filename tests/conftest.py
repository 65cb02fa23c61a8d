"""Fixtures shared by the tests: a real MLflow store with runs of a known law, and the command line as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mysql import MysqlServer, mysql_programs
from tests.postgres import Database, free_port, postgres_programs
from tests.stores import Hpkb, write_store

SHORT_LIVED = {"HPKB_LINGER": "1"}  # shippers of a test's own store, which nobody needs after it
os.environ.update(SHORT_LIVED)


@pytest.fixture
def hpkb(tmp_path: Path) -> Hpkb:
    """Runs `hpkb ARGUMENTS` in an empty folder with a spool of its own, and returns what it printed."""
    folder = tmp_path / "here"
    folder.mkdir(exist_ok=True)

    def run(*arguments: object, cwd: Path = folder, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "HPKB_"))}
        settings = {"HPKB_SPOOL": str(tmp_path / "spool"), "MLFLOW_DISABLE_TELEMETRY": "true", **SHORT_LIVED}
        settings |= environment
        command = [sys.executable, "-m", "hpkb", *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, env=inherited | settings, capture_output=True, text=True, timeout=240
        )

    return run


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow SQLite store without a run; MLflow takes seconds to make one, so the others are copies of it."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    write_store(path, {}, n_runs=0)
    return path


@pytest.fixture(scope="session")
def planted_store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow SQLite store: three tasks of 40 runs, a bowl in learning_rate, and divergence above 0.5."""
    path = tmp_path_factory.mktemp("planted") / "mlflow.db"
    shutil.copy(empty_store, path)
    write_store(path, {"alpha": -5.0, "beta": -4.5, "gamma": -5.5}, n_runs=40)
    return path


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """A PostgreSQL server with nothing in it."""
    if postgres_programs() is None:
        pytest.skip("PostgreSQL's programs (initdb, postgres) are not on this machine")
    pytest.importorskip("psycopg")
    with Database(free_port()) as running:
        yield running


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MysqlServer]:
    """A MariaDB server with nothing in it."""
    if mysql_programs() is None:
        pytest.skip("MariaDB's programs (mariadbd, mariadb-install-db) are not on this machine")
    pytest.importorskip("pymysql")
    with MysqlServer(free_port()) as running:
        yield running
