"""Where work is done that can be split: in this process, in several, or on a Ray cluster.

Whatever the engine, the results of `map` come in the order of the jobs and are the same: a job depends on its arguments
alone, has one thread, and draws from a generator of its own seed. A job that was lost with its process or its machine
is done again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, Protocol

from hpkb.errors import UsageError

LOCAL, RAY = "local", "ray"
Job = tuple[Any, ...]


class Engine(Protocol):
    """Does jobs, several at a time. Both arguments and results must be picklable; a function, found by its name."""

    #: Whether a job may run on another machine, which does not see what this process holds open.
    is_remote: bool
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


def in_order(
    begin: Callable[[Job], Any], result_of: Callable[[Any], Any], jobs: Iterable[Job], ahead: int
) -> Iterator[Any]:
    """Yields the results of jobs in their order, with at most `ahead` of them begun and not yet yielded."""
    begun: deque[Any] = deque()
    for job in jobs:
        begun.append(begin(job))
        if len(begun) >= ahead:
            yield result_of(begun.popleft())
    while begun:
        yield result_of(begun.popleft())
