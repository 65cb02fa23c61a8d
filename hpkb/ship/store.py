"""One MLflow store as the shipper sees it: every call either takes effect or raises TrackingError.

Each call may be repeated after a crash. A repeated metric is the identical row, which MLflow's primary key drops;
params, tags, inputs and the end of a run are the same the second time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from hpkb.curve_file import SCATTER
from hpkb.errors import HpkbError, StoreInTroubleError, TrackingError
from hpkb.ship.address import is_server, without_credentials, without_password
from hpkb.ship.client import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    MlflowClient,
    MlflowException,
    Param,
    Run,
    RunTag,
)
from hpkb.ship.keys import same_value
from hpkb.ship.pace import Pace, paced
from hpkb.ship.schema import artifact_location, ensure_store

MAX_METRICS = 1000  # MLflow's limits for one request
MAX_PARAMS = 100
MAX_TAGS = 100
MAX_BYTES = 500_000  # half of MLflow's, since we count the text and not the request

_HINT = "(raised as a result of"  # SQLAlchemy's, in front of what the database said

Item = TypeVar("Item")


class Point(NamedTuple):
    """One value of a curve. `timestamp` is in milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True)
class Split:
    """One data split that a run used; `digest` identifies its content."""

    role: str
    dataset: str
    digest: str
    n: int | None
    digest_of: str


@dataclass(frozen=True)
class Recorded:
    """What the store has of a run."""

    params: Mapping[str, str]
    tags: Mapping[str, str]


