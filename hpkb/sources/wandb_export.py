"""Runs of W&B that somebody wrote to files with `wandb.Api`. Accepted are, and recognised by their names:

A folder a run, at any depth, with its settings and its history or summary:

- `config.json` or `config.yaml`: `run.config`, or W&B's own `{"lr": {"value": 0.1}}`;
- `history.jsonl`, `history.json` (a list), `history.csv` or `history.parquet`: `run.scan_history()` or `run.history()`;
- `wandb-summary.json` or `summary.json`: `run.summary`;
- `wandb-metadata.json`, `metadata.json` or `run.json`: `id`, `name`, `project`, `state`, `created_at` where they are
  known; `files/` of a run that was online has one of these.

One file with a run a row: `.csv`, `.json` (a list) or `.jsonl` with the columns `config` and `summary`, as W&B's
documentation writes it (pandas puts the two as Python's dictionaries into a CSV), and perhaps `id`, `name`, `project`,
`state`, `created_at` and `history`. A table with a column a setting is a table for `hpkb.sources.table`.

- A run's id is its project and its id, else its folder's name or the row's number; as in W&B's own folders, so that a
  run is one run whichever of the two it comes from. The project, else the name of what was exported, is the task.
- The status is what `state` says, else FINISHED.
- Text "NaN" and "Infinity", which W&B's interface gives, are values. A NaN that pandas wrote is a gap: it writes the
  same for a metric that was not logged. Where the summary's number is NaN or infinite, it stands at the last step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hpkb.errors import SourceError
from hpkb.sources.nested import flattened
from hpkb.sources.run_files import BATCH, Described, RunFiles, RunFilesSource, curve_batch
from hpkb.sources.wandb_export_files import (
    Exported,
    is_run_table,
    number,
    run_folders,
    runs_of_folder,
    runs_of_table,
)
from hpkb.sources.wandb_states import of_state

_DAMAGED = "files of W&B exports that could not be read, left out"
_DOUBLE = "rows of W&B exports with an id that another row has, left out"
_FACTS = {
    "hpkb.hw.gpu.name": "gpu", "hpkb.hw.gpu.count": "gpu_count", "hpkb.hw.cpu.cores": "cpu_count_logical",
    "hpkb.env.python": "python", "hpkb.env.cuda": "cudaVersion", "hpkb.code.script": "codePath",
}  # fmt: skip


class WandbExport(RunFilesSource):
    """The runs of a W&B export. Raises SourceError where there are none."""

    kind = "wandb_export"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._exported: dict[str, Exported] = {}
        if not is_export(path):
            raise SourceError(
                f"No W&B export at '{path}': no folder with a config and a history, no table of runs."
            )

    def find(self) -> Iterator[RunFiles]:
        """Yields the runs; of a folder a run by its files, of a table by what its row says."""
        self._counts.clear()
        self._exported.clear()
        for run in runs_of_folder(self._root) if self._root.is_dir() else runs_of_table(self._root):
            self._counts[_DAMAGED] += run.damaged_files
            project = str(run.meta.get("project") or self._root.name.partition(".")[0])
            run_id = f"{project}/{run.id}"
            if run_id in self._exported:
                self._counts[_DOUBLE] += 1
                continue
            self._exported[run_id] = run
            yield RunFiles(run_id, project, run.files, run.name, "" if run.files else _digest(run))

    def describe(self, run: RunFiles) -> Described:
        """Returns what the export says of a run."""
        exported = self._exported[run.run_id]
        status, reason = of_state(str(exported.meta.get("state") or "finished"))
        started = _seconds(exported.meta.get("created_at") or exported.meta.get("startedAt"))
        ended = number(exported.summary.get("_timestamp")) if status != "RUNNING" else None
        config = {key: value for key, value in exported.config.items() if not str(key).startswith("_")}
        return Described(
            run.name, status, started, ended, reason, flattened(config), _hardware(exported.meta)
        )

    def points(self, run: RunFiles) -> Iterator[pa.RecordBatch]:
        """Yields the history, and the summary's numbers where the history has not the metric, or ends before a NaN."""
        exported = self._exported[run.run_id]
        last_step = 0
        seen: set[str] = set()
        rows = enumerate(exported.history())
        while some := list(islice(rows, BATCH // 10)):
            points = [point for index, row in some for point in _points(index, row)]
            seen.update(metric for metric, *_ in points)
            last_step = max([last_step, *(step for _, step, _, _ in points)])
            yield _batch(run.run_id, points)
        self._counts[_DAMAGED] += exported.damaged_history
        summary = {str(key): number(value, gaps=False) for key, value in exported.summary.items()}
        ended = self.described(run).ended_at
        rest = [
            (metric, last_step, np.nan if ended is None else ended, value)
            for metric, value in summary.items()
            if value is not None
            and not metric.startswith("_")
            and (metric not in seen or not np.isfinite(value))
        ]
        yield _batch(run.run_id, rest)


def is_export(path: Path) -> bool:
    """Returns whether a file is a table of W&B's runs, or a folder has folders of such runs."""
    return any(run_folders(path)) if path.is_dir() else is_run_table(path)


def _points(index: int, row: Mapping[str, Any]) -> Iterator[tuple[str, int, float, float]]:
    """Metric, step, time and value of a row of the history; a row without a step has its number."""
    given, time = number(row.get("_step")), number(row.get("_timestamp"))
    step = index if given is None else int(given)
    for name, value in row.items():
        if name and not name.startswith("_") and (found := number(value)) is not None:
            yield name, step, np.nan if time is None else time, found


def _batch(run_id: str, points: list[tuple[str, int, float, float]]) -> pa.RecordBatch:
    metrics, steps, times, values = zip(*points, strict=True) if points else ((), (), (), ())
    names = pa.array(metrics, pa.string())
    return curve_batch(
        run_id, names, np.array(steps, np.int64), np.array(times, float), np.array(values, float)
    )


def _digest(run: Exported) -> str:
    said = repr((run.meta, run.config, run.summary, list(run.history())))
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def _seconds(value: Any) -> float | None:
    """A time as W&B writes it, in seconds: ISO 8601, of UTC where it does not say."""
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        return number(value)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _hardware(meta: Mapping[str, Any]) -> dict[str, str]:
    commit = meta.get("git", {}).get("commit") if isinstance(meta.get("git"), dict) else None
    found = {name: meta.get(key) for name, key in _FACTS.items()} | {"hpkb.code.commit": commit}
    return {name: str(value) for name, value in found.items() if value}
