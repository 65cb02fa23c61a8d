"""Runs a job under capture and ships it while it runs; ships later what could not be shipped then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TextIO

from hpkb.capture.memory import oom_kills
from hpkb.errors import SourceError, TrackingError
from hpkb.ship import launch, service
from hpkb.ship.address import absolute, usable
from hpkb.ship.courier import Courier, open_shipper
from hpkb.ship.durability import on_disk
from hpkb.ship.gauge import Meter
from hpkb.ship.liveness import job_alive
from hpkb.ship.obstacle import obstacle
from hpkb.ship.outside import Outside
from hpkb.ship.resume import AUTO, hand_over, resuming
from hpkb.ship.room import make_room, warning
from hpkb.ship.rundir import SETTINGS, RunDir, RunSettings, spool_root, unshipped
from hpkb.ship.signals import Forwarding

_FROM_FAR = "its arguments, the hardware and its end"
_FROM_OUTSIDE = "its arguments, the metrics that it prints, the hardware and its end"
_LET_GO = 1.0  # seconds in which a service lets go of a run that it could not ship
PATIENCE = 10.0  # seconds that a finished job waits for a store that does not answer


def log(
    settings: RunSettings,
    command: Sequence[str],
    wait: bool = True,
    out: TextIO | None = None,
    patience: float = PATIENCE,
    resume: str = AUTO,
) -> int:
    """The exit status of the command, which is captured and shipped; 128 and the number for a signal.

    The store's service ships (`hpkb.ship.service`). With `wait`, the run is in MLflow when this returns, or a line
    says that it is still spooled: that is so when the store has not answered for `patience` seconds after the job's
    end, or is so slow that it has not all of the run after a minute. `resume` says which run the job goes on with
    (`hpkb.ship.resume`); SourceError where there is no such run.
    """
    out = out or sys.stderr
    uri = absolute(settings.tracking_uri)
    settings = replace(settings, tracking_uri=uri, command=tuple(command))
    settings, earlier = resuming(settings, resume, os.environ)
    try:
        run = RunDir.create(replace(settings, service=service.name(uri)))
        if earlier is not None:
            hand_over(earlier, run)
    except SourceError as error:
        _say(f"{error} The command runs without capture.", out)
        return launch.exit_status(_run_plainly(command))
    returncode = _run_captured(run, command, lambda: _ensure_service(run, uri, out), out)
    if wait:
        _conclude(run, uri, patience, out)
    return launch.exit_status(returncode)


def _conclude(run: RunDir, tracking_uri: str, patience: float, out: TextIO) -> None:
    """Returns when the run is delivered, or when to wait is no use; says so where a person needs to know."""
    why = f"The store {run.settings.tracking_uri} does not answer."
    delivered = False
    try:
        delivered = service.await_delivery(run, tracking_uri, patience)
    except KeyboardInterrupt:
        why = "The shipping was interrupted."
    except OSError as error:
        why = f"No shipper could be started ({error.strerror})."
    if not delivered:
        _say(f"{run.failure() or why} The run is still spooled in {run.path} and is shipped as soon as the store takes "
             f"it, or with: hpkb sync {warning(run.path.parent)}".rstrip(), out)  # fmt: skip
    elif out.isatty():
        _say(f"in MLflow: run {run.run_id}, experiment '{run.settings.experiment}', {run.settings.tracking_uri}", out)


def sync(tracking_uri: str | None = None, paths: Sequence[Path] = ()) -> int:
    """The number of runs that were shipped from the run folders or spool roots `paths`; without any, from the spool.

    Each run goes to the store that it was started for, or to `tracking_uri` where that is given. A run that a service
    has in hand is left to it, which is urged to try at once; of a job that still runs, what is there is sent. Raises
    TrackingError when any run could not be shipped, after all have been tried, and SourceError for a path that holds
    no run.
    """
    runs = [run for path in paths for run in _runs_at(path)] if paths else unshipped()
    shipped, failures = 0, []
    for run in runs:
        with run.lock() as held:
            delivered = _deliver(run, tracking_uri) if held else _urged(run)
        if delivered is False and not held:  # the service has let go of it, and may have other credentials than we have
            with run.lock(_LET_GO) as held:
                delivered = held and _deliver(run, tracking_uri)
        if delivered:
            shipped += 1
        elif delivered is not None:
            failures.append(run.failure())
    for root in {run.path.parent for run in runs} | (set() if paths else {spool_root()}):
        make_room(root)
    if failures:
        raise TrackingError(f"{len(failures)} of {len(runs)} runs are still spooled. {failures[0]}")
    return shipped


def _run_captured(run: RunDir, command: Sequence[str], started: Callable[[], None], out: TextIO) -> int:
    why = obstacle(command)
    if why is not None:
        _say(f"{why}: {_FROM_OUTSIDE} are recorded.", out)
    with on_disk(run.path, run.settings.durability == "fsync"), Forwarding() as signals:
        outside, kills = Outside(run, command, tee=why is not None), oom_kills()
        child = launch.start(run, command, **outside.streams)
        outside.listen()
        signals.to(child)
        started()
        with Meter(run):
            launch.record_surroundings(run)  # takes its time, so only now that signals reach the job
            returncode = child.wait()
        if not outside.conclude() and why is None:
            _say(f"no Python process of this job could be captured: {_FROM_FAR} are recorded.", out)
        launch.record_end(run, returncode, signals.seen, (oom_kills() or 0) > (kills or 0))
    return returncode


def _run_plainly(command: Sequence[str]) -> int:
    with Forwarding() as signals:
        try:
            child = subprocess.Popen(list(command))
        except OSError as error:
            raise launch.command_error(command, error) from error
        signals.to(child)
        return child.wait()


def _ensure_service(run: RunDir, tracking_uri: str, out: TextIO) -> None:
    try:
        service.ensure(tracking_uri)
    except OSError as error:
        _say(f"the shipper could not be started ({error.strerror}); ship {run.path} with: hpkb sync", out)


def _say(text: str, out: TextIO) -> None:
    with suppress(OSError):  # the terminal may be gone, and the job's exit status still matters
        print(f"hpkb: {text}", file=out, flush=True)


def _runs_at(path: Path) -> list[RunDir]:
    if (path / SETTINGS).exists():
        return [RunDir.open(path)]
    if not path.is_dir():
        raise SourceError(f"There is no run folder and no spool at {path}.")
    return unshipped(path)


def _deliver(run: RunDir, tracking_uri: str | None) -> bool:
    """Whether all there is was sent; the run is ended too, unless its job may still add to it."""
    uri = absolute(tracking_uri) if tracking_uri else usable(run.settings.tracking_uri)
    courier = Courier(run, partial(open_shipper, uri))
    if not run.finished and not run.ended() and job_alive(run):
        courier.ship()
        done = courier.error is None
    else:
        done = courier.deliver()
    run.note_failure(str(courier.error) if courier.error else None)
    return done


def _urged(run: RunDir) -> bool | None:
    """Whether the service that has the run has delivered it; None for a job that still runs, or another process."""
    return service.urge(run, PATIENCE) if run.ended() or not job_alive(run) else None
