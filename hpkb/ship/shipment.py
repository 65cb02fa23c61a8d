"""One run on its way to MLflow: reads its spool files, sends what they hold, and writes down what was acknowledged.

Exactly once: a position is written after the store has acknowledged everything before it. A crash in between sends
those records again, and each of them has the same effect the second time (see `hpkb.ship.store`).
"""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Mapping
from typing import Any

from hpkb.capture.spool import SCHEMA, Points, SpoolReader
from hpkb.ship.batch import Batch, as_given
from hpkb.ship.ending import Witness
from hpkb.ship.liveness import writer_alive
from hpkb.ship.rundir import Progress, RunDir, RunSettings
from hpkb.ship.store import Recorded, Store

RUN_KEY = "hpkb.run"  # the run folder's name: how a run is found again whose id was not written down in time


class Shipment:
    """The state of one run that is being shipped; raises TrackingError where the store does not take it."""

    def __init__(self, store: Store, run: RunDir) -> None:
        self._store = store
        self._run = run
        self._readers: dict[str, SpoolReader] = {}
        self._witness = Witness()
        self._progress, recorded = self._begun()
        self._batch = Batch.after(recorded)
        if not self._progress.positions:
            self._batch.add_tags(run.settings.tags)
            self._batch.add_params(as_given(run.settings.params))

    @property
    def run_id(self) -> str:
        """The id of the MLflow run."""
        return str(self._progress.run_id)

    def advance(self) -> int:
        """Sends every record that has come since; returns how many points were sent."""
        sent = self._flush()  # what an earlier attempt has left
        for spool in self._run.spools():
            reader = self._readers.setdefault(spool.name, SpoolReader(str(spool)))
            for position, record in reader.read():
                self._take(spool.name, position, record)
                if self._batch.full:
                    sent += self._flush()
        return sent + self._flush()

    def finish(self) -> int:
        """Sends the rest, gives the run its end and removes the spool files; returns how many points were sent."""
        sent = self.advance()
        if not self._progress.finished:
            ending = self._witness.ending()
            self._batch.add_canonical()
            self._batch.add_tags({"hpkb.end.reason": ending.reason, **self._losses(ending.dropped)})
            self._flush()
            self._store.end(self.run_id, ending.status, int((ending.at or self._run.created_at) * 1000))
            self._save(Progress(self.run_id, self._progress.positions, finished=True), durable=True)
        self._tidy()
        return sent

    def _begun(self) -> tuple[Progress, Recorded]:
        progress = self._run.progress()
        if progress is not None and progress.run_id is not None:
            return progress, self._store.recorded(progress.run_id)
        experiment = self._store.experiment(self._run.settings.experiment)
        run_id, tags = None, _first_tags(self._run.settings, self._run.path.name)
        if progress is None:
            self._run.save(Progress(), durable=True)  # from here on a run may exist whose id we do not know
        else:
            run_id = self._store.find_run(experiment, RUN_KEY, self._run.path.name)
        recorded = self._store.recorded(run_id) if run_id else Recorded({}, tags)
        if run_id is None:
            started = int(self._run.created_at * 1000)
            run_id = self._store.create_run(experiment, self._run.settings.run_name, started, tags)
        progress = Progress(run_id)
        self._run.save(progress, durable=True)
        return progress, recorded

    def _take(self, file: str, position: int, record: Points | Mapping[str, Any]) -> None:
        new = position > self._progress.positions.get(file, 0)
        if isinstance(record, Points):
            self._witness.seen(record.time)
            if new:
                self._batch.add_points(record, self._witness.ranks.get(file, 0))
        else:
            self._witness.note(file, record)
            if new:
                self._batch.add(record)
        self._batch.positions[file] = position

    def _flush(self) -> int:
        batch, sent = self._batch, len(self._batch.points)
        self._store.log(self.run_id, batch.params, batch.tags, batch.points)
        self._store.log_splits(self.run_id, batch.splits)
        positions = dict(self._progress.positions)
        positions.update((file, at) for file, at in batch.positions.items() if at > positions.get(file, 0))
        if positions != self._progress.positions:
            self._save(Progress(self.run_id, positions, self._progress.finished))
        batch.clear()
        return sent

    def _save(self, progress: Progress, durable: bool = False) -> None:
        self._run.save(progress, durable)
        self._progress = progress

    def _losses(self, dropped: int) -> dict[str, str]:
        damage = [reader.damage for reader in self._readers.values() if reader.damage]
        return ({"hpkb.spool.dropped": str(dropped)} if dropped else {}) | (
            {"hpkb.spool.damage": "; ".join(damage)} if damage else {}
        )

    def _tidy(self) -> None:
        """Removes the files that were shipped whole and that nobody writes any more; damaged ones are put aside."""
        for spool in self._run.spools():
            reader = self._readers.get(spool.name)
            if reader is None:
                continue
            if reader.damage:
                spool.rename(spool.with_name(f"{spool.name}.damaged"))
            elif spool.name in self._witness.ends or not writer_alive(self._run, spool):
                self._remove(spool.name, reader)

    def _remove(self, file: str, reader: SpoolReader) -> None:
        if next(reader.read(), None) is None and self._progress.positions.get(file, 0) == reader.position:
            (self._run.path / file).unlink()


def _first_tags(settings: RunSettings, key: str) -> dict[str, str]:
    """The tags that a run is created with."""
    command = settings.command
    script = next((part for part in command if part.endswith((".py", ".sh", ".ipynb"))), command[0] if command else "")
    tags = {RUN_KEY: key, "hpkb.schema": str(SCHEMA), "mlflow.user": _user(), "mlflow.source.type": "LOCAL"}
    if command:
        tags |= {"mlflow.source.name": script, "hpkb.command": shlex.join(command)}
    if settings.task:
        tags["hpkb.task"] = settings.task
    return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
