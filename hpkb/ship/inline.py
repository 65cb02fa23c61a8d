"""`hpkb.run(...)`: captures the process that it is called in, and has another process ship what is captured.

Nothing in here imports MLflow, and nothing that goes wrong in here is raised into the job.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any

from hpkb.capture import session
from hpkb.capture.end import reason_of
from hpkb.errors import HpkbError
from hpkb.ship import address, launch, service
from hpkb.ship.rundir import RunDir, RunSettings

PATIENCE = 10.0  # seconds that the end of the context waits for the run to be in MLflow


class InlineRun:
    """A run of this process, from entering the context to leaving it.

    Inside a job that `hpkb log` started, or inside another `hpkb.run`, it is a part of that run: it adds to it and
    does not end it.
    """

    def __init__(self, settings: RunSettings, params: Mapping[str, Any]) -> None:
        uri = address.absolute(settings.tracking_uri)
        self._settings = replace(settings, tracking_uri=uri)
        self._params = params
        self._run: RunDir | None = None
        self._process = 0  # a child that is forked inside the context leaves it too, and has no say

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Records metrics. Never blocks, never raises. `step` is an optimizer step; without it, the one counted."""
        session.log(metrics, step)

    def __enter__(self) -> InlineRun:
        if session.current() is None:
            self._begin()
        current = session.current()
        if current is not None:
            current.params(self._params, "user")
            if self._run is None:
                current.tags(_joining(self._settings))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is None or os.getpid() != self._process:
            return
        status, reason = _ending(kind, error)
        session.stop(status, reason, 0 if kind is None else None)
        launch.record_ending(self._run, status, reason, 0 if kind is None else None)
        self._await_delivery(self._run)

    def _begin(self) -> None:
        joined = os.environ.get(launch.RUN_DIR)
        if joined:  # a job of `hpkb log` whose Python leaves sitecustomize out
            session.start(joined)
            return
        try:
            self._run, self._process = self._made(), os.getpid()
            launch.record(self._run, {"type": "child", "pid": os.getpid()})
            service.ensure(self._settings.tracking_uri)
        except (HpkbError, OSError) as error:
            _say(f"{error} This process is not captured." if self._run is None else f"not shipped yet: {error}")
        if self._run is not None:
            session.start(str(self._run.path))
            launch.record_surroundings(self._run)

    def _made(self) -> RunDir:
        return RunDir.create(replace(self._settings, service=service.name(self._settings.tracking_uri)))

    def _await_delivery(self, run: RunDir) -> None:
        delivered = False
        with suppress(OSError, KeyboardInterrupt):
            delivered = service.await_delivery(run, self._settings.tracking_uri, PATIENCE)
        if not delivered:
            _say(f"the run is still spooled in {run.path}; what is left of it is shipped with: hpkb sync")


def run(
    task: str | None = None,
    params: Mapping[str, Any] | None = None,
    experiment: str | None = None,
    run_name: str | None = None,
    tracking_uri: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> InlineRun:
    """A context in which this process is captured as one run. See `hpkb.run`."""
    settings = RunSettings(
        tracking_uri=address.tracking_uri(tracking_uri),
        experiment=address.experiment(experiment),
        task=task,
        run_name=run_name,
        tags={name: str(value) for name, value in (tags or {}).items()},
        command=tuple(getattr(sys, "argv", ())),
    )
    return InlineRun(settings, dict(params or {}))


def _joining(settings: RunSettings) -> dict[str, str]:
    """What a part of another run says of that run."""
    return {**settings.tags, **({"hpkb.task": settings.task} if settings.task else {})}


def _ending(kind: type[BaseException] | None, error: BaseException | None) -> tuple[str, str]:
    if kind is None:
        return "FINISHED", "exit status 0"
    if issubclass(kind, KeyboardInterrupt):
        return "KILLED", "SIGINT"
    if issubclass(kind, SystemExit) and isinstance(error, SystemExit) and error.code in (None, 0):
        return "FINISHED", "exit status 0"
    return "FAILED", reason_of(error) if error is not None else kind.__name__


def _say(text: str) -> None:
    try:
        print(f"hpkb: {text}", file=sys.stderr)
    except Exception:  # a closed standard error is no reason to end a job
        return
