"""A real `mlflow server`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.faults.place import wait_for


class Server:
    """`mlflow server` in front of a store, or the command that is given. It may be killed and started again."""

    def __init__(
        self, uri: str, folder: Path, port: int, workers: int = 1,
        command: list[str] | None = None, environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.port, self.address = port, f"http://127.0.0.1:{port}"
        self._folder = folder
        self._environment = environment or {}
        self._command = command or [
            sys.executable, "-m", "mlflow", "server", "--workers", str(workers), "--host", "127.0.0.1",
            "--port", str(port), "--backend-store-uri", uri, "--artifacts-destination", str(folder / "artifacts"),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment = {**os.environ, **quiet, **self._environment}
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                self._command, env=environment, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
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
