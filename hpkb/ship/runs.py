"""The MLflow runs of one job: found again or made, named, and put below a parent where there are several.

A run is found again by its tag `hpkb.run`, the run folder's name and, beyond the first run, what part of the job it
is: so that a crash between making a run and writing down its id makes no second one.
"""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpkb.capture.spool import SCHEMA
from hpkb.capture.spool_reader import SpoolReader
from hpkb.ship.address import absolute, without_password
from hpkb.ship.channel import PARENT, Channel
from hpkb.ship.earlier import fetch_curves, run_of_earlier
from hpkb.ship.rundir import Progress, RunDir, RunSettings
from hpkb.ship.store import Recorded, Store

RUN_KEY = "hpkb.run"
_PARENT_ID = "mlflow.parentRunId"
_PEEK = 50  # records of a process, from its first on, among which a run of the script's own is looked for


def open_first(store: Store, run: RunDir) -> tuple[Progress, Channel]:
    """The job's first run, which may be there already, and how far the job has come."""
    progress = run.progress()
    if progress is not None and progress.run_id is not None:
        known = _known(store, progress.run_id)
        known.batch.resumed = bool(run.settings.resumes)
        return progress, known
    experiment = store.experiment(run.settings.experiment)
    tags = first_tags(run.settings, run.path.name)
    run_id = None
    if progress is None:
        run.save(Progress(), durable=True)  # from here on a run may exist whose id we do not know
    else:
        run_id = store.find_run(experiment, RUN_KEY, run.path.name)
    channel = _known(store, run_id) if run_id else _gone_on_with(store, run, experiment, tags)
    if channel is None:
        channel = _adopted(store, run, tags)
    if channel is None:
        started = int(run.created_at * 1000)
        run_id = store.create_run(experiment, run.settings.run_name, started, tags)
        channel = Channel(store, run_id, Recorded({}, tags))
    progress = Progress(channel.run_id)
    run.save(progress, durable=True)
    return progress, channel


def open_parent(store: Store, run: RunDir) -> Channel:
    """The run above those of the job's trainings."""
    tags = first_tags(run.settings, f"{run.path.name}/parent") | {PARENT: "true"}
    return _found_or_made(store, run, tags, run.settings.run_name)


def open_child(store: Store, run: RunDir, key: str, name: str, command: Sequence[str], parent: str) -> Channel:
    """The run of the training `key`, below the run `parent`."""
    tags = first_tags(run.settings, f"{run.path.name}/{key}") | of_training(command, parent)
    return _found_or_made(store, run, tags, name)


def of_training(command: Sequence[str], parent: str) -> dict[str, str]:
    """The tags by which one of several trainings differs from its job."""
    return {_PARENT_ID: parent, **_of_command(command)}


def first_tags(settings: RunSettings, key: str) -> dict[str, str]:
    """The tags that a run is created with."""
    tags = {RUN_KEY: key, "hpkb.schema": str(SCHEMA), "mlflow.user": _user(), "mlflow.source.type": "LOCAL"}
    tags |= _of_command(settings.command)
    if settings.task:
        tags["hpkb.task"] = settings.task
    return tags


def _of_command(command: Sequence[str]) -> dict[str, str]:
    if not command:
        return {}
    script = next((part for part in command if part.endswith((".py", ".sh", ".ipynb"))), command[0])
    return {"mlflow.source.name": script, "hpkb.command": shlex.join(command)}


def _gone_on_with(store: Store, run: RunDir, experiment: str, tags: Mapping[str, str]) -> Channel | None:
    """The run of the job's earlier attempt, which runs again."""
    run_id = run_of_earlier(store, run, experiment, RUN_KEY) if run.settings.resumes else None
    if run_id is None:
        return None
    channel = _known(store, run_id)
    channel.batch.resumed = True
    fetch_curves(store, run_id, channel.batch.known_tags, run.path)
    store.reopen(run_id)
    channel.batch.add_tags({name: text for name, text in tags.items() if name not in channel.batch.known_tags})
    return channel


def _found_or_made(store: Store, run: RunDir, tags: Mapping[str, str], name: str | None) -> Channel:
    experiment = store.experiment(run.settings.experiment)
    run_id = store.find_run(experiment, RUN_KEY, tags[RUN_KEY])
    if run_id:
        return _known(store, run_id)
    started = int(run.created_at * 1000)
    return Channel(store, store.create_run(experiment, name, started, tags), Recorded({}, tags))


def _known(store: Store, run_id: str) -> Channel:
    return Channel(store, run_id, store.recorded(run_id))


def _adopted(store: Store, run: RunDir, tags: Mapping[str, str]) -> Channel | None:
    """The run that the script itself has begun in this very store, if it was faster."""
    for spool in run.spools():
        run_id = _own_run(spool, store.uri)
        if run_id is not None:
            channel = _known(store, run_id)
            channel.batch.add_tags(tags)
            return channel
    return None


def _own_run(spool: Path, uri: str) -> str | None:
    for _, (_, record) in zip(range(_PEEK), SpoolReader(str(spool)).read(), strict=False):
        if isinstance(record, dict) and adoptable(record, uri):
            return str(record["run_id"])
    return None


def adoptable(record: Mapping[str, Any], uri: str) -> bool:
    """Whether the record tells of a run of the script's own in the store at `uri`."""
    if record.get("type") != "mlflow_run" or not record.get("run_id"):
        return False
    return without_password(absolute(str(record.get("tracking_uri")))) == without_password(absolute(uri))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
