"""One MLflow run that receives records: what is to be sent next, and what is done at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpkb.capture.spool import Points
from hpkb.curve_file import FOLDER, TAG
from hpkb.ship.batch import Batch
from hpkb.ship.curves import Curves
from hpkb.ship.ending import Ending
from hpkb.ship.store import Recorded, Store

PARENT = "hpkb.parent"  # "true" on a run that only stands above those of a job's trainings


class Channel:
    """The way into one MLflow run; raises TrackingError where the store does not take what is sent."""

    def __init__(self, store: Store, run_id: str, recorded: Recorded) -> None:
        self.run_id = run_id
        self.ended = False
        self.batch = Batch.after(recorded)
        self.curves = Curves()
        self._store = store

    def take(self, record: Points | Mapping[str, Any], rank: int) -> None:
        """Puts a record where the next `flush` finds it; of a rank after the first, neither curves nor parameters.

        A process that learns its rank late may have told of them before.
        """
        if rank and (isinstance(record, Points) or record.get("type") in ("params", "split")):
            return
        if isinstance(record, Points):
            for name, sample in self.curves.take(record):
                self.batch.add_sample(name, sample)
        elif record.get("type") != "mlflow_run":
            self.batch.add(record)
        elif record.get("run_id") != self.run_id:
            self.batch.add_tags({"hpkb.mlflow.run_id": record.get("run_id")})  # the script's own run, beside ours

    def flush(self) -> int:
        """Sends what was taken; returns how many points that were."""
        batch, sent = self.batch, len(self.batch.points)
        self._store.log(self.run_id, batch.params, batch.tags, batch.points)
        self._store.log_splits(self.run_id, batch.splits)
        failed = self._store.log_texts(self.run_id, batch.artifacts)
        batch.clear()
        if failed:
            batch.add_tags({"hpkb.artifacts.failed": ", ".join(failed)})  # sent with the next
        return sent

    def keep_curves(self, file: Path) -> bool:
        """Whether the file with the run's whole curves is among its artifacts now, where the knowledge base looks."""
        kept = self._store.log_file(self.run_id, file, FOLDER)
        path = f"{FOLDER}/{file.name}"
        self.batch.add_tags({TAG: path} if kept else {"hpkb.artifacts.failed": path})
        return kept

    def end(self, ending: Ending, losses: Mapping[str, str], begun: float) -> None:
        """Sends the rest and gives the run its end, which is not before it has begun, in seconds since 1970."""
        if PARENT not in self.batch.known_tags:
            self.batch.add_canonical()
        for name, sample in self.curves.end():
            self.batch.add_sample(name, sample)
        dropped = {"hpkb.spool.dropped": str(ending.dropped)} if ending.dropped else {}
        self.batch.add_tags({"hpkb.end.reason": ending.reason, **dropped, **losses})
        self.flush()
        self._store.end(self.run_id, ending.status, int(max(ending.at, begun) * 1000))
        self.ended = True
