"""A real MySQL server, of the MariaDB kind, for the tests and benchmarks that need one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.place import wait_for

UNPRIVILEGED = ("mysql", "nobody")  # as whom the server runs where the tests are run by root: it refuses root

# Nothing of this machine's own settings; no name is resolved; what the tests write need not survive a loss of power.
_SETTINGS = (
    "--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--character-set-server=utf8mb4",
    "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-buffer-pool-size=256M",
)  # fmt: skip


class MysqlServer:
    """A MariaDB server in a folder of its own, for as long as the context lasts."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._folder = Path(tempfile.mkdtemp(prefix="hpkb-mysql-"))  # a folder that another user may enter
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MysqlServer:
        programs = mysql_programs()
        assert programs is not None
        server, installer = programs
        data, log = self._folder / "data", self._folder / "log"
        data.mkdir()
        become = _become(self._folder, data)
        made = [installer, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
        made += ["--skip-test-db", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0"]
        subprocess.run(made, check=True, capture_output=True, cwd=self._folder, **become)
        where = [f"--datadir={data}", f"--port={self.port}", f"--socket={self._folder / 'socket'}"]
        where += [f"--pid-file={self._folder / 'pid'}"]
        with open(log, "wb") as written:
            self._process = subprocess.Popen(
                [server, *_SETTINGS, *where], cwd=self._folder, stdout=written, stderr=written, **become
            )
        wait_for(lambda: b"ready for connections" in log.read_bytes())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()  # there is nothing in it that anybody would miss
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def connect(self, database: str | None = None) -> Any:
        """Returns an administrator's connection, which commits every statement."""
        import pymysql

        return pymysql.connect(host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True)

    def create(self, name: str) -> str:
        """Makes an empty database; returns its URI."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}`")
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{name}"

    def copy(self, source: str, name: str) -> str:
        """Makes a database with the tables and rows of another one, without foreign keys; returns its URI."""
        uri = self.create(name)
        with self.connect(name) as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")  # MLflow's first experiment has the number 0
            cursor.execute(f"SHOW TABLES FROM `{source}`")
            for (table,) in cursor.fetchall():
                cursor.execute(f"CREATE TABLE `{table}` LIKE `{source}`.`{table}`")
                cursor.execute(f"INSERT INTO `{table}` SELECT * FROM `{source}`.`{table}`")
        return uri


def mysql_programs() -> tuple[str, str] | None:
    """MariaDB's server and the program that makes a folder of data for it; None where they are not installed."""
    places = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    server, installer = (shutil.which(name, path=places) for name in ("mariadbd", "mariadb-install-db"))
    return (server, installer) if server and installer else None


def _become(*folders: Path) -> dict[str, Any]:
    """The arguments of Popen that make a process run as an unprivileged user, to whom the folders are given."""
    if os.getuid() != 0:
        return {}
    import pwd

    for name in UNPRIVILEGED:
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            for folder in folders:
                os.chown(folder, user.pw_uid, user.pw_gid)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return {}
