"""Where work is done that can be split: in this process, in several, or on a Ray cluster.

Whatever the engine, the results of `map` come in the order of the jobs and are the same: a job depends on its arguments
alone, has one thread, and draws from a generator of its own seed. A job that was lost with its process or its machine
is done again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, Protocol

from hpkb.errors import UsageError

LOCAL, RAY = "local", "ray"
Job = tuple[Any, ...]


class Engine(Protocol):
    """Does jobs, several at a time. Both arguments and results must be picklable; a function, found by its name."""

    #: How many jobs it does at once.
    parallel: int

    def map(self, function: Callable[..., Any], jobs: Iterable[Job]) -> Iterator[Any]:
        """Yields `function(*job)` in the order of the jobs.

        Jobs are taken from the iterable as they are needed, a few ahead, so that it may make them one by one. What a
        job raises is raised here, and no further one is begun.
        """


def check(address: str) -> None:
    """Raises UsageError where there is no engine of that name."""
    if address not in (LOCAL, RAY) and not (address.startswith(f"{RAY}://") and address != f"{RAY}://"):
        raise UsageError(f"No engine '{address}'. Known: local, ray, ray://HOST:PORT.")


@contextmanager
def engine_of(address: str = LOCAL, workers: int = 1) -> Iterator[Engine]:
    """Yields the engine of that name: `local`, `ray` (all of this machine's cores) or `ray://HOST:PORT`, a cluster.

    `workers` are the processes of this machine; a cluster has as many as it has. Raises UsageError for another name,
    and where Ray is wanted and not installed.
    """
    check(address)
    if address == LOCAL:
        from hpkb.engine.local import local_engine

        with local_engine(workers) as engine:
            yield engine
    else:
        from hpkb.engine.cluster import ray_engine

        with ray_engine(address.partition("://")[2], workers) as engine:
            yield engine


@contextmanager
def engine_when_needed(address: str, workers: int) -> Iterator[Callable[[], Engine]]:
    """Yields a function that returns the engine, begun at its first call: often there is nothing to do."""
    check(address)
    with ExitStack() as begun:
        yield cache(lambda: begun.enter_context(engine_of(address, workers)))


class Begun(Protocol):
    """How an engine keeps what it has begun; a handle stands for one job."""

    def begin(self, job: Job) -> Any:
        """Returns the handle of a job that is done as soon as there is room for it."""

    def done(self, handles: Sequence[Any], wait: bool) -> set[Any]:
        """Returns those that are done; with `wait`, when there is one at least."""

    def result(self, handle: Any) -> Any:
        """Returns what a job returned, when it is done, or raises what it raised."""


def in_order(begun: Begun, jobs: Iterable[Job], ahead: int) -> Iterator[Any]:
    """Yields the results of jobs in their order.

    At most `ahead` are begun and not done. A long one holds up those behind it only when ten times as many wait for it.
    """
    line: deque[Any] = deque()
    busy: set[Any] = set()
    for job in jobs:
        line.append(begun.begin(job))
        busy.add(line[-1])
        busy -= begun.done([*busy], len(busy) >= ahead)
        while line and (line[0] not in busy or len(line) >= 10 * ahead):
            busy.discard(line[0])
            yield begun.result(line.popleft())
    while line:
        yield begun.result(line.popleft())
