"""A handbook into MLflow, as the artifact of a run of its own, so that a team sees it where its runs are."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

from hpkb.pages.writer import MANIFEST, HandbookError
from hpkb.ship.address import absolute
from hpkb.ship.store import Store

EXPERIMENT = "hpkb handbook"
FOLDER = "handbook"  # among the run's artifacts
TAG = "hpkb.handbook"  # on a run that holds a handbook and is no training; its value tells which
_READY = "hpkb.handbook.complete"  # its value tells which handbook lies there whole


def publish(directory: Path, uri: str, name: str) -> str:
    """Returns the id of the MLflow run that holds the handbook of a folder; one that is there is not sent again.

    Only files that hpkb wrote are sent. Raises HandbookError where the folder holds no handbook, TrackingError where
    the store does not take it.
    """
    made_of, files = _manifest(directory)
    store = Store(absolute(uri))
    experiment = store.experiment(EXPERIMENT)
    there = store.find_run(experiment, _READY, made_of)
    if there is not None:
        return there
    run_id = store.create_run(experiment, name, _now(), {TAG: made_of, "mlflow.note.content": _note(directory)})
    try:
        with tempfile.TemporaryDirectory() as folder:
            _copy(directory, files, Path(folder))
            store.log_folder(run_id, Path(folder), FOLDER)
        store.log(run_id, {}, {_READY: made_of}, ())
    except BaseException:
        store.end(run_id, "FAILED", _now())
        raise
    store.end(run_id, "FINISHED", _now())
    return run_id


def _copy(directory: Path, files: list[str], folder: Path) -> None:
    for file in files:
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(directory / file, target)
        except FileNotFoundError:
            raise HandbookError(f"The handbook in {directory} lacks {file}. Analyze again.") from None


def _manifest(directory: Path) -> tuple[str, list[str]]:
    """Which handbook lies in a folder, and its files."""
    try:
        found = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        made_of, files = str(found["edition"]), sorted(found["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise HandbookError(f"No handbook in {directory}. Try: hpkb analyze --handbook {directory}") from None
    return made_of, files


def _note(directory: Path) -> str:
    """What the run's page says of it, in Markdown: the handbook's own first lines."""
    told = (directory / "llms.txt").read_text(encoding="utf-8").partition("\n## ")[0].strip()
    how = "`mlflow artifacts download --run-id RUN --artifact-path handbook`, then `hpkb browse FOLDER/handbook`"
    return f"{told}\n\nThe pages are among the artifacts, in `{FOLDER}/`. To read them as a site: {how}."


def _now() -> int:
    return int(time.time() * 1000)
