"""The fixture that runs scripts as captured children."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .running import SCRIPTS, Captured, Run, environment, spools


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
