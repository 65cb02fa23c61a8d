"""A spool of a test's own, the processes that work on it, and what ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from hpkb.ship.rundir import unshipped
from tests.faults.jobs import COUNTING, IN_NOTEBOOK, Witness

PATIENCE = 90.0  # seconds that anything here may take on a busy machine


class Place:
    """A folder with a spool, jobs that are logged into the store `uri`, and everything that these processes need."""

    def __init__(self, folder: Path, uri: str, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.uri, self.spool = folder, uri, folder / "spool"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "HPKB_"))}
        self.environment = inherited | {
            "HPKB_SPOOL": str(self.spool), "HPKB_LINGER": "1", "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(Path(__file__).parents[2]), **environment,
        }  # fmt: skip

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """`hpkb ARGUMENTS`, in a process group of its own."""
        return self._start([sys.executable, "-m", "hpkb", *arguments], **environment)

    def log(self, name: str, code: str, *arguments: object, options: Iterable[str] = ()) -> subprocess.Popen[str]:
        """`hpkb log` of a Python job, as the run `name` with every point in MLflow's metrics."""
        command = ["log", "--full-metrics", "--run-name", name, *options, "--", sys.executable, "-c", code]
        return self.start(*command, *arguments)

    def plain(self, code: str, *arguments: object) -> subprocess.Popen[str]:
        """The same Python job without hpkb."""
        return self._start([sys.executable, "-c", code, *arguments])

    def count(
        self, name: str, pause: float, steps: int = 10_000_000, until: object = "", options: Iterable[str] = ()
    ) -> tuple[subprocess.Popen[str], Witness]:
        """A COUNTING job as the run `name`, and its witness once the job's process is there."""
        witness = Witness(self.folder / f"{name}.witness")
        supervisor = self.log(name, COUNTING, witness.file, pause, steps, until, options=options)
        wait_for(lambda: witness.pid, pause=0.002)
        return supervisor, witness

    def count_in_notebook(self, name: str, pause: float) -> tuple[subprocess.Popen[str], Witness]:
        """The same inside of `hpkb.run`, in a kernel's process group, with nobody beside it but the shipper."""
        witness = Witness(self.folder / f"{name}.witness")
        kernel = self._start([sys.executable, "-c", IN_NOTEBOOK, witness.file, pause, 10_000_000, "", name])
        wait_for(lambda: witness.pid, pause=0.002)
        return kernel, witness

    def sync(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """`hpkb sync`, to its end."""
        process = self.start("sync", **environment)
        out, errors = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def deliver(self) -> None:
        """Has everything in the store: waits for the shippers that are there, then calls `hpkb sync`."""
        wait_for(lambda: not self.left() or not self.shippers())
        if self.left():
            done = self.sync()
            assert done.returncode == 0, done.stderr
        assert self.left() == []

    def left(self) -> list[str]:
        """The run folders that hold anything that the store has not acknowledged."""
        return [run.path.name for run in unshipped(self.spool)]

    def shippers(self) -> list[int]:
        """The processes that do nothing but ship from this spool."""
        return [pid for pid, command in self._processes() if "hpkb.ship" in command]

    def kill_shippers(self) -> int:
        """Ends them with SIGKILL; returns how many there were."""
        return kill(self.shippers())

    def kill_everything(self) -> int:
        """Ends every process that has to do with this spool, as a machine that stops does; returns how many."""
        return kill(pid for pid, _ in self._processes())

    def _start(self, command: Iterable[object], **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*map(str, command)], cwd=self.folder, text=True, start_new_session=True,
            env=self.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def _processes(self) -> list[tuple[int, list[str]]]:
        return [(pid, command) for pid, command in processes() if has_in_environment(pid, f"HPKB_SPOOL={self.spool}")]


def processes() -> Iterable[tuple[int, list[str]]]:
    """Every process of this machine, and its command line."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                yield int(folder.name), command


def kill(pids: Iterable[int]) -> int:
    """Sends SIGKILL to these processes; returns how many were there."""
    killed = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def wait_for(happened: Callable[[], object], seconds: float = PATIENCE, pause: float = 0.02) -> None:
    """Waits until it has happened; fails where it has not in so many seconds."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause)


def has_in_environment(pid: int, entry: str) -> bool:
    """Whether the process has that entry, NAME=VALUE, in its environment."""
    try:
        return entry.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
