"""A thread beside the training that reads data sets, at a low priority and without a hand in the job.

It is there only while there is something to read. It is not known to `threading`, so the job neither sees nor waits
for it; what it has not read by the end is read then, for a stated time. Its calls of torch use one thread: the pool
of the job's own stays the job's.
"""

from __future__ import annotations

import _thread
import collections
import ctypes
import os
import sys
import threading
import time
from typing import Any, Callable, Iterator  # torch has imported it by now

from .session import Session

PATIENCE = 5.0  #: seconds that the end of the job waits for what is still being read
_DEVICE = 0.01  # seconds; a shorter rest waits for a device, a longer one is for the job's sake
_LOWER = 10  # the priority: a tenth of what the training gets where both want the same core


class Reader:
    """Goes through iterators, one after the other; each yields the seconds that it may rest."""

    def __init__(self, live: Session, torch: Any, between: Callable[[], None]) -> None:
        self._live = live
        self._between = between  # called between two pieces of work
        self._torch = torch
        self._waiting: collections.deque[Iterator[float]] = collections.deque()
        self._lock = threading.Lock()
        self._running = False
        self._ended = threading.Event()
        self._stop = False

    @property
    def idle(self) -> bool:
        """Whether nothing is being read."""
        return not self._running

    def add(self, work: Iterator[float]) -> None:
        """Has the thread go through an iterator after those that it was given before."""
        with self._lock:
            self._waiting.append(work)
            if self._running:
                return
            self._running = True
            self._ended.clear()
        _thread.start_new_thread(self._run, ())

    def finish(self, patience: float = PATIENCE) -> None:
        """Reads the rest in the calling thread, at its priority, for `patience` seconds at most; nothing after that."""
        deadline = time.monotonic() + patience
        self._stop = True
        if self._running and not self._ended.wait(patience):
            return
        while self._waiting:
            work = self._waiting.popleft()
            try:
                for rest in work:
                    if time.monotonic() > deadline:
                        return
                    if rest and rest < _DEVICE:
                        time.sleep(rest)
            except Exception as error:
                self._live.failed("a data split", error)

    def _run(self) -> None:
        try:
            _step_back(self._torch)
        except Exception as error:
            self._live.failed("the priority of reading", error)
        while True:
            with self._lock:
                if self._stop or not self._waiting:
                    self._running = False
                    self._ended.set()
                    return
                work = self._waiting.popleft()
            self._go_through(work)
            del work

    def _go_through(self, work: Iterator[float]) -> None:
        """Ends when the work does, or leaves it where it is for the one who stops the thread."""
        try:
            for rest in work:
                self._between()
                if rest:
                    time.sleep(rest)
                if self._stop:
                    self._waiting.appendleft(work)
                    return
        except Exception as error:
            self._live.failed("a data split", error)


def _step_back(torch: Any) -> None:
    """Gives this thread a low priority, and one thread of OpenMP."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _LOWER)
    torch.get_num_threads()  # from here on torch does not set it for this thread any more
    library = _openmp()
    if library is not None:
        library.omp_set_num_threads(1)  # of the calling thread alone; torch's own function is for all threads


def _openmp() -> Any:
    """Returns the OpenMP library that torch has loaded, None where it is not found."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            paths = {line.split(None, 5)[-1].strip() for line in maps if "omp" in line and ".so" in line}
    except OSError:
        return None
    for path in sorted(paths):
        if os.path.basename(path).startswith(("libgomp", "libiomp", "libomp")):
            return ctypes.CDLL(path)
    return None
