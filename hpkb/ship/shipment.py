"""One job on its way to MLflow: reads its spool files, sends what they hold, and writes down what was acknowledged.

Exactly once: a position is written after the store has acknowledged everything before it. A crash in between sends
those records again, and each of them has the same effect the second time (see `hpkb.ship.store`).

A job may have several MLflow runs (see `hpkb.ship.channels`). What a process says before it is known whether it
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
from hpkb.ship.channel import Channel
from hpkb.ship.channels import Channels
from hpkb.ship.curves import write_file
from hpkb.ship.ending import Witness
from hpkb.ship.liveness import writer_alive
from hpkb.ship.rundir import SUPERVISOR, Progress, RunDir
from hpkb.ship.store import Store

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
        self._run = run
        self._channels = Channels(store, run)
        self._readers: dict[str, SpoolReader] = {}
        self._read: dict[str, int] = {}
        self._held: dict[str, _Held] = {}
        self._witness = Witness()
        self._read_steps: Counter[str] = Counter()  # of each file; and those delivered
        self._counted = Counter(self._progress.counted)

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
            self._read[file] = reader.position  # behind what says nothing by itself, as the names of points to come
        self._settle()
        self._channels.remind()
        sent += self._flush()
        self._channels.end_trainings(self._witness)
        self._compact()
        return sent

    def finish(self) -> int:
        """Sends the rest, gives each run its end and removes the spool files; returns how many points were sent."""
        sent = self.advance()
        self._conclude_streams()
        trainings = self._channels.trainings
        trainings.conclude()
        self._settle()
        for file in sorted(self._held, key=lambda file: trainings.of(file) is None):
            for record in self._held.pop(file).records:
                self._deliver(file, record)
        sent += self._flush()
        if not self._progress.finished:
            self._keep_whole_curves()
            sent += self._flush()
            self._channels.end_trainings(self._witness, all_of_them=True)
            status = self._channels.end(self._witness, self._damage())
            self._channels.save(replace(self._progress, finished=True, status=status), durable=True)
        self._tidy()
        return sent

    @property
    def _progress(self) -> Progress:
        return self._channels.progress

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
        if self._channels.must_wait(file, record):
            self._hold(file, before, record)
        else:
            channel = self._deliver(file, record)
        if not isinstance(record, Points) and record.get("type") in ("training", "end"):
            self._settle()
        return channel

    def _note(self, file: str, record: Mapping[str, Any]) -> None:
        self._witness.note(file, record)
        self._channels.note(file, record)
        if record.get("type") == "segment":
            self._read_steps[file] += int(record.get("points") or 0)

    def _hold(self, file: str, before: int, record: Record) -> None:
        held = self._held.setdefault(file, _Held(before))
        held.records.append(record)
        if len(held.records) > _MOST_HELD and self._channels.trainings.waits(file):
            self._channels.trainings.give_up(file)

    def _settle(self) -> None:
        """Opens a run for each training that has none yet, and delivers what need not wait any longer."""
        self._channels.open_new()
        for file, held in list(self._held.items()):
            records, held.records = held.records, []
            for record in records:
                if self._channels.must_wait(file, record):
                    held.records.append(record)
                else:
                    self._deliver(file, record)
            if not held.records:
                del self._held[file]

    def _deliver(self, file: str, record: Record) -> Channel:
        if isinstance(record, Points):
            self._counted[file] += 1
        return self._channels.deliver(file, record, self._witness.ranks.get(file, 0))

    def _flush(self) -> int:
        sent = sum(channel.flush() for channel in self._channels.all())
        read = {file: self._held[file].before if file in self._held else at for file, at in self._read.items()}
        positions = dict(self._progress.positions)
        positions.update((file, at) for file, at in read.items() if at > positions.get(file, 0))
        placed, counted = dict(self._channels.trainings.placed), dict(self._counted)
        progress = replace(self._progress, positions=positions, placed=placed, counted=counted)
        if progress != self._progress:
            curves = {channel.run_id: channel.curves.states() for channel in self._channels.all()}
            self._channels.save(replace(progress, curves=curves))
        return sent

    def _keep_whole_curves(self) -> None:
        """Puts the whole curves of each run that has them thinned among its artifacts."""
        for channel in self._channels.all():
            if channel.curves.thinned or (TAG in channel.batch.known_tags and self._earlier_of(channel)):
                file = write_file(self._run.path, self._steps_of(channel))
                if channel.keep_curves(file):
                    file.unlink()
                else:
                    file.rename(file.with_name(f"{channel.run_id}-{file.name}"))

    def _earlier_of(self, channel: Channel) -> Path | None:
        """The file with the curves of the earlier attempts of a resumed job, where this is its run."""
        return earlier.curves(self._run.path) if self._channels.is_first(channel) else None

    def _steps_of(self, channel: Channel) -> Iterator[Points | RecordBatch]:
        before = self._earlier_of(channel)
        if before is not None:
            yield from curve_file.read(before)
        for spool in self._run.spools():
            if self._channels.of(spool.name) is channel and not self._witness.ranks.get(spool.name, 0):
                yield from compaction.contents(spool)

    def _compact(self) -> None:
        """Makes the spool smaller by what the store has; how far that is must survive a loss of power first."""
        positions = self._progress.positions
        ready = [reader for reader in self._readers.values()
                 if compaction.waits(reader, positions.get(Path(reader.path).name, 0))]  # fmt: skip
        if ready:
            self._channels.save(self._progress, durable=True)
        for reader in ready:
            keep_points = not self._run.settings.full_metrics
            compaction.compact(reader, positions.get(Path(reader.path).name, 0), keep_points)

    def _conclude_streams(self) -> None:
        """Takes what is left of a record at the end of a stream for damage, where its writer is not there any more."""
        for reader in self._readers.values():
            if self._is_left(Path(reader.path)):
                reader.conclude()

    def _is_left(self, spool: Path) -> bool:
        """Whether nobody writes a spool any more."""
        return spool.name in self._witness.ends or not writer_alive(self._run, spool)

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
            elif self._is_left(spool):
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
