"""Ships run folders into one MLflow store."""

from __future__ import annotations

from pathlib import Path

from hpkb.ship.pace import Pace
from hpkb.ship.rundir import RunDir
from hpkb.ship.shipment import Shipment
from hpkb.ship.store import Store


class Shipper:
    """Sends run folders to one store. The caller holds the lock of each folder. Raises TrackingError.

    After a TrackingError the same call may be repeated: nothing is lost, and nothing is sent twice to any effect.
    """

    def __init__(self, tracking_uri: str, pace: Pace | None = None) -> None:
        self._store = Store(tracking_uri, pace)
        self._shipments: dict[Path, Shipment] = {}

    def ship(self, run: RunDir) -> int:
        """Sends what the folder holds beyond the acknowledged positions; returns how many points that were."""
        return self._shipment(run).advance()

    def finish(self, run: RunDir) -> int:
        """Sends the rest and gives the run its end; returns how many points were sent."""
        sent = self._shipment(run).finish()
        del self._shipments[run.path]
        return sent

    def forget(self, run: RunDir) -> None:
        """Drops what is known of a run, whose lock the caller gives up: another process may go on with it."""
        self._shipments.pop(run.path, None)

    @property
    def answered(self) -> float:
        """When the store last did what it was asked, by the monotonic clock."""
        return self._store.answered

    def _shipment(self, run: RunDir) -> Shipment:
        if run.path not in self._shipments:
            self._shipments[run.path] = Shipment(self._store, run)
        return self._shipments[run.path]
