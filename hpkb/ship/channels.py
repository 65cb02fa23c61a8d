"""The MLflow runs of one job, and which of them what a process says belongs to.

All goes to one MLflow run until a second training begins (see `hpkb.ship.trainings`); then each training has a run of
its own below a parent, which has what belongs to none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpkb.capture.spool import Points
from hpkb.ship.batch import as_given
from hpkb.ship.channel import Channel
from hpkb.ship.curves import Curves
from hpkb.ship.ending import Witness
from hpkb.ship.rundir import SUPERVISOR, Progress, RunDir
from hpkb.ship.runs import adoptable, of_training, open_child, open_first, open_parent
from hpkb.ship.store import Store
from hpkb.ship.trainings import Trainings

_OF_SURROUNDINGS = ("tags", "artifact")  # records of the supervisor that every run gets


class Channels:
    """The ways into the MLflow runs of one job; raises TrackingError where the store does not take what is sent.

    `progress` is how far the job has come, as it was last written down.
    """

    def __init__(self, store: Store, run: RunDir) -> None:
        self._store = store
        self._run = run
        self._surroundings: list[Mapping[str, Any]] = []  # of the machine and the code: every run has them
        self._own_runs: dict[str, str] = {}  # MLflow runs that scripts have begun themselves, by file
        self._of_trainings: dict[str, Channel] = {}
        self.progress, self._common = open_first(store, run)
        self._go_on(self._common)
        self.trainings = Trainings(self.progress.placed)
        self._taken_over = bool(self.progress.runs)
        self._reopen()
        if not self.progress.positions:
            self._introduce(self._common)

    def save(self, progress: Progress, durable: bool = False) -> None:
        """Writes down how far the job has come; raises OSError."""
        self._run.save(progress, durable)
        self.progress = progress

    def all(self) -> list[Channel]:
        """Every run of the job once, the one for what belongs to no training first."""
        return list({id(channel): channel for channel in (self._common, *self._of_trainings.values())}.values())

    def of(self, file: str) -> Channel:
        """The run that the file's process speaks for."""
        key = self.trainings.of(file)
        return self._common if key is None else self._of_trainings[key]

    def is_first(self, channel: Channel) -> bool:
        """Whether this is the job's only, or its first training's, run."""
        return channel.run_id == self.progress.run_id

    def note(self, file: str, record: Mapping[str, Any]) -> None:
        """Takes in a record that is no metric point."""
        self.trainings.note(file, record)
        if file == SUPERVISOR and record.get("type") in _OF_SURROUNDINGS:
            self._surroundings.append(record)
        elif record.get("type") == "mlflow_run" and adoptable(record, self._store.uri):
            self._own_runs[file] = str(record["run_id"])

    def must_wait(self, file: str, record: Points | Mapping[str, Any]) -> bool:
        """Whether it is not known yet, or not decided, to which run a record is to go."""
        key = self.trainings.of(file)
        if key is not None:
            return key not in self._of_trainings
        if self.trainings.waits(file):
            return True
        if file == SUPERVISOR or isinstance(record, Points):
            return False
        return record.get("type") == "params" and record.get("origin") != "user"

    def deliver(self, file: str, record: Points | Mapping[str, Any], rank: int) -> Channel:
        """Gives a record to the run that it belongs to, and returns that; what surrounds all runs goes to all."""
        channel = self.of(file)
        channel.take(record, rank)
        if file == SUPERVISOR and not isinstance(record, Points) and record.get("type") in _OF_SURROUNDINGS:
            for other in self._of_trainings.values():
                if other is not channel:
                    other.take(record, 0)
        return channel

    def open_new(self) -> None:
        """Opens a run for each training that has none; the second training of a job brings a parent into being."""
        for key in dict.fromkeys(self.trainings.placed.values()):
            if key not in self._of_trainings:
                self._open(key)

    def remind(self) -> None:
        """Says once again what an earlier shipper may have come to make a run for, and not to send."""
        parent = self.progress.parent
        for key, channel in self._of_trainings.items() if parent and self._taken_over else ():
            channel.batch.add_tags(of_training(self.trainings.command(key), str(parent)))
            self._introduce(channel)
            self._surround(channel)
        self._taken_over = False

    def end_trainings(self, witness: Witness, all_of_them: bool = False) -> None:
        """Gives the runs below a parent their ends, as soon as their processes have ended."""
        for key, channel in self._of_trainings.items():
            done = all_of_them or self.trainings.all_ended(key)
            if channel is not self._common and not channel.ended and done:
                channel.end(witness.ending_of(self.trainings.files(key)), {}, self._run.created_at)

    def end(self, witness: Witness, losses: Mapping[str, str]) -> str:
        """Gives the job's run, or the parent, its end; returns the status."""
        ending = witness.ending()
        self._common.end(ending, losses, self._run.created_at)
        return ending.status

    def _open(self, key: str) -> None:
        channel = self._common
        if self.progress.runs:
            if self.progress.parent is None:
                self._begin_parent()
            channel = self._begin_child(key)
        self.save(replace(self.progress, runs={**self.progress.runs, key: channel.run_id}), durable=True)
        self._of_trainings[key] = channel

    def _begin_parent(self) -> None:
        """Puts a run above the one that was the only one, and gives it what the job itself says from now on."""
        parent = self._go_on(open_parent(self._store, self._run))
        [(key, first)] = self._of_trainings.items()
        self._store.rename(first.run_id, self._name(key, 1))
        first.batch.add_tags(of_training(self.trainings.command(key), parent.run_id))
        parent.batch.add_tags(self._run.settings.tags)
        self._surround(parent)
        self.save(replace(self.progress, parent=parent.run_id), durable=True)
        self._common = parent

    def _begin_child(self, key: str) -> Channel:
        name, command = self._name(key, len(self.progress.runs) + 1), self.trainings.command(key)
        own = self._own_runs.get(f"{key}.spool")
        if own and own not in self.progress.runs.values():
            channel = Channel(self._store, own, self._store.recorded(own))
            channel.batch.add_tags(of_training(command, str(self.progress.parent)))
        else:
            channel = open_child(self._store, self._run, key, name, command, str(self.progress.parent))
        self._introduce(channel)
        self._surround(channel)
        return self._go_on(channel)

    def _go_on(self, channel: Channel) -> Channel:
        """The same run, its curves as far as an earlier shipper has come with them."""
        states = self.progress.curves.get(channel.run_id, {})
        channel.curves = Curves(self._run.settings.full_metrics, states)
        return channel

    def _name(self, key: str, number: int) -> str:
        return f"{self._run.settings.run_name or self.trainings.name(key)}-{number}"

    def _introduce(self, channel: Channel) -> None:
        """Gives a run what a person has said of the job."""
        channel.batch.add_tags(self._run.settings.tags)
        channel.batch.add_params(as_given(self._run.settings.params))

    def _surround(self, channel: Channel) -> None:
        for record in self._surroundings:
            channel.take(record, 0)

    def _reopen(self) -> None:
        """Opens the runs that an earlier shipper has made."""
        for key, run_id in self.progress.runs.items():
            first = run_id == self._common.run_id
            self._of_trainings[key] = self._common if first else self._known(run_id)
        if self.progress.parent is not None:
            self._common = self._known(self.progress.parent)

    def _known(self, run_id: str) -> Channel:
        return self._go_on(Channel(self._store, run_id, self._store.recorded(run_id)))
