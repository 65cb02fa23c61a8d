"""Capture's bytecode where its own folder cannot be written: kept beside the runs, and never wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .running import INJECT, environment, spools

MARKED = "import hpkb.capture.hooks as hooks; print(hooks.MARK)"


class Closed:
    """A copy of capture whose bytecode cannot be written: `__pycache__` is a file, which stops the superuser too."""

    def __init__(self, place: Path) -> None:
        self.folder, self.spool = place / "capture", place / "spool"
        shutil.copytree(INJECT.parent, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "__pycache__").touch()
        self._source = (self.folder / "hooks.py").read_text(encoding="utf-8")
        self.mark(1)

    def mark(self, number: int) -> None:
        """Changes a module, but neither its size nor its time."""
        file = self.folder / "hooks.py"
        file.write_text(f"{self._source}\nMARK = {number}\n", encoding="utf-8")
        os.utime(file, (1_000_000_000, 1_000_000_000))

    def run(self, *options: str) -> str:
        """What a captured job says that looks for the mark."""
        run_dir = self.spool / f"run{len(list(self.spool.glob('run*')))}"
        run_dir.mkdir(parents=True)
        env = {**environment(run_dir), "PYTHONPATH": str(self.folder / "inject")}
        ended = subprocess.run([sys.executable, *options, "-c", MARKED], env=env, capture_output=True, text=True)
        assert (ended.stderr, ended.returncode) == ("", 0)
        return ended.stdout

    def kept(self) -> dict[str, int]:
        """The files that are kept, and when each was written."""
        return {file.name: file.stat().st_mtime_ns for file in self.spool.glob(".bytecode-*/*")}


@pytest.fixture
def closed(tmp_path: Path) -> Closed:
    return Closed(tmp_path)


def test_bytecode_is_written_once_for_this_user_alone(closed: Closed) -> None:
    assert closed.run() == "1\n"
    [place] = closed.spool.glob(".bytecode-*")
    kept = closed.kept()
    assert {f"session.{sys.implementation.cache_tag}.pyc", f"hooks.{sys.implementation.cache_tag}.pyc"} <= kept.keys()
    assert place.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in place.iterdir()} == {0o600}
    assert closed.run() == "1\n"
    assert closed.kept() == kept


def test_bytecode_of_another_source_of_the_same_size_and_time_is_not_used(closed: Closed) -> None:
    assert closed.run() == "1\n"
    closed.mark(2)
    assert closed.run() == "2\n"
    kept = closed.kept()
    assert closed.run() == "2\n"
    assert closed.kept() == kept


def test_bytecode_that_others_may_have_written_is_not_used(closed: Closed) -> None:
    closed.run()
    [place] = closed.spool.glob(".bytecode-*")
    shutil.rmtree(place)
    place.mkdir()
    place.chmod(0o777)
    assert closed.run() == "1\n"
    assert closed.kept() == {}
    place.rmdir()
    place.symlink_to(closed.spool, target_is_directory=True)
    assert closed.run() == "1\n"
    assert list(closed.spool.glob("*.pyc")) == []


@pytest.mark.parametrize("damage", [b"", b"no bytecode", None])
def test_damaged_bytecode_is_made_anew(closed: Closed, damage: bytes | None) -> None:
    closed.run()
    for file in closed.spool.glob(".bytecode-*/*"):
        file.write_bytes(file.read_bytes()[:40] if damage is None else damage)
    assert closed.run() == "1\n"


def test_no_place_for_bytecode_is_no_harm(closed: Closed) -> None:
    closed.run()
    [place] = closed.spool.glob(".bytecode-*")
    shutil.rmtree(place)
    place.touch()
    assert closed.run() == "1\n"
    assert [len(spools(run_dir)) for run_dir in closed.spool.glob("run*")] == [0, 0], "nothing to capture in this job"


def test_no_bytecode_is_written_where_python_is_told_to_write_none(closed: Closed) -> None:
    assert closed.run("-B") == "1\n"
    assert list(closed.spool.glob(".bytecode-*")) == []


def test_the_usual_place_is_used_where_it_can_be(closed: Closed) -> None:
    (closed.folder / "__pycache__").unlink()
    assert closed.run() == "1\n"
    assert list(closed.spool.glob(".bytecode-*")) == []
    assert (closed.folder / "__pycache__" / f"session.{sys.implementation.cache_tag}.pyc").exists()
