"""A real PostgreSQL server, for the tests and benchmarks that need one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.place import wait_for

UNPRIVILEGED = ("postgres", "nobody")  # as whom PostgreSQL runs where the tests are run by root: it refuses root
GUARDED = "guarded"  # a role that needs a password, once a test has made it; all others need none


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
        hba = data / "pg_hba.conf"
        hba.write_text(f"host all {GUARDED} all scram-sha-256\n{hba.read_text()}")
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

    def create(self, name: str, template: str = "template1") -> str:
        """Makes a database, empty or like another one, whose connections it ends; returns its URI."""
        import psycopg

        with psycopg.connect(f"host=127.0.0.1 port={self._port} user=hpkb dbname=postgres", autocommit=True) as admin:
            busy = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            admin.execute(busy, (template,))  # PostgreSQL copies no database that is in use
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
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


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
