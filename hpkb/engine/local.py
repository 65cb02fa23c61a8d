"""This machine's engine: one process, or as many as asked for, with nothing to install."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

from joblib import parallel_config

from hpkb.engine import Engine, Job, in_order
from hpkb.engine.one_thread import one_thread
from hpkb.errors import HpkbError

_AHEAD = 3  # jobs a process that are begun and not done
_DEATHS = 3  # of processes, after which a job is given up


class _Here:
    """Does one job after the other in this process, whose forests may use several threads."""

    parallel = 1

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def map(self, function: Callable[..., Any], jobs: Iterable[Job]) -> Iterator[Any]:
        """Yields `function(*job)` in the order of the jobs."""
        for job in jobs:
            with one_thread(), parallel_config("threading", n_jobs=self._threads):
                result = function(*job)
            yield result


class _Processes:
    """Does as many jobs at once as there are processes, started when there is a second job."""

    def __init__(self, processes: int) -> None:
        self.parallel = processes
        self._here = _Here(processes)
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[..., Any], jobs: Iterable[Job]) -> Iterator[Any]:
        """Yields `function(*job)` in the order of the jobs."""
        waiting = iter(jobs)
        first = [job for _, job in zip(range(2), waiting, strict=False)]
        if len(first) < 2:
            yield from self._here.map(function, first)
        else:
            yield from in_order(_Submitted(self, function), chain(first, waiting), _AHEAD * self.parallel)

    def submit(self, function: Callable[..., Any], job: Job) -> Future[Any]:
        """Gives a job to the processes, to new ones where one of them died and took the others with it."""
        try:
            return self._started().submit(_do, function, *job)
        except BrokenProcessPool:
            self.close()
            return self._started().submit(_do, function, *job)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")  # fork would copy DuckDB's threads half alive
            self._pool = ProcessPoolExecutor(self.parallel, spawn)
        return self._pool

    def close(self) -> None:
        """Ends the processes, without the jobs that nobody waits for any more."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


@dataclass(eq=False)
class _Task:
    """A job and what became of it last; `deaths` are those of processes that had it, or another job at that time."""

    job: Job
    future: Future[Any]
    deaths: int = 0


class _Submitted:
    """Jobs of one function, given to the processes."""

    def __init__(self, processes: _Processes, function: Callable[..., Any]) -> None:
        self._processes, self._function = processes, function

    def begin(self, job: Job) -> _Task:
        return _Task(job, self._processes.submit(self._function, job))

    def done(self, handles: Sequence[_Task], wait: bool) -> set[Any]:
        futures.wait([task.future for task in handles], None if wait else 0, futures.FIRST_COMPLETED)
        return {task for task in handles if task.future.done()}

    def result(self, handle: _Task) -> Any:
        while True:
            try:
                return handle.future.result()
            except BrokenProcessPool:
                handle.deaths += 1
                if handle.deaths > _DEATHS:
                    raise HpkbError(
                        f"A process was killed {handle.deaths} times in a row at its work; memory may be short. "
                        "Try: --workers 1"
                    ) from None
                handle.future = self._processes.submit(self._function, handle.job)


@contextmanager
def local_engine(workers: int) -> Iterator[Engine]:
    """Yields the engine of this machine with that many processes."""
    if workers <= 1:
        yield _Here(workers)
        return
    processes = _Processes(workers)
    try:
        yield processes
    finally:
        processes.close()


def _do(function: Callable[..., Any], *job: Any) -> Any:
    with one_thread():
        return function(*job)