class Store:
    """A connection to one MLflow store; raises TrackingError where it is away or cannot be used."""

    def __init__(self, uri: str, pace: Pace | None = None) -> None:
        self.uri = uri
        self.answered = time.monotonic()  # when the store last did what it was asked
        with self._reported("open"):
            ensure_store(uri)
            self._client = paced(MlflowClient(uri), pace) if pace and is_server(uri) else MlflowClient(uri)

    def experiment(self, name: str) -> str:
        """The id of the experiment of that name, which is made where there is none."""
        with self._reported(f"open experiment '{name}'"):
            found = self._client.get_experiment_by_name(name)
            if found is None:
                return self._new_experiment(name)
        if found.lifecycle_stage == "deleted":
            restore = f"mlflow experiments restore -x {found.experiment_id}"
            raise TrackingError(f"Experiment '{name}' is deleted in MLflow. Restore it ({restore}) or name another.")
        return str(found.experiment_id)

    def _new_experiment(self, name: str) -> str:
        try:
            return str(self._client.create_experiment(name, artifact_location=artifact_location(self.uri, name)))
        except Exception:
            found = self._client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
            return str(found.experiment_id)

    def find_run(self, experiment_id: str, tag: str, value: str) -> str | None:
        """The id of the run of the experiment whose tag has this value, or None."""
        with self._reported("look for the run"):
            runs = self._client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def create_run(self, experiment_id: str, name: str | None, started: int, tags: Mapping[str, str]) -> str:
        """The id of a new run that started at `started`, in milliseconds since 1970."""
        with self._reported("create a run"):
            run = self._client.create_run(experiment_id, start_time=started, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def recorded(self, run_id: str) -> Recorded:
        """The params and tags that the run has."""
        run = self._run(run_id)
        return Recorded(dict(run.data.params), dict(run.data.tags))

    def log(self, run_id: str, params: Mapping[str, str], tags: Mapping[str, str], points: Sequence[Point]) -> None:
        """Records params, tags and points in requests of the size that MLflow takes. Keys must be encoded already."""
        if params:
            self._log_params(run_id, params)
        for some, batch in _tags_and_points(tags, points):
            with self._reported("take metrics" if batch else "take tags"):
                metrics = [Metric(point.key, point.value, point.timestamp, point.step) for point in batch]
                self._client.log_batch(run_id, metrics, tags=[RunTag(key, value) for key, value in some])

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        try:
            self._send_params(run_id, params)
        except TrackingError:
            free = _beside(self.recorded(run_id).params, params)
            if free == dict(params):
                raise  # no param has another value, so something else is wrong
            self._send_params(run_id, free)

    def _send_params(self, run_id: str, params: Mapping[str, str]) -> None:
        with self._reported("take params"):
            for some in _requests(params.items(), MAX_PARAMS, lambda item: _size(*item)):
                self._client.log_batch(run_id, params=[Param(key, value) for key, value in some])

    def log_splits(self, run_id: str, splits: Sequence[Split]) -> None:
        """Records the splits as dataset inputs, each with its role as the context."""
        with self._reported("take dataset inputs"):
            if splits:
                self._client.log_inputs(run_id, datasets=[_input(split) for split in splits])

    def log_texts(self, run_id: str, texts: Mapping[str, str]) -> list[str]:
        """Writes texts as files among the run's artifacts, over those of the same path; returns the paths that failed.

        Artifacts may lie elsewhere than the store, where this process cannot write: that is no reason to keep the
        rest of a run back.
        """
        failed = []
        for path, text in texts.items():
            try:
                self._client.log_text(run_id, text, path)
            except Exception:  # MLflow raises whatever the library for that place raises
                failed.append(path)
        return failed

    def log_file(self, run_id: str, file: Path, folder: str) -> bool:
        """Whether the file was put among the run's artifacts, into `folder`; see `log_texts`."""
        try:
            self._client.log_artifact(run_id, str(file), folder)
        except Exception:
            return False
        return True

    def log_folder(self, run_id: str, folder: Path, path: str) -> None:
        """Puts all files of a folder among the run's artifacts, below `path`."""
        with self._reported("take the artifacts"):
            self._client.log_artifacts(run_id, str(folder), path)

    def has_run(self, run_id: str) -> bool:
        """Whether the store has the run, and nobody has deleted it."""
        with self._reported("look for the run"):
            try:
                return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return False
                raise

    def points(self, run_id: str) -> Iterator[Point]:
        """Yields the points of all metrics of the run, but not the scatter of thinned ones."""
        names = set(self._run(run_id).data.metrics)
        for name in sorted(names):
            if name.removesuffix(SCATTER) in names and name.endswith(SCATTER):
                continue
            with self._reported("tell its metrics"):
                history = self._client.get_metric_history(run_id, name)
            for metric in history:
                yield Point(name, metric.value, metric.timestamp, metric.step)

    def fetch(self, run_id: str, path: str, folder: Path) -> Path | None:
        """The file of the run's artifacts, brought into the folder; None where it cannot be had from here."""
        try:
            return Path(self._client.download_artifacts(run_id, path, str(folder)))
        except Exception:  # MLflow raises whatever the library for that place raises
            return None

    def reopen(self, run_id: str) -> None:
        """Gives the run the status of one that runs."""
        with self._reported("open a run again"):
            self._client.update_run(run_id, status="RUNNING")

    def rename(self, run_id: str, name: str) -> None:
        """Gives the run another name."""
        with self._reported("rename a run"):
            self._client.update_run(run_id, name=name)

    def end(self, run_id: str, status: str, ended: int) -> None:
        """Gives the run its final status and end, in milliseconds since 1970."""
        with self._reported("end the run"):
            self._client.set_terminated(run_id, status=status, end_time=ended)

    def _run(self, run_id: str) -> Run:
        with self._reported(f"find run {run_id}"):
            return self._client.get_run(run_id)

    @contextmanager
    def _reported(self, doing: str) -> Iterator[None]:
        """Turns whatever MLflow, SQLAlchemy or requests raise into one sentence without a password."""
        try:
            yield
            self.answered = time.monotonic()
        except HpkbError:
            raise
        except Exception as error:
            kind = StoreInTroubleError if _in_trouble(error) else TrackingError
            raise kind(f"The store {without_password(self.uri)} did not {doing}: {_reason(error)}.") from error


def _in_trouble(error: Exception) -> bool:
    """Whether the store would fail at anything else as well: nobody answers, or it says 429 or 5xx."""
    if not isinstance(error, MlflowException):
        return isinstance(error, OSError)
    status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
    return status == 429 or status >= 500


def _reason(error: BaseException) -> str:
    """Why a call failed: what the operating system said, where it is at the bottom of it, else MLflow's first line."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, TimeoutError):
            return "no answer in time"
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    lines = [line for line in str(error).splitlines() if not line.startswith(_HINT)] or [type(error).__name__]
    return without_credentials(lines[0])[:300].rstrip(". ")


def _beside(recorded: Mapping[str, str], params: Mapping[str, str]) -> dict[str, str]:
    """The params that a run lacks; one whose name is taken by another value goes under `NAME.resumed.N`."""
    placed: dict[str, str] = {}
    for name, value in params.items():
        key, n = name, 0
        while key in recorded and not same_value(recorded[key], value):
            n += 1
            key = f"{name}.resumed.{n}"
        if key not in recorded:
            placed[key] = value
    return placed


def _input(split: Split) -> DatasetInput:
    source = json.dumps({"digest_of": split.digest_of})
    profile = json.dumps({"num_rows": split.n}) if split.n is not None else None
    dataset = Dataset(split.dataset[:500], split.digest[:36], "hpkb", source, profile=profile)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", split.role)])


def _size(key: str, value: str) -> int:
    return len(ascii(key)) + len(ascii(value)) + 100


def _tags_and_points(
    tags: Mapping[str, str], points: Sequence[Point]
) -> list[tuple[list[tuple[str, str]], list[Point]]]:
    """The requests for them: one where both are few, as they mostly are, else first the tags, then the points."""
    parts = list(_requests(tags.items(), MAX_TAGS, lambda item: _size(*item)))
    batches = list(_requests(points, MAX_METRICS, lambda point: _size(point.key, "")))
    size = sum(_size(*tag) for tag in tags.items()) + sum(_size(point.key, "") for point in points)
    if len(parts) == len(batches) == 1 and len(tags) + len(points) <= MAX_METRICS and size <= MAX_BYTES:
        return [(parts[0], batches[0])]
    return [(part, []) for part in parts] + [([], batch) for batch in batches]


def _requests(items: Iterable[Item], most: int, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """The items in lists that each fit into one request."""
    batch: list[Item] = []
    filled = 0
    for item in items:
        weight = size(item)
        if batch and (len(batch) == most or filled + weight > MAX_BYTES):
            yield batch
            batch, filled = [], 0
        batch.append(item)
        filled += weight
    if batch:
        yield batch
