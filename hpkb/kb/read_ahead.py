"""Batches read while those before are still being put away."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

T = TypeVar("T")


@contextmanager
def read_ahead(items: Iterator[T], waiting: int) -> Iterator[Iterator[T]]:
    """Yields an iterator over the same items, which another thread fetches before they are asked for.

    At most `waiting` of them are fetched and not yet asked for.

    Where fetching raises, the iterator ends with that exception, and so does the context, whatever the body made of
    it. When the context ends, nothing more is fetched, and the thread is gone.
    """
    ahead = _Ahead(items, waiting)
    ahead.start()
    try:
        yield ahead.items()
    except Exception:
        if ahead.error:
            raise ahead.error from None
        raise
    finally:
        ahead.stop()


class _Ahead(Generic[T]):
    """A thread that fetches; `None` in the queue is the end."""

    def __init__(self, items: Iterator[T], waiting: int) -> None:
        self.error: BaseException | None = None
        self._items = items
        self._waiting: queue.Queue[tuple[T] | None] = queue.Queue(waiting)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fetch, name="read-ahead", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def items(self) -> Iterator[T]:
        while (item := self._waiting.get()) is not None:
            yield item[0]
        if self.error:
            raise self.error

    def stop(self) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            with suppress(queue.Empty):  # it may stand before a full queue
                self._waiting.get_nowait()
            self._thread.join(0.02)

    def _fetch(self) -> None:
        try:
            for item in self._items:
                self._waiting.put((item,))
                if self._stopped.is_set():
                    break
        except BaseException as error:  # it is raised in the thread that asks
            self.error = error
        self._waiting.put(None)
