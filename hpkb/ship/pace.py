"""How much a service may ask of its server: a bounded number of requests a second, and none while it is in trouble.

A group has one server and many machines with a service each. Each asks one thing at a time; that bounds how much is
asked at once, but not how often. So three rules hold for a server that is asked over HTTP:

- at most `RATE` requests a second from each service, however many runs it has, beyond a few at once;
- the runs of jobs that go on are shipped the more rarely the more they are and the slower the server answers, in larger
  parts; runs whose jobs have ended come first, since people wait for them;
- a server that does not answer, or answers 429 or 5xx, is left alone by all runs of the service, twice as long each
  time, but for a moment of chance, so that the services of many machines do not come back at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

RATE = 25.0  # requests a second
_AT_ONCE = 50.0  # requests that may come at once after a rest
_SHIPMENTS = 10.0  # shipments a second, of the runs of all jobs that go on
_REST = 10.0  # times what a request takes, between two shipments of a run
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds that a server in trouble is left alone

Client = TypeVar("Client")


class Pace:
    """The pace of one service. `latency` is what the server's requests take, in seconds, the last ones most."""

    def __init__(self, rate: float = RATE, at_once: float = _AT_ONCE) -> None:
        self.latency = 0.0
        self._rate, self._at_once = rate, at_once
        self._tokens, self._counted = at_once, time.monotonic()
        self._pause = 0.0
        self._not_before = 0.0

    def take_turn(self) -> None:
        """Waits until the next request may be made."""
        now = time.monotonic()
        self._tokens = min(self._at_once, self._tokens + (now - self._counted) * self._rate) - 1
        self._counted = now
        if self._tokens < 0:
            time.sleep(-self._tokens / self._rate)

    def took(self, seconds: float) -> None:
        """Takes in how long a request took."""
        self.latency += (seconds - self.latency) / 8

    def period(self, running: int, least: float) -> float:
        """The seconds between two shipments of a run while so many jobs go on, `least` where they are few."""
        return max(least, running / _SHIPMENTS, _REST * self.latency)

    @property
    def resting(self) -> bool:
        """Whether the server was in trouble so lately that nobody should ask it."""
        return time.monotonic() < self._not_before

    def trouble(self) -> None:
        """Takes in that the server did not answer, or asked for patience."""
        self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE) * random.uniform(0.75, 1.25)
        self._not_before = time.monotonic() + self._pause

    def well(self) -> None:
        """Takes in that the server does what it is asked, or that somebody wants it tried at once."""
        self._pause = self._not_before = 0.0


def paced(client: Client, pace: Pace) -> Client:
    """The same client, each of whose calls waits for its turn."""
    return cast(Client, _Paced(client, pace))


class _Paced:
    def __init__(self, client: Any, pace: Pace) -> None:
        self._client, self._pace = client, pace

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._pace.take_turn()
            began = time.monotonic()
            try:
                return method(*arguments, **options)
            finally:
                self._pace.took(time.monotonic() - began)

        return call
