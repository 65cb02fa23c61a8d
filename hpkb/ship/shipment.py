"""One job on its way to MLflow: reads its spool files, sends what they hold, and writes down what was acknowledged.

Exactly once: a position is written after the store has acknowledged everything before it. A crash in between sends
those records again, and each of them has the same effect the second time (see `hpkb.ship.store`).

All goes to one MLflow run until a second training begins (see `hpkb.ship.trainings`); then each training has a run of
its own below a parent, which has what belongs to none of them. What a process says before it is known whether it
trains is held back, the position before it too; its parameters wait for the job's end, so that those of a program that
prepares the data do not take the names of the training's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyarrow import RecordBatch

from hpkb import curve_file
from hpkb.capture.spool import Points
from hpkb.capture.spool_reader import SpoolReader
from hpkb.curve_file import TAG
from hpkb.ship import compaction, earlier
from hpkb.ship.batch import as_given
from hpkb.ship.channel import Channel
from hpkb.ship.curves import Curves, write_file
from hpkb.ship.ending import Witness
from hpkb.ship.liveness import writer_alive
from hpkb.ship.rundir import SUPERVISOR, Progress, RunDir
from hpkb.ship.runs import adoptable, of_training, open_child, open_first, open_parent
from hpkb.ship.store import Store
from hpkb.ship.trainings import Trainings

_OF_SURROUNDINGS = ("tags", "artifact")  # records of the supervisor that every run gets
_MOST_HELD = 10_000  # records of a process that may wait for its training

Record = Points | Mapping[str, Any]


@dataclass
class _Held:
    """Records of one file that wait, and the position before the first of them."""

    before: int
    records: list[Record] = field(default_factory=list)


class Shipment:
    """The state of one job that is being shipped; raises TrackingError where the store does not take it."""

    def __init__(self, store: Store, run: RunDir) -> None:
        self._store = store
        self._run = run
        self._readers: dict[str, SpoolReader] = {}
        self._read: dict[str, int] = {}
        self._held: dict[str, _Held] = {}
        self._witness = Witness()
        self._surroundings: list[Mapping[str, Any]] = []  # of the machine and the code: every run has them
        self._own_runs: dict[str, str] = {}  # MLflow runs that scripts have begun themselves, by file
        self._progress, self._common = open_first(store, run)
        self._go_on(self._common)
        self._trainings = Trainings(self._progress.placed)
        self._channels: dict[str, Channel] = {}
        self._read_steps: Counter[str] = Counter()  # of each file; and those delivered
        self._counted = Counter(self._progress.counted)
        self._taking_over = bool(self._progress.runs)
        self._reopen()
        if not self._progress.positions:
            self._introduce(self._common)

    @property
    def run_id(self) -> str:
        """The id of the job's only, or its first training's, MLflow run."""
        return str(self._progress.run_id)

    def advance(self) -> int:
        """Sends every record that has come since; returns how many points were sent."""
        sent = self._flush()  # what an earlier attempt has left
        self._settle()
        for reader in self._all_readers():
            file, before = Path(reader.path).name, reader.position
            for position, record in reader.read():
                channel = self._take(file, before, position, record)
                before = position
                if channel is not None and channel.batch.full:
                    sent += self._flush()
        self._settle()
        if self._taking_over:
            self._remind()
            self._taking_over = False
        sent += self._flush()
        self._end_trainings()
        self._compact()
        return sent

    def finish(self) -> int:
        """Sends the rest, gives each run its end and removes the spool files; returns how many points were sent."""
        sent = self.advance()
        self._trainings.conclude()
        self._settle()
        for file in sorted(self._held, key=lambda file: self._trainings.of(file) is None):
            for record in self._held.pop(file).records:
                self._deliver(file, record)
        sent += self._flush()
        if not self._progress.finished:
            self._keep_whole_curves()
            sent += self._flush()
            self._end_trainings(all_of_them=True)
            ending = self._witness.ending()
            self._common.end(ending, self._damage(), self._run.created_at)
            self._save(replace(self._progress, finished=True, status=ending.status), durable=True)
        self._tidy()
        return sent

    def _all_readers(self) -> Iterator[SpoolReader]:
        """The reader of each spool file; of files that are new those first whose processes began first."""
        new = [spool for spool in self._run.spools() if spool.name not in self._readers]
        for spool in sorted(new, key=_begun):
            self._readers[spool.name] = SpoolReader(str(spool))
        yield from [reader for reader in self._readers.values() if Path(reader.path).exists()]

    def _take(self, file: str, before: int, position: int, record: Record) -> Channel | None:
        """Puts a record on its way, unless it was acknowledged or has to wait; returns the channel that it went to.

        Whatever the store does meanwhile, the record is then in a batch or held.
        """
        self._read[file] = position
        if isinstance(record, Points):
            self._witness.seen(file, record.time)
            self._read_steps[file] += 1
            known = self._read_steps[file] <= self._progress.counted.get(file, 0)
        else:
            self._note(file, record)
            known = record.get("type") == "segment"
        if known or position <= self._progress.positions.get(file, 0):
            return None
        channel = None
        if self._must_wait(file, record):
            self._hold(file, before, record)
        else:
            channel = self._deliver(file, record)
        if not isinstance(record, Points) and record.get("type") in ("training", "end"):
            self._settle()
        return channel

    def _note(self, file: str, record: Mapping[str, Any]) -> None:
        self._witness.note(file, record)
        self._trainings.note(file, record)
        if record.get("type") == "segment":
            self._read_steps[file] += int(record.get("points") or 0)
        if file == SUPERVISOR and record.get("type") in _OF_SURROUNDINGS:
            self._surroundings.append(record)
        elif record.get("type") == "mlflow_run" and adoptable(record, self._store.uri):
            self._own_runs[file] = str(record["run_id"])

    def _hold(self, file: str, before: int, record: Record) -> None:
        held = self._held.setdefault(file, _Held(before))
        held.records.append(record)
        if len(held.records) > _MOST_HELD and self._trainings.waits(file):
            self._trainings.give_up(file)

    def _must_wait(self, file: str, record: Record) -> bool:
        key = self._trainings.of(file)
        if key is not None:
            return key not in self._channels
        if self._trainings.waits(file):
            return True
        if file == SUPERVISOR or isinstance(record, Points):
            return False
        return record.get("type") == "params" and record.get("origin") != "user"

    def _settle(self) -> None:
        """Opens a run for each training that has none yet, and delivers what need not wait any longer."""
        for key in dict.fromkeys(self._trainings.placed.values()):
            if key not in self._channels:
                self._open(key)
        for file, held in list(self._held.items()):
            records, held.records = held.records, []
            for record in records:
                if self._must_wait(file, record):
                    held.records.append(record)
                else:
                    self._deliver(file, record)
            if not held.records:
                del self._held[file]

    def _deliver(self, file: str, record: Record) -> Channel:
        key = self._trainings.of(file)
        channel = self._common if key is None else self._channels[key]
        if isinstance(record, Points):
            self._counted[file] += 1
        channel.take(record, self._witness.ranks.get(file, 0))
        if file == SUPERVISOR and not isinstance(record, Points) and record.get("type") in _OF_SURROUNDINGS:
            for other in self._channels.values():
                if other is not channel:
                    other.take(record, 0)
        return channel

    def _open(self, key: str) -> None:
        """Opens the run of a training; the second training of a job brings a parent into being."""
        channel = self._common
        if self._progress.runs:
            if self._progress.parent is None:
                self._begin_parent()
            channel = self._begin_child(key)
        self._save(replace(self._progress, runs={**self._progress.runs, key: channel.run_id}), durable=True)
        self._channels[key] = channel

    def _begin_parent(self) -> None:
        """Puts a run above the one that was the only one, and gives it what the job itself says from now on."""
        parent = self._go_on(open_parent(self._store, self._run))
        [(key, first)] = self._channels.items()
        self._store.rename(first.run_id, self._name(key, 1))
        first.batch.add_tags(of_training(self._trainings.command(key), parent.run_id))
        parent.batch.add_tags(self._run.settings.tags)
        self._surround(parent)
        self._save(replace(self._progress, parent=parent.run_id), durable=True)
        self._common = parent

    def _begin_child(self, key: str) -> Channel:
        name, command = self._name(key, len(self._progress.runs) + 1), self._trainings.command(key)
        own = self._own_runs.get(f"{key}.spool")
        if own and own not in self._progress.runs.values():
            channel = Channel(self._store, own, self._store.recorded(own))
            channel.batch.add_tags(of_training(command, str(self._progress.parent)))
        else:
            channel = open_child(self._store, self._run, key, name, command, str(self._progress.parent))
        self._introduce(channel)
        self._surround(channel)
        return self._go_on(channel)

    def _go_on(self, channel: Channel) -> Channel:
        """The same run, its curves as far as an earlier shipper has come with them."""
        states = self._progress.curves.get(channel.run_id, {})
        channel.curves = Curves(self._run.settings.full_metrics, states)
        return channel

    def _name(self, key: str, number: int) -> str:
        return f"{self._run.settings.run_name or self._trainings.name(key)}-{number}"

    def _introduce(self, channel: Channel) -> None:
        """Gives a run what a person has said of the job."""
        channel.batch.add_tags(self._run.settings.tags)
        channel.batch.add_params(as_given(self._run.settings.params))

    def _surround(self, channel: Channel) -> None:
        for record in self._surroundings:
            channel.take(record, 0)

    def _reopen(self) -> None:
        """Opens the runs that an earlier shipper has made."""
        for key, run_id in self._progress.runs.items():
            first = run_id == self._common.run_id
            self._channels[key] = self._common if first else self._known(run_id)
        if self._progress.parent is not None:
            self._common = self._known(self._progress.parent)

    def _known(self, run_id: str) -> Channel:
        return self._go_on(Channel(self._store, run_id, self._store.recorded(run_id)))

    def _remind(self) -> None:
        """Says again what an earlier shipper may have come to make a run for, and not to send."""
        parent = self._progress.parent
        for key, channel in self._channels.items() if parent else ():
            channel.batch.add_tags(of_training(self._trainings.command(key), str(parent)))
            self._introduce(channel)
            self._surround(channel)

    def _end_trainings(self, all_of_them: bool = False) -> None:
        """Gives the runs below a parent their ends, as soon as their processes have ended."""
        for key, channel in self._channels.items():
            done = all_of_them or self._trainings.all_ended(key)
            if channel is not self._common and not channel.ended and done:
                channel.end(self._witness.ending_of(self._trainings.files(key)), {}, self._run.created_at)

    def _flush(self) -> int:
        sent = sum(channel.flush() for channel in self._all_channels())
        read = {file: self._held[file].before if file in self._held else at for file, at in self._read.items()}
        positions = dict(self._progress.positions)
        positions.update((file, at) for file, at in read.items() if at > positions.get(file, 0))
        progress = replace(
            self._progress, positions=positions, placed=dict(self._trainings.placed), counted=dict(self._counted)
        )
        if progress != self._progress:
            curves = {channel.run_id: channel.curves.states() for channel in self._all_channels()}
            self._save(replace(progress, curves=curves))
        return sent

    def _all_channels(self) -> list[Channel]:
        return list({id(channel): channel for channel in (self._common, *self._channels.values())}.values())

    def _keep_whole_curves(self) -> None:
        """Puts the whole curves of each run that has them thinned among its artifacts."""
        for channel in self._all_channels():
            if channel.curves.thinned or (TAG in channel.batch.known_tags and self._earlier_of(channel)):
                file = write_file(self._run.path, self._steps_of(channel))
                if channel.keep_curves(file):
                    file.unlink()
                else:
                    file.rename(file.with_name(f"{channel.run_id}-{file.name}"))

    def _earlier_of(self, channel: Channel) -> Path | None:
        """The file with the curves of the earlier attempts of a resumed job, where this is its run."""
        return earlier.curves(self._run.path) if channel.run_id == self.run_id else None

    def _steps_of(self, channel: Channel) -> Iterator[Points | RecordBatch]:
        before = self._earlier_of(channel)
        if before is not None:
            yield from curve_file.read(before)
        for spool in self._run.spools():
            key = self._trainings.of(spool.name)
            own = self._common if key is None else self._channels[key]
            if own is channel and not self._witness.ranks.get(spool.name, 0):
                yield from compaction.contents(spool)

    def _compact(self) -> None:
        """Makes the spool smaller by what the store has; how far that is must survive a loss of power first."""
        positions = self._progress.positions
        ready = [reader for reader in self._readers.values()
                 if compaction.waits(reader, positions.get(Path(reader.path).name, 0))]  # fmt: skip
        if ready:
            self._save(self._progress, durable=True)
        for reader in ready:
            keep_points = not self._run.settings.full_metrics
            compaction.compact(reader, positions.get(Path(reader.path).name, 0), keep_points)

    def _save(self, progress: Progress, durable: bool = False) -> None:
        self._run.save(progress, durable)
        self._progress = progress

    def _damage(self) -> dict[str, str]:
        damage = [reader.damage for reader in self._readers.values() if reader.damage]
        return {"hpkb.spool.damage": "; ".join(damage)} if damage else {}

    def _tidy(self) -> None:
        """Removes the files that were shipped whole and that nobody writes any more; damaged ones are put aside."""
        for spool in self._run.spools():
            reader = self._readers.get(spool.name)
            if reader is None:
                continue
            if reader.damage:
                compaction.put_aside(spool)
            elif spool.name in self._witness.ends or not writer_alive(self._run, spool):
                self._remove(spool.name, reader)

    def _remove(self, file: str, reader: SpoolReader) -> None:
        if next(reader.read(), None) is None and self._progress.positions.get(file, 0) == reader.position:
            compaction.remove(self._run.path / file)


def _begun(spool: Path) -> tuple[bool, float]:
    """What spool files are sorted by: the supervisor's first, then by the start of their processes."""
    if spool.name == SUPERVISOR:
        return False, 0.0
    records = (record for _, record in SpoolReader(str(spool)).read())
    header = next((some for some in records if isinstance(some, dict) and some.get("type") == "header"), {})
    return True, float(header.get("started_at") or 0.0)
