"""Stores, servers and databases for the fault tests; whatever a test leaves running is ended after it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.place import Place
from tests.faults.servers import Server
from tests.postgres import free_port

NewPlace = Callable[..., Place]


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store that was made once for the session."""
    from hpkb.ship.schema import ensure_store

    file = tmp_path_factory.mktemp("made") / "mlflow.db"
    ensure_store(f"sqlite:///{file}")
    return file


@pytest.fixture
def new_store(made_store: Path, tmp_path: Path) -> Callable[[str], str]:
    """Makes a fresh, empty store of that name; returns its tracking URI."""

    def make(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        shutil.copy(made_store, folder / "mlflow.db")
        with closing(sqlite3.connect(folder / "mlflow.db")) as copy:
            copy.execute("PRAGMA journal_mode = wal")
        return f"sqlite:///{folder / 'mlflow.db'}"

    return make


@pytest.fixture
def new_place(tmp_path: Path, new_store: Callable[[str], str]) -> Iterator[NewPlace]:
    """Makes a place with a spool of its own, and a store of its own unless one is given."""
    made: list[Place] = []

    def make(name: str = "here", uri: str | None = None, **environment: str) -> Place:
        made.append(Place(tmp_path / name, uri or new_store(name), **environment))
        return made[-1]

    yield make
    for place in made:
        place.kill_everything()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Starts a real `mlflow server` in front of the store at that URI."""
    started: list[Server] = []

    def start(uri: str) -> Server:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(Server(uri, folder, free_port()))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.kill()
