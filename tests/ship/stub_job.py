"""Spools as capture leaves them, made without capture, and what SQLite says of the store that they were shipped to."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from multiprocessing.context import ForkProcess
from typing import Any

from hpkb.capture.spool import SpoolWriter
from hpkb.ship.rundir import RunDir

#: A training process as capture would leave it, without capture: 30 steps of two metrics.
JOB = """
import os, secrets, signal, sys, time
from hpkb.capture.spool import SpoolWriter
path = os.path.join(os.environ["HPKB_RUN_DIR"], f"process-{os.getpid()}-{secrets.token_hex(4)}.spool")
spool = SpoolWriter(path, {"role": "process", "rank": 0, "pid": os.getpid(), "started_at": time.time()})
spool.write({"type": "params", "values": {"learning_rate": 0.1, "cli.lr": 0.1}, "origin": "argparse"})
for step in range(30):
    spool.points(step, time.time(), {"train_loss": 1 / (step + 1), "learning_rate": 0.1})
"""


def process_spool(
    run: RunDir, pid: int = 1 << 22, rank: int = 0, limit: int | None = None, **header: Any
) -> SpoolWriter:
    """The spool of a process that is not there any more (no Linux has that pid), or of `pid`."""
    path = run.path / f"process-{pid}-{secrets.token_hex(4)}.spool"
    header = {"role": "process", "rank": rank, "pid": pid, "started_at": time.time(), **header}
    return SpoolWriter(str(path), header, limit)


def rows(uri: str, query: str) -> list[tuple[Any, ...]]:
    """What SQLite itself says of the store, without MLflow between."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        return connection.execute(query).fetchall()


def table(uri: str, name: str) -> dict[str, str]:
    """The params or tags of the only run of the store."""
    return dict(rows(uri, f"SELECT key, value FROM {name}"))


def status(uri: str) -> str:
    """The status of the only run of the store."""
    [(found,)] = rows(uri, "SELECT status FROM runs")
    return str(found)


def fork(work: Callable[..., object], *arguments: object) -> ForkProcess:
    """A process in a group of its own that does this work; it need not import MLflow, which takes seconds, again."""
    process = multiprocessing.get_context("fork").Process(target=_in_own_group, args=(work, *arguments))
    process.start()
    return process


def _in_own_group(work: Callable[..., object], *arguments: object) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a shell ignore it
    sys.exit(work(*arguments))


def python(code: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """A Python process that runs this code."""
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
