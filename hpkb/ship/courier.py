"""Ships one run for as long as its job lives, and stays calm when the store does not."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hpkb.errors import TrackingError
from hpkb.ship.rundir import RunDir

if TYPE_CHECKING:
    from hpkb.ship.pace import Pace
    from hpkb.ship.shipper import Shipper

_FIRST_PAUSE = 0.5  # seconds after the first failure; doubled with each further one
_LONGEST_PAUSE = 30.0


class Courier:
    """Carries one run to its store. Nothing here raises for a store that is away: `error` then says why.

    """

    def __init__(self, run: RunDir, opened: Callable[[], Shipper]) -> None:
        """`opened` gives the shipper of the run's store, which is opened with the first attempt."""
        self.error: TrackingError | None = None
        self.attempts = 0
        self._run = run
        self._opened = opened
        self._pause = 0.0
        self._not_before = 0.0

    @property
    def resting(self) -> bool:
        """Whether the store failed so lately that the next attempt has to wait."""
        return time.monotonic() < self._not_before

    def retry(self) -> None:
        """Makes the next attempt at once, however often the store has failed."""
        self._pause = self._not_before = 0.0

    def ship(self) -> None:
        """Sends what there is, unless the store failed a moment ago."""
        if not self.resting:
            self._attempt(lambda shipper: shipper.ship(self._run))

    def deliver(self) -> bool:
        """Whether the whole run, and its end, is in the store now; tries unless the store failed a moment ago."""
        return not self.resting and self._attempt(lambda shipper: shipper.finish(self._run))

    def _attempt(self, work: Callable[[Shipper], int]) -> bool:
        self.attempts += 1
        try:
            work(self._opened())
        except TrackingError as error:
            self.error = error
            self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE) * random.uniform(0.75, 1.25)
            self._not_before = time.monotonic() + self._pause
            return False
        self.error, self._pause = None, 0.0
        return True


def open_shipper(tracking_uri: str, pace: Pace | None = None) -> Shipper:
    """The shipper of a store, which is made where there is none; raises TrackingError. Imports MLflow.

    A server is asked no faster than `pace` allows.
    """
    try:
        from hpkb.ship.shipper import Shipper
    except ImportError as error:
        raise TrackingError(f"MLflow cannot be imported ({error}). Try: pip install mlflow-skinny") from error
    return Shipper(tracking_uri, pace)
