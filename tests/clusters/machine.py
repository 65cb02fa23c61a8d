"""A machine for the examples: their commands on its PATH, an environment without this one's settings, and its end."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.place import has_in_environment, kill, processes

ROOT = Path(__file__).parents[2]
QUIET_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_DISABLE_IMPORT_WARNING": "1"}


class Machine:
    """`hpkb` and `python` as commands, whatever the environment of the tests calls them."""

    def __init__(self, folder: Path, tracking_uri: str, **environment: str) -> None:
        self._commands = folder / "bin"
        self._commands.mkdir(parents=True)
        self.add("hpkb", "-m", "hpkb")
        self.add("python")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "HPKB_", "SLURM_"))}
        self._mark = f"HPKB_TEST_MACHINE={folder}"
        self.environment = inherited | dict([self._mark.split("=", 1)]) | {
            "PATH": f"{self._commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HPKB_LINGER": "1",
            "HPKB_SPOOL": str(folder / "spool"), "MLFLOW_TRACKING_URI": tracking_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1", **environment,
        }  # fmt: skip

    def add(self, name: str, *arguments: str) -> None:
        """Adds the command `name`: Python with these arguments before its own."""
        file = self._commands / name
        file.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *arguments])} "$@"\n')
        file.chmod(0o755)

    def start(self, command: Sequence[str], **own: str) -> subprocess.Popen[str]:
        """Starts a command in the folder of the repository."""
        return subprocess.Popen(
            list(command), cwd=ROOT, env=self.environment | own, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, command: Sequence[str], **own: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        process = self.start(command, **own)
        out, errors = process.communicate(timeout=200)
        return subprocess.CompletedProcess(list(command), process.returncode, out, errors)

    def kill_everything(self) -> None:
        """Ends every process that is still there, as a machine that stops does."""
        kill(pid for pid, _ in processes() if has_in_environment(pid, self._mark))
