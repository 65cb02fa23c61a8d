"""Jobs for an engine, which finds them by their names."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path

from hpkb.errors import SourceError


def double(number: int) -> int:
    """A job that takes the longer the earlier it is, so that later ones are done first."""
    time.sleep(max(0, 5 - number) / 50)
    return 2 * number


def fail(number: int) -> int:
    """A job that fails, but for the first."""
    if number:
        raise SourceError(f"no {number}")
    return number


def told(folder: str, number: int, seconds: float) -> int:
    """A job that says that it begins before it does what takes time."""
    Path(folder, f"{number}-{os.getpid()}").touch()
    time.sleep(seconds)
    return number


def threads() -> set[int]:
    """The number of threads that the libraries of linear algebra would use."""
    from threadpoolctl import threadpool_info

    return {library["num_threads"] for library in threadpool_info()}


def slow_first(number: int) -> int:
    """A job of which the first takes two seconds and the others none."""
    time.sleep(2 if number == 0 else 0)
    return number


def dies(folder: str, number: int, times: int) -> int:
    """A job whose process is killed at its second number, as if memory had run out, so many times."""
    if number == 1 and len(list(Path(folder).iterdir())) < times:
        Path(folder, uuid.uuid4().hex).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number
