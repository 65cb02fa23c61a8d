"""Run folders with stub spools, and the stores that they are shipped to."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hpkb.ship.rundir import RunDir, RunSettings


@pytest.fixture(autouse=True)
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The spool of this test alone."""
    monkeypatch.setenv("HPKB_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    for name in ("HPKB_RUN_DIR", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "spool"


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store that was made once for the session."""
    from hpkb.ship.schema import ensure_store

    file = tmp_path_factory.mktemp("made") / "mlflow.db"
    ensure_store(f"sqlite:///{file}")
    return file


@pytest.fixture
def store_uri(made_store: Path, tmp_path: Path) -> str:
    """The tracking URI of a fresh, empty store."""
    with closing(sqlite3.connect(made_store)) as source, closing(sqlite3.connect(tmp_path / "mlflow.db")) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = wal")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def new_run(store_uri: str) -> Callable[..., RunDir]:
    """Makes a run folder for the fresh store."""

    def make(**settings: Any) -> RunDir:
        values: dict[str, Any] = {"tracking_uri": store_uri, "experiment": "digits", "command": ("python", "train.py")}
        return RunDir.create(RunSettings(**(values | settings)))

    return make


@pytest.fixture
def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, store_uri: str) -> Iterator[Callable[[int], None]]:
    """Starts a real `mlflow server` for the fresh store on that port of loopback when called."""
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port),
            "--backend-store-uri", store_uri, "--artifacts-destination", str(tmp_path / "artifacts"),
        ]  # fmt: skip
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment = os.environ | quiet
        log = open(tmp_path / "server.log", "wb")  # noqa: SIM115 - the server's, for as long as it runs
        started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        log.close()
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError((tmp_path / "server.log").read_text()[-2000:])

    yield start
    for process in started:
        os.killpg(process.pid, 15)
        process.wait(20)
