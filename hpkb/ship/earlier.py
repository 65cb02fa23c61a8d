"""The MLflow run that a resumed job goes on with: found, opened again, and its curves so far put beside the new ones.

The whole curves of a run are one file among its artifacts. Where the run has one, or will have, the points of the
earlier attempts belong into it: so they are fetched before the new attempt adds its own.
"""

from __future__ import annotations

import math
from pathlib import Path

from hpkb import curve_file
from hpkb.errors import TrackingError
from hpkb.ship.rundir import RunDir
from hpkb.ship.store import Store

_FILE = "earlier.parquet"
_INFINITY = 1.7976931348623157e308  # what MLflow has for it


def run_of_earlier(store: Store, run: RunDir, experiment: str, tag: str) -> str | None:
    """The id of the run to go on with; None where there is none. Raises TrackingError while the earlier is not shipped.

    Otherwise the earlier attempt's end could come after the new one's.
    """
    named = run.settings.resumes
    folder = run.path.parent / named
    if named and (folder / "run.json").exists():
        earlier = RunDir.open(folder)
        if not earlier.finished:
            raise TrackingError(f"The earlier attempt {named} of this job is not in MLflow yet, and comes first.")
        progress = earlier.progress()
        named = (progress and progress.run_id) or ""
    if not named:
        return None
    return named if store.has_run(named) else store.find_run(experiment, tag, named)


def fetch_curves(store: Store, run_id: str, tags: dict[str, str], folder: Path) -> None:
    """Puts all points that the run has into a file in the folder, where there are any."""
    target = folder / _FILE
    fetched = store.fetch(run_id, tags[curve_file.TAG], folder) if curve_file.TAG in tags else None
    if fetched is not None:
        fetched.rename(target)
        return
    beside = folder / f"{_FILE}.new"
    count = 0
    with curve_file.CurveFileWriter(beside) as file:
        for point in store.points(run_id):
            infinite = abs(point.value) >= _INFINITY
            value = math.copysign(math.inf, point.value) if infinite else point.value
            file.add(point.key, point.step, point.timestamp, value)
            count += 1
    if count:
        beside.rename(target)
    else:
        beside.unlink()


def curves(folder: Path) -> Path | None:
    """The file with the points of the earlier attempts, None where there are none."""
    return folder / _FILE if (folder / _FILE).exists() else None
