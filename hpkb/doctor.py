"""Checks of the installation, the store, the device and the spool, for `hpkb doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import hpkb

_ACTIVE_RUNS = """-- One row: the number of runs that are not deleted.
SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'"""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what it says. `fail` is what stops hpkb from working."""

    mark: Literal["ok", "note", "fail"]
    what: str
    says: str


def examine(tracking_uri: str, kb: Path) -> list[Check]:
    """Returns all checks; none of them changes anything, and none raises."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("installation", _installation),
        ("packages", _packages),
        ("capture", _capture),
        ("store", lambda: _store(tracking_uri)),
        ("knowledge base", lambda: _knowledge_base(kb)),
        ("spool", _spool),
        ("shippers", _shippers),
        ("device", _device),
    ]
    return [_guarded(what, check) for what, check in checks]


def _guarded(what: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:
        return Check("fail", what, f"{type(error).__name__}: {error}")


def _installation() -> Check:
    return Check("ok", "installation", f"hpkb {hpkb.__version__}, Python {platform.python_version()}")


def _packages() -> Check:
    found = [f"{name} {_version(name)}" for name in ("mlflow-skinny", "duckdb", "torch")]
    return Check("ok", "packages", ", ".join(found))


def _capture() -> Check:
    """Starts a Python as a job would be started and asks it whether capture is in place."""
    from hpkb.ship.launch import environment

    code = "import sys; print('hpkb.capture' in sys.modules)"
    with_capture = environment(Path(os.devnull), dict(os.environ))
    answer = subprocess.run(
        [sys.executable, "-c", code], env=with_capture, capture_output=True, text=True, timeout=60
    )
    if answer.stdout.strip() == "True":
        return Check("ok", "capture", "a child process is captured")
    return Check("fail", "capture", f"a child process is not captured: {answer.stderr.strip()[-200:]}")


def _store(tracking_uri: str) -> Check:
    from hpkb.ship.address import sqlite_file, without_password
    from hpkb.sources.sqlite_file import SqliteFile

    shown, path = without_password(tracking_uri), sqlite_file(tracking_uri)
    if path is None:
        return Check("note", "store", f"{shown} (not contacted)")
    if not path.exists():
        return Check("note", "store", f"{shown} is not there yet; the first `hpkb log` makes it")
    store = SqliteFile(path)
    try:
        runs = store.query(_ACTIVE_RUNS).column(0)[0].as_py()
    finally:
        store.close()
    return Check("ok", "store", f"{shown} holds {runs} runs")


def _knowledge_base(kb: Path) -> Check:
    if not kb.exists():
        return Check("note", "knowledge base", f"{kb} is not there yet; `hpkb analyze` makes it")
    with hpkb.open(kb) as base:
        runs, findings = base.sql(
            "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM findings)"
        ).fetchall()[0]
    return Check("ok", "knowledge base", f"{kb} holds {runs} runs and {findings} findings")


def _spool() -> Check:
    from hpkb.ship.room import in_words, undelivered, warning
    from hpkb.ship.rundir import spool_root

    root = spool_root()
    waiting, held = undelivered(root)
    if waiting:
        told = f"{waiting} runs are not shipped yet ({in_words(held)}). {warning(root)}".rstrip()
        return Check("note", "spool", f"{told} Try: hpkb sync")
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists())).free
    return Check("ok", "spool", f"nothing waits; {free / 1e9:.0f} GB free")


def _shippers() -> Check:
    from hpkb.ship.service import running

    found = running()
    if not found:
        return Check("ok", "shippers", "none runs; the next `hpkb log` starts one")
    return Check("ok", "shippers", "; ".join(found))


def _device() -> Check:
    command = shutil.which("nvidia-smi")
    if command is None:
        return Check("note", "device", f"no NVIDIA GPU; {len(os.sched_getaffinity(0))} cores")
    query = [command, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20)
    return Check(
        "ok" if answer.returncode == 0 else "note", "device", "; ".join(answer.stdout.split("\n")).strip("; ")
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
