"""W&B's own folders: `wandb/offline-run-*/run-ID.wandb`, whatever is around them, and those of runs that were online.

- A run's id is its project and W&B's id, `digits/xoeavwfq`. Folders of one id are one run that was resumed, folders of
  one name are copies, of which the largest is read.
- The project is the experiment and the task.
- A run that ended has FINISHED, FAILED (an exit code) or KILLED (interrupted, preempted). One without an end is RUNNING
  while its file changes, and KILLED for the reason "crashed" when that was an hour ago: W&B keeps no other trace.
- Parameters are the configuration, nested values joined with dots.
- Curves are the history; a number that is in the summary only is a point at the last step. System metrics are left out.

A process that is killed may leave a file that does not say whose it is; it is left out and counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hpkb.errors import SourceError
from hpkb.sources import wandb_run
from hpkb.sources.run_files import BATCH, Described, RunFiles, RunFilesSource, curve_batch
from hpkb.sources.wandb_history import History, StepMetrics, step_metrics

_ENDING_BLOCKS = 2  # the end of a run is within them
_CRASHED_AFTER = 3600  # seconds, in which wandb would have written system metrics
_ABANDONED = "abandoned"
_NAMELESS = "W&B files that end before they say whose they are, left out"
_COPIES = "copies of W&B run folders, left out"


class WandbOffline(RunFilesSource):
    """The runs of W&B folders below a folder. Raises SourceError where there are none, and without wandb."""

    kind = "wandb_offline"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._parse = wandb_run.parser()
        self._said: dict[str, wandb_run.Said] = {}
        if not is_wandb(folder):
            raise SourceError(f"No W&B runs in '{folder}': it has no file 'run-ID.wandb'.")

    def find(self) -> Iterator[RunFiles]:
        """Yields the runs; reads the beginning of each file, and the end of those that may have crashed."""
        self._counts.clear()
        self._said.clear()
        by_id: dict[str, list[tuple[Path, Any]]] = {}
        for file in self._files():
            run = wandb_run.header(file, self._parse, self._counts)
            if run is None:
                self._counts[_NAMELESS] += 1
            else:
                by_id.setdefault(f"{_project(run)}/{run.run_id}", []).append((file, run))
        for run_id, members in sorted(by_id.items()):
            files = tuple(file for file, _ in members)
            state = _ABANDONED if self._is_abandoned(files[-1]) else ""
            yield RunFiles(run_id, _project(members[0][1]), files, state=state)

    def describe(self, run: RunFiles) -> Described:
        """Returns what the files say of a run."""
        return wandb_run.describe(self._read(run), run.state == _ABANDONED)

    def points(self, run: RunFiles) -> Iterator[pa.RecordBatch]:
        """Yields the points of the history, and of what is in the summary only."""
        said = self._read(run)
        seen: set[str] = set()
        last_step = 0
        for batch in self._history(run, step_metrics(said.definitions)):
            seen.update(batch.column("metric").unique().to_pylist())
            last_step = max([last_step, *batch.column("step").to_pylist()[-1:]])
            yield batch
        rest = {name: value for name, value in said.summary.items() if name not in seen}
        if rest:
            ended = self.described(run).ended_at
            when = np.full(len(rest), np.nan if ended is None else ended)
            values = np.array([*rest.values()], float)
            yield curve_batch(run.run_id, pa.array([*rest]), np.full(len(rest), last_step), when, values)

    def _history(self, run: RunFiles, steps: StepMetrics) -> Iterator[pa.RecordBatch]:
        history = History(self._parse)
        for file in run.files:
            for record in wandb_run.histories(file, self._counts):
                history.add(record)
                if len(history) >= BATCH:
                    yield history.points(run.run_id, steps)
                    history = History(self._parse)
        if len(history):
            yield history.points(run.run_id, steps)

    def _read(self, run: RunFiles) -> wandb_run.Said:
        if run.run_id not in self._said:
            self._said[run.run_id] = wandb_run.read(run.files, self._parse)
        return self._said[run.run_id]

    def _is_abandoned(self, file: Path) -> bool:
        """Whether nobody writes a file any more that does not say how the run ended."""
        is_old = time.time() - os.stat(file).st_mtime > _CRASHED_AFTER
        return is_old and not wandb_run.has_end(file, self._parse, _ENDING_BLOCKS)

    def _files(self) -> list[Path]:
        """The files, in the order of their folders' names, which begin with the time; of copies the largest."""
        by_name: dict[str, Path] = {}
        for file in sorted(_walk(self._root)):
            name = f"{file.parent.name}/{file.name}"
            self._counts[_COPIES] += name in by_name
            by_name[name] = max(by_name.get(name, file), file, key=lambda path: os.stat(path).st_size)
        return [by_name[name] for name in sorted(by_name, key=lambda name: name.removeprefix("offline-"))]


def is_wandb(folder: Path) -> bool:
    """Returns whether a W&B file lies in the folder or below it."""
    return any(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (
            Path(place, name) for name in names if name.startswith("run-") and name.endswith(".wandb")
        )


def _project(run: Any) -> str:
    return run.project or "uncategorized"  # W&B's name for it
