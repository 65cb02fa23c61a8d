"""Real servers: `mlflow server`, PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.place import wait_for

UNPRIVILEGED = ("postgres", "nobody")  # as whom PostgreSQL runs where the tests are run by root: it refuses root


class Server:
    """`mlflow server` with one worker in front of a store. It may be killed and started again."""

    def __init__(self, uri: str, folder: Path, port: int) -> None:
        self.port, self.address = port, f"http://127.0.0.1:{port}"
        self._uri, self._folder = uri, folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        command = [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1",
            "--port", str(self.port), "--backend-store-uri", self._uri,
            "--artifacts-destination", str(self._folder / "artifacts"),
        ]  # fmt: skip
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | quiet, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(self._answers, pause=0.1)

    def kill(self) -> None:
        """Ends it with SIGKILL, whatever it is doing."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.address}/health", timeout=2).read()
        except OSError:
            assert self._process is None or self._process.poll() is None, (self._folder / "server.log").read_text()
            return False
        return True


class Database:
    """A PostgreSQL server in a folder of its own, for as long as the context lasts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._folder = Path(tempfile.mkdtemp(prefix="hpkb-postgres-"))  # a folder that another user may enter
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Database:
        programs, data = postgres_programs(), self._folder / "data"
        assert programs is not None
        user = _become(self._folder)
        made = [programs / "initdb", "-D", data, "-U", "hpkb", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run(made, check=True, capture_output=True, cwd=self._folder, **user)
        settings = ["-h", "127.0.0.1", "-p", str(self._port), "-k", self._folder, "-c", "fsync=off"]
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [programs / "postgres", "-D", data, *settings], cwd=self._folder, stdout=log, stderr=log, **user
            )
        wait_for(lambda: b"ready to accept connections" in (self._folder / "log").read_bytes())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # PostgreSQL's immediate shutdown
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def create(self, name: str) -> str:
        """Makes an empty database; returns its URI."""
        import psycopg

        with psycopg.connect(f"host=127.0.0.1 port={self._port} user=hpkb dbname=postgres", autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://hpkb@127.0.0.1:{self._port}/{name}"


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs, None where they are not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)


def _become(folder: Path) -> dict[str, Any]:
    """The arguments of Popen that make a process run as an unprivileged user, to whom the folder is given."""
    if os.getuid() != 0:
        return {}
    import pwd

    for name in UNPRIVILEGED:
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            os.chown(folder, user.pw_uid, user.pw_gid)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return {}
