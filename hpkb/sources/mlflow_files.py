"""An MLflow store in a folder (`mlruns/`), as every MLflow wrote it until 2025: a folder a run, a file a metric.

It is read without MLflow, which makes a folder `.trash` in it. A name with slashes is a file in folders. Deleted runs
say so in their `meta.yaml`; deleted experiments lie in `.trash`. What is damaged is left out and counted in `notes`: a
metric's last line without its end, a line that is no point, a run whose `meta.yaml` cannot be read.

A run's fingerprint has the sizes and times of its metric files, not their contents.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import yaml

from hpkb import curve_file
from hpkb.errors import SourceError
from hpkb.sources import TEXT, metric_files, schema
from hpkb.sources.mlflow import SMALL_TABLES, MlflowStore

_META = "meta.yaml"
_NO_RUNS = frozenset({"tags", "datasets", "traces", "models"})  # folders in an experiment's
_STATUS = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
_TAGS = ("mlflow.runName", "mlflow.source.git.commit")  # that mean something here, beside our own
_LITTER = (".DS_Store", ".nfs")  # what file systems leave beside files
_THREADS = 4  # looking at many small files waits for the disk or the network
_ARTIFACTS = schema(run_id=TEXT, artifact_uri=TEXT)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class _Run:
    run_id: str
    folder: str
    experiment: str
    meta: Mapping[str, Any]
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Sequence[tuple[str, int, int]]  # name, size and time of change of the file
    inputs: Sequence[tuple[str, str, str]]  # context, digest, profile


@dataclass
class _Scan:
    """The active runs of the active experiments by their ids, and how much could not be understood."""

    runs: dict[str, _Run] = field(default_factory=dict)
    damaged: int = 0

    def add(self, runs: Iterable[_Run | None]) -> None:
        for run in runs:
            if run and run.meta:
                self.runs[run.run_id] = run
            elif run:
                self.damaged += 1


class MlflowFiles(MlflowStore):
    """The runs of an MLflow file store; raises SourceError where the folder is none."""

    kind = "mlflow_files"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._root = folder.absolute()
        self.name = self._root.as_uri()
        self._last: _Scan | None = None
        self._unfinished_lines = self._bad_lines = self._missing_files = 0
        if not self._root.is_dir():
            what_next = "Give another with --tracking-uri, or make one: hpkb log -- CMD"
            raise SourceError(f"No store at '{folder}'. {what_next}")
        if not is_store(self._root):
            raise SourceError(f"'{folder}' is no MLflow store: none of its folders has a {_META}.")

    def experiments(self) -> list[str]:
        """Returns the names of the active experiments."""
        return sorted(str(meta["name"]) for _, meta in self._experiments() if meta)

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        """Returns the fingerprints, of what is in the folder now."""
        self._last = None
        return super().fingerprints(experiments)

    def small_table(self, name: str) -> pa.Table:
        """Returns one of the small tables; `latest` has a metric file's size and time in place of its last point."""
        rows = [row for run in self._scan().runs.values() for row in _rows(name, run)]
        columns = list(zip(*rows, strict=True)) or [()] * len(SMALL_TABLES[name])
        arrays = [pa.array(column, type_) for column, type_ in zip(columns, SMALL_TABLES[name].types, strict=True)]
        return pa.Table.from_arrays(arrays, schema=SMALL_TABLES[name])

    def artifacts(self) -> pa.Table:
        """Returns where the artifacts of the runs with whole curves are: in the run's folder, else where it says."""
        places = [
            (run_id, run.folder + "/artifacts" if _has_curves(run) else str(run.meta.get("artifact_uri") or ""))
            for run_id, run in self._scan().runs.items()
            if curve_file.TAG in run.tags
        ]
        columns = list(zip(*places, strict=True)) or [(), ()]
        return pa.Table.from_arrays([pa.array(column, TEXT) for column in columns], schema=_ARTIFACTS)

    def points(self, ids: pa.Array) -> Iterator[pa.Table]:
        """Yields the points of these runs, some 100,000 at a time."""
        for part in metric_files.parsed(self._pieces(ids.to_pylist())):
            self._unfinished_lines += part.unfinished_lines
            self._bad_lines += part.bad_lines
            self._cut_steps += part.cut_steps
            self._missing_files += part.missing_files
            yield part.points

    def notes(self) -> Mapping[str, int]:
        """Returns what had to be left out or altered."""
        counts = {
            "unfinished last lines of metrics, ignored": self._unfinished_lines,
            "lines of metrics that are no points, ignored": self._bad_lines,
            "files of metrics that could not be read, ignored": self._missing_files,
            "runs or experiments with damaged metadata, left out": self._last.damaged if self._last else 0,
        }
        return {**super().notes(), **{what: count for what, count in counts.items() if count}}

    def close(self) -> None:
        """Does nothing: no file stays open."""

    def _pieces(self, ids: Sequence[str]) -> Iterator[metric_files.Piece]:
        runs = self._scan().runs
        for run_id in ids:
            for name, path, status in _metrics(runs[run_id].folder):
                yield from metric_files.split(run_id, name, path, status.st_size)

    def _experiments(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The folders of the active experiments and what they say; nothing where that is damaged."""
        try:
            folders = [entry.path for entry in _entries(str(self._root)) if entry.is_dir()]
        except OSError as error:
            raise SourceError(f"Cannot read '{self._root}': {error.strerror}.") from None
        for folder in folders:
            if os.path.basename(folder) in (".trash", "models") or (meta := _meta(folder)) is None:
                continue
            if "name" not in meta or str(meta.get("experiment_id")) != os.path.basename(folder):
                meta = {}
            if _is_active(meta):
                yield folder, meta

    def _scan(self) -> _Scan:
        """What is in the folder, as of the last fingerprints."""
        if self._last is None:
            self._last = _Scan()
            with ThreadPoolExecutor(_THREADS, thread_name_prefix="hpkb-runs") as pool:
                for folder, meta in self._experiments():
                    if meta and (runs := _run_folders(folder)) is not None:
                        self._last.add(pool.map(_Experiment(folder, meta).run, runs))
                    else:
                        self._last.damaged += 1
        return self._last


class _Experiment:
    """Reads the runs of an experiment."""

    def __init__(self, folder: str, meta: Mapping[str, Any]) -> None:
        self._id, self._name = os.path.basename(folder), str(meta["name"])
        self._dataset = cache(lambda dataset_id: _meta(f"{folder}/datasets/{dataset_id}"))

    def run(self, folder: str) -> _Run | None:
        """Returns an active run, None where the folder has no such; one that is damaged has no metadata."""
        meta = _meta(folder)
        if meta is None or not _is_active(meta):
            return None
        run_id = str(meta.get("run_id") or meta.get("run_uuid"))
        if str(meta.get("experiment_id")) != self._id or run_id != os.path.basename(folder):
            meta = {}
        try:
            tags, params = _texts(f"{folder}/tags", _is_wanted), _texts(f"{folder}/params")
            metrics = [(name, status.st_size, status.st_mtime_ns) for name, _, status in _metrics(folder)]
            return _Run(run_id, folder, self._name, meta, tags, params, metrics, self._inputs(folder))
        except OSError:
            return _Run(run_id, folder, self._name, {}, {}, {}, [], [])

    def _inputs(self, folder: str) -> list[tuple[str, str, str]]:
        found = []
        for entry in _entries(f"{folder}/inputs"):
            given = _meta(entry.path) or {}
            data = self._dataset(given.get("source_id"))
            if data and given.get("source_type", "DATASET") == "DATASET":
                context = (given.get("tags") or {}).get("mlflow.data.context", "")
                found.append((str(context), str(data.get("digest") or ""), str(data.get("profile") or "")))
        return found


def is_store(folder: Path) -> bool:
    """Returns whether a folder is an MLflow file store: one of the folders in it, or in its trash, is an experiment."""
    places = (str(folder), f"{folder}/.trash")
    try:
        return any(os.path.isfile(f"{entry.path}/{_META}") for place in places for entry in _entries(place))
    except OSError as error:
        raise SourceError(f"Cannot read '{folder}': {error.strerror}.") from None


def folder_of(uri: str) -> Path:
    """Returns the folder that a path or a file URI names."""
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)


def _run_folders(experiment: str) -> list[str] | None:
    """The folders in which runs may be, None where we may not look."""
    try:
        return [entry.path for entry in _entries(experiment) if entry.name not in _NO_RUNS]
    except OSError:
        return None


def _rows(table: str, run: _Run) -> Iterator[tuple[Any, ...]]:
    """A run's rows of one of the small tables."""
    if table == "runs":
        name = run.meta.get("run_name") or run.tags.get("mlflow.runName") or run.meta.get("name") or ""
        status = str(run.meta.get("status", "RUNNING"))
        times = (_time(run.meta.get("start_time")), _time(run.meta.get("end_time")))
        yield run.run_id, run.experiment, str(name), _STATUS.get(status, status), *times
    elif table == "latest":
        yield from ((run.run_id, name, float(size), 0.0, changed) for name, size, changed in run.metrics)
    elif table == "inputs":
        yield from ((run.run_id, *given) for given in run.inputs)
    elif table in ("tags", "params"):
        values = run.tags if table == "tags" else run.params
        yield from ((run.run_id, name, value) for name, value in values.items())


def _time(value: object) -> int:
    return int(value) if isinstance(value, int | float) else -1


def _is_active(meta: Mapping[str, Any]) -> bool:
    return bool(meta.get("lifecycle_stage", "active") == "active")


def _is_wanted(tag: str) -> bool:
    return tag.startswith("hpkb.") or tag in _TAGS


def _has_curves(run: _Run) -> bool:
    return os.path.isfile(f"{run.folder}/artifacts/{curve_file.FOLDER}/{curve_file.NAME}")


def _meta(folder: str) -> dict[str, Any] | None:
    """What a folder's `meta.yaml` says: nothing where it is damaged, None where there is none."""
    try:
        with open(f"{folder}/{_META}", "rb") as file:
            meta = yaml.load(file.read(), _Loader)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _texts(folder: str, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, str]:
    """What the files in a folder say, by their names."""
    texts = {}
    for name, entry in _files(folder):
        if wanted(name):
            with suppress(FileNotFoundError), open(entry.path, "rb") as file:
                texts[name] = file.read().decode("utf-8", "replace")
    return texts


def _metrics(folder: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Name, path and state of the files of a run's metrics."""
    for name, entry in _files(f"{folder}/metrics"):
        with suppress(FileNotFoundError):
            yield name, entry.path, entry.stat()


def _files(folder: str, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yields the files in a folder and its folders, under their names with slashes, in the order of the alphabet."""
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, prefix + entry.name + "/")
        elif not entry.name.startswith(_LITTER):
            yield os.fsencode(prefix + entry.name).decode("utf-8", "replace"), entry


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, in the order of the alphabet; nothing where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
