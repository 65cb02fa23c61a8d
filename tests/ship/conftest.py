"""Run folders with stub spools, and the stores that they are shipped to."""

from __future__ import annotations

import os
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hpkb.capture.spool import SpoolWriter
from hpkb.ship.rundir import RunDir, RunSettings

#: A training process as capture would leave it, without capture: 30 steps of two metrics, then what its argument says.
JOB = """
import os, secrets, signal, sys, time
from hpkb.capture.spool import SpoolWriter
path = os.path.join(os.environ["HPKB_RUN_DIR"], f"process-{os.getpid()}-{secrets.token_hex(4)}.spool")
spool = SpoolWriter(path, {"role": "process", "rank": 0, "pid": os.getpid(), "started_at": time.time()})
spool.write({"type": "params", "values": {"learning_rate": 0.1, "cli.lr": 0.1}, "origin": "argparse"})
for step in range(30):
    spool.points(step, time.time(), {"train_loss": 1 / (step + 1), "learning_rate": 0.1})
"""


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


def process_spool(run: RunDir, pid: int = 1 << 22, rank: int = 0, **header: Any) -> SpoolWriter:
    """The spool of a process that is not there any more (no Linux has that pid), or of `pid`."""
    path = run.path / f"process-{pid}-{secrets.token_hex(4)}.spool"
    return SpoolWriter(str(path), {"role": "process", "rank": rank, "pid": pid, "started_at": time.time(), **header})


def rows(uri: str, query: str) -> list[tuple[Any, ...]]:
    """What SQLite itself says of the store, without MLflow between."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        return connection.execute(query).fetchall()


def table(uri: str, name: str) -> dict[str, str]:
    """The params or tags of the only run of the store."""
    return dict(rows(uri, f"SELECT key, value FROM {name}"))  # noqa: S608 - the name is the test's own


def status(uri: str) -> str:
    """The status of the only run of the store."""
    [(found,)] = rows(uri, "SELECT status FROM runs")
    return str(found)


def python(code: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """A Python process that runs this code."""
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Starts a real `mlflow server` on loopback when called; gives its address."""
    import socket
    import urllib.request

    started: list[subprocess.Popen[bytes]] = []

    def start() -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}",
                   "--artifacts-destination", str(tmp_path / "artifacts")]  # fmt: skip
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        log = open(tmp_path / "server.log", "wb")  # noqa: SIM115 - the server's, for as long as it runs
        started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        log.close()
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                return f"http://127.0.0.1:{port}"
            except OSError:
                time.sleep(0.2)
        raise AssertionError((tmp_path / "server.log").read_text()[-2000:])

    yield start
    for process in started:
        os.killpg(process.pid, 15)
        process.wait(20)
