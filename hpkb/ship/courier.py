"""Ships one run for as long as its job lives, and stays calm when the store does not."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hpkb.errors import TrackingError
from hpkb.ship.rundir import RunDir

if TYPE_CHECKING:
    from hpkb.ship.shipper import Shipper

_FIRST_PAUSE = 0.5  # seconds after the first failure; doubled with each further one
_LONGEST_PAUSE = 30.0


class Courier:
    """Carries one run to its store. Nothing here raises for a store that is away: `error` then says why.

    MLflow is imported with the first attempt, so that making a Courier costs nothing.
    """

    def __init__(self, run: RunDir, tracking_uri: str) -> None:
        self.points = 0
        self.error: TrackingError | None = None
        self._run = run
        self._uri = tracking_uri
        self._shipper: Shipper | None = None
        self._opening = False
        self._pause = 0.0
        self._not_before = 0.0

    @property
    def run_id(self) -> str | None:
        """The id of the MLflow run, of the parent where there are several; None where there is none yet."""
        progress = self._run.progress()
        return (progress.parent or progress.run_id) if progress else None

    def open(self) -> None:
        """Imports MLflow and opens the store, which may have to be made first."""
        self._attempt(lambda shipper: 0)

    def ship(self) -> None:
        """Sends what there is, unless the store failed a moment ago."""
        if time.monotonic() >= self._not_before:
            self._attempt(lambda shipper: shipper.ship(self._run))

    def finish(self, patience: float) -> bool:
        """Whether the whole run, and its end, is in the store; tries until that was silent for `patience` seconds."""
        started = time.monotonic()
        while not self._attempt(lambda shipper: shipper.finish(self._run)):
            pause = min(self._pause, 2.0)
            if self.silent_since(started) + pause >= patience or not self._run.path.is_dir():
                return False  # a folder that somebody deleted has nothing left to ship
            time.sleep(pause)
        return True

    def silent_since(self, start: float) -> float:
        """For how many seconds since `start` (of the monotonic clock) the store has not answered.

        While MLflow is imported and a store is made, nobody has been asked yet.
        """
        if self._opening:
            return 0.0
        answered = self._shipper.answered if self._shipper else start
        return time.monotonic() - max(start, answered)

    def _attempt(self, work: Callable[[Shipper], int]) -> bool:
        try:
            shipper = self._opened()
            self.points += work(shipper)
        except TrackingError as error:
            self.error = error
            self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE) * random.uniform(0.75, 1.25)
            self._not_before = time.monotonic() + self._pause
            return False
        self.error, self._pause = None, 0.0
        return True

    def _opened(self) -> Shipper:
        if self._shipper is None:
            self._opening = True
            try:
                from hpkb.ship.shipper import Shipper

                self._shipper = Shipper(self._uri)
            except ImportError as error:
                raise TrackingError(f"MLflow cannot be imported ({error}). Try: pip install mlflow-skinny") from error
            finally:
                self._opening = False
        return self._shipper
