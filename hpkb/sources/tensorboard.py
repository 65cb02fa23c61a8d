"""TensorBoard's folders: a run a folder with event files (`tensorboard_folders` names the exceptions).

- A run's name is its path; its experiment, which is its task, is the path of the folder above it.
- A run's id is a digest of its folder's name and of its first event file's, which has time, host and process: the same
  wherever the folder is moved. A second folder with the same files is a copy and left out.
- Parameters are those of the HParams plugin, and so is the status: FINISHED, FAILED, and RUNNING where a session began
  and no end is recorded. TensorBoard says of no other run whether it ended: those are FINISHED.
- Curves are the scalars, of all files in the order of time. What a restarted run overwrites (`purge_step`) is left out,
  as TensorBoard does; other points of one step all stay.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpkb.errors import SourceError
from hpkb.sources import tensorboard_session
from hpkb.sources.event_records import checksum, records
from hpkb.sources.event_scalars import Scalars
from hpkb.sources.run_files import BATCH, Described, RunFiles, RunFilesSource
from hpkb.sources.tensorboard_folders import Part, event_files, runs_in

_COPIES = "copies of TensorBoard runs, left out"
_VOID = "points that a restarted run replaced, left out"
_FAILURE, _RUNNING = 2, 3  # tensorboard.hparams.Status


class TensorBoard(RunFilesSource):
    """The runs of a TensorBoard folder. Raises SourceError where there are none, and without tensorboard."""

    kind = "tensorboard"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._crc, self._event = checksum(), _parser()
        self._parts: dict[str, list[Part]] = {}
        self._sessions: dict[str, tensorboard_session.Session] = {}
        if not is_tensorboard(folder):
            raise SourceError(f"No TensorBoard runs in '{folder}': it has no event file.")

    def find(self) -> Iterator[RunFiles]:
        """Yields the runs; reads the beginnings of files only."""
        self._counts.clear()
        self._sessions.clear()
        self._parts.clear()
        sizes: dict[str, list[int]] = {}
        for folder, parts in sorted(runs_in(self._root, self._first_tag).items()):
            files = tuple(file for part in parts for file in part.files)
            run_id, size = _digest(folder.name, files[0].name), [os.stat(file).st_size for file in files]
            if sizes.get(run_id) == size:
                self._counts[_COPIES] += 1
                continue
            if run_id in sizes:
                run_id = _digest(str(folder.relative_to(self._root)), files[0].name)
            sizes[run_id], self._parts[run_id] = size, parts
            yield RunFiles(run_id, self._experiment(folder), files, self._name(folder))

    def describe(self, run: RunFiles) -> Described:
        """Returns what the event files say of a run."""
        session = self._session(run)
        status = {_FAILURE: "FAILED", _RUNNING: "RUNNING"}.get(session.status or 0, "FINISHED")
        if session.has_started and session.status is None:
            status = "RUNNING"
        ended = None if status == "RUNNING" else session.last_time
        return Described(run.name, status, session.first_time, ended, None, session.hparams)

    def points(self, run: RunFiles) -> Iterator[pa.RecordBatch]:
        """Yields the scalars of a run."""
        restarts = self._session(run).restarts
        plugins: dict[str, str] = {}
        scalars, number = Scalars(plugins), 0
        for part in self._parts[run.run_id]:
            for file in part.files:
                for record in records(file, self._crc, self._counts):
                    number += 1
                    scalars.add(self._event(record), number, part.metric)
                    if len(scalars) >= BATCH:
                        yield self._valid(scalars, run, restarts)
                        scalars = Scalars(plugins)
        if len(scalars):
            yield self._valid(scalars, run, restarts)

    def _valid(self, scalars: Scalars, run: RunFiles, restarts: list[tuple[int, int]]) -> pa.RecordBatch:
        points, void = scalars.points(run.run_id, restarts)
        self._counts[_VOID] += void
        return points

    def _session(self, run: RunFiles) -> tensorboard_session.Session:
        if run.run_id not in self._sessions:
            self._sessions[run.run_id] = tensorboard_session.read(run.files, self._crc, self._event)
        return self._sessions[run.run_id]

    def _first_tag(self, file: Path) -> str | None:
        events = (self._event(record) for record in records(file, self._crc, Counter()))
        return next((summary.tag for event in events for summary in event.summary.value), None)

    def _experiment(self, folder: Path) -> str:
        return self._root.name if folder == self._root else str(folder.parent.relative_to(self._root.parent))

    def _name(self, folder: Path) -> str:
        return folder.name if folder == self._root else str(folder.relative_to(self._root))


def is_tensorboard(folder: Path) -> bool:
    """Returns whether an event file lies in the folder or below it."""
    return any(event_files(folder))


def _parser() -> Any:
    """What turns a record's bytes into TensorBoard's own message."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError as error:
        what_next = "Try: pip install 'hpkb[tensorboard]'"
        raise SourceError(f"Event files cannot be read without tensorboard ({error}). {what_next}") from None
    return Event.FromString


def _digest(folder: str, file: str) -> str:
    return hashlib.blake2b(f"{folder}/{file}".encode(), digest_size=8).hexdigest()
