"""Which run a preempted job goes on with, and what its new attempt must know of the earlier ones.

A requeued job is known by its scheduler: Slurm keeps the job's number and counts its restarts. Everything else a
person has to say, by `--resume`: a run, or the last one of the same command. The new attempt has a run folder of its
own and is shipped into the same MLflow run, after the earlier attempt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpkb.capture.resumed import FILE
from hpkb.errors import SourceError
from hpkb.ship.liveness import SUPERSEDED, job_alive
from hpkb.ship.rundir import RunDir, RunSettings, all_runs, spool_root, write_whole

AUTO, NEVER, LAST = "auto", "never", "last"
_RUN_ID = 32  # characters of an MLflow run's id


def resuming(settings: RunSettings, choice: str, environ: Mapping[str, str]) -> tuple[RunSettings, RunDir | None]:
    """The settings of the new attempt, and the earlier one where its folder is here.

    `choice` is a run's id, `last`, `never`, or `auto`: what the environment proves. Raises SourceError where the run
    that was asked for is not known, still runs, or cannot be gone on with.
    """
    settings = replace(settings, job=_job(environ))
    if choice == NEVER:
        return settings, None
    if choice == AUTO:
        if run_id := environ.get("MLFLOW_RUN_ID"):
            return replace(settings, resumes=run_id), _newest(lambda run: run.run_id == run_id)
        restarted = settings.job and environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")
        same = settings.storable()
        found = _newest(lambda run: run.settings.job == same.job and _alike(run, same)) if restarted else None
        return _after(settings, found if found is not None and not _several(found) else None)
    same = settings.storable()
    found = _newest(lambda run: _alike(run, same) if choice == LAST else choice in (run.path.name, run.run_id))
    if found is None:
        if choice != LAST and len(choice) == _RUN_ID and choice.isalnum():
            return replace(settings, resumes=choice), None
        raise SourceError(f"The spool {spool_root()} has no run to resume ({choice}). Try: the id of its MLflow run.")
    if not found.finished and not found.ended() and job_alive(found):
        raise SourceError(f"The run {choice} still runs, so it cannot be resumed.")
    if _several(found):
        raise SourceError(f"The run {choice} has several trainings, so it cannot be resumed as one.")
    return _after(settings, found)


def hand_over(earlier: RunDir, run: RunDir) -> None:
    """Tells the new attempt of the checkpoints of the earlier ones, and the shippers that those are over."""
    write_whole(run.path / FILE, {"checkpoints": dict(_checkpoints(earlier.path))})
    with suppress(OSError):
        (earlier.path / SUPERSEDED).touch()


def _after(settings: RunSettings, earlier: RunDir | None) -> tuple[RunSettings, RunDir | None]:
    return (settings, None) if earlier is None else (replace(settings, resumes=earlier.path.name), earlier)


def _job(environ: Mapping[str, str]) -> str:
    """The scheduler's name of the job, the same after it was requeued; of a step of it, the process's as well."""
    parts = [environ.get(name, "") for name in ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_PROCID")]
    return "slurm:" + ":".join(parts) if parts[1] else ""


def _newest(wanted: Callable[[RunDir], bool]) -> RunDir | None:
    return next((run for run in reversed(all_runs(spool_root())) if wanted(run)), None)


def _alike(run: RunDir, settings: RunSettings) -> bool:
    one, other = run.settings, settings
    return (one.command, one.tracking_uri, one.experiment) == (other.command, other.tracking_uri, other.experiment)


def _several(run: RunDir) -> bool:
    progress = run.progress()
    return progress is not None and progress.parent is not None


def _checkpoints(folder: Path) -> Iterator[tuple[str, Any]]:
    """What the attempt and those before it have written, the latest last."""
    for file in [folder / FILE, *sorted(folder.glob("checkpoints-*.json"), key=lambda file: file.stat().st_mtime)]:
        with suppress(OSError, ValueError, KeyError):
            document = json.loads(file.read_text("utf-8"))
            yield from (document["checkpoints"] if file.name == FILE else document).items()
