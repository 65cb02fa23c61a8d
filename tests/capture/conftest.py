"""The fixtures that run scripts as captured children."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .running import SCRIPTS, Captured, Run, RunEach, environment, spools


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A function that runs a script of `scripts/`, or `-c` and code; a run of the same arguments only once."""
    done: dict[Any, Captured] = {}
    numbers = itertools.count()

    def run(
        *arguments: str, captured: bool = True, python: str = sys.executable, folder: Path | None = None
    ) -> Captured:
        key = (arguments, captured, python, folder)
        if key not in done:
            place = folder or tmp_path_factory.mktemp(f"run{next(numbers)}")
            command, env = [python, *arguments], environment(place if captured else None)
            ended = subprocess.run(command, env=env, cwd=SCRIPTS, capture_output=True, text=True, timeout=120)
            done[key] = Captured(ended.stdout, ended.stderr, ended.returncode, spools(place))
        return done[key]

    return run


@pytest.fixture(scope="session")
def run_each(run: Run, tmp_path_factory: pytest.TempPathFactory) -> RunEach:
    """A function that runs trainings of a script one after the other, and returns what each printed and recorded."""

    def run_each(script: str, names: Iterable[str]) -> dict[str, Captured]:
        folder = tmp_path_factory.mktemp(script.removesuffix(".py"))
        ran = run(script, str(folder), *names, captured=False)
        assert ran.returncode == 0, ran.stderr
        assert "hpkb: " not in ran.stderr
        parts = dict(re.findall(r"--- (\w+)\n((?:(?!---).*\n)*)", ran.stdout))
        return {name: replace(ran, stdout=parts[name], processes=spools(folder / name)) for name in names}

    return run_each
