"""One shipper for all jobs of a store on this machine: the first job starts it, it lingers a while after the last.

Importing MLflow takes seconds, so a hundred short jobs pay for it once. The service of a store holds a lock as long as
it lives; whoever has a run to ship calls `ensure`, which starts a service where none holds the lock. It finds the runs
by itself in the spool, those too whose job died before they were shipped (`serving.py`).

    <spool root>/.shippers/<key>/lock          held by the service
                                 gate          held for a moment: by a job that looks for the service, and by a
                                               service that looks for one more run before it goes
                                 wake          touched by who wants the service to try at once
                                 state.json    what the service knows of the store, for the jobs that wait

The key stands for the tracking URI and the credentials in the environment. It is salted, so that a file name gives
nothing away, and a job with other credentials has a service of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hpkb.capture.salt import salt
from hpkb.ship import launch
from hpkb.ship.lock import held
from hpkb.ship.rundir import RunDir, spool_root, unwritable, write_whole

_SHIPPERS = ".shippers"
_STARTING = 60.0  # seconds that a service may take to import MLflow and to open its store
_CREDENTIALS = ("MLFLOW_", "AWS_", "GOOGLE_APPLICATION_", "AZURE_")
_LONGEST = 60.0  # seconds that a job waits for a store that takes its run slowly
_PAUSE = 0.02  # seconds between the first two looks of a job that waits
_LONGEST_PAUSE = 0.5
_SHARE = 0.1  # of the time waited, which the next pause takes: hundreds of jobs wait at a time and share the processors


@dataclass(frozen=True)
class State:
    """What a service says of its store, times in seconds since 1970; `opening` until it has tried to open it."""

    opening: bool = True
    since: float = 0.0
    answered: float = 0.0


def name(tracking_uri: str, root: Path | None = None) -> str:
    """Returns the name of the service for this address and the credentials in the environment.

    Raises SourceError where the spool cannot be written.
    """
    given = {key: value for key, value in os.environ.items() if key.startswith(_CREDENTIALS)}
    given.pop("MLFLOW_TRACKING_URI", None)
    text = json.dumps([tracking_uri, sorted(given.items()), str(launch.PACKAGE), sys.prefix])
    root = root or spool_root()
    try:
        own = salt(str(root / _SHIPPERS / "salt"))
    except OSError as error:
        raise unwritable(root, error) from error
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=own).hexdigest()


def ensure(tracking_uri: str, root: Path | None = None) -> Path:
    """Returns the folder of the store's service, which runs or is about to; raises OSError where it cannot."""
    root = root or spool_root()
    folder = root / _SHIPPERS / name(tracking_uri, root)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held(folder / "gate", patience=math.inf):
        with held(folder / "lock") as free:
            needed = free and not _just_started(folder)
        if needed:
            save(folder, State(since=time.time()))
            _start(tracking_uri, root, folder)
    return folder


def await_delivery(run: RunDir, tracking_uri: str, patience: float) -> bool:
    """Whether the run, whose job has ended, is in MLflow. Raises OSError where no service can be started.

    Waits until the store was silent, or has refused the run, for `patience` seconds; for a minute where it is slow.
    """
    ended = now = time.time()
    folder = ensure(tracking_uri, run.path.parent)
    checked = ended
    while not run.finished:
        refused = run.failure() is not None and now - ended > patience
        late = now - ended > _LONGEST and not state(folder).opening
        if refused or late or silence(folder, ended, now) > patience or not run.path.is_dir():
            return run.finished
        time.sleep(min(max(_PAUSE, _SHARE * (now - ended)), _LONGEST_PAUSE))
        now = time.time()
        if now - checked > 0.5:
            checked, folder = now, ensure(tracking_uri, run.path.parent)
    return True


def urge(run: RunDir, patience: float) -> bool | None:
    """Whether the service that has the run in hand has delivered it, urged to try at once; None where none has it.

    Returns False as soon as the attempt has failed, or after `patience` seconds.
    """
    folder = run.path.parent / _SHIPPERS / (run.settings.service or "none")
    if not folder.is_dir():
        return None
    with held(folder / "lock") as nobody_serves:
        if nobody_serves:
            return None
    begun = time.time()
    (folder / "wake").touch()
    while time.time() - begun < patience and not run.finished:
        if run.failed_since(begun):
            return False
        time.sleep(_PAUSE)
    return run.finished


def running(root: Path | None = None) -> list[str]:
    """Says of each service that runs how it is with its store."""
    told, now = [], time.time()
    for lock in sorted(((root or spool_root()) / _SHIPPERS).glob("*/lock")):
        with suppress(OSError), held(lock) as free:
            if free:
                continue
            said = state(lock.parent)
            how = f"answered {now - said.answered:.0f} s ago" if said.answered else "has not answered"
            told.append(f"{lock.parent.name} runs, its store {'is being opened' if said.opening else how}")
    return told


def woken_at(folder: Path) -> float:
    """Returns when the service was last urged to try at once, 0 for never."""
    try:
        return (folder / "wake").stat().st_mtime
    except OSError:
        return 0.0


def silence(folder: Path, start: float, now: float) -> float:
    """For how many seconds since `start` the store has not answered; while a service starts, nobody has asked it."""
    known = state(folder)
    if known.opening and now - known.since < _STARTING:
        return 0.0
    return now - max(start, known.answered)


def state(folder: Path) -> State:
    """Returns what the service last said."""
    with suppress(OSError, ValueError, TypeError):
        return State(**json.loads((folder / "state.json").read_text("utf-8")))
    return State()


def save(folder: Path, said: State) -> None:
    """Replaces what the service last said; a disk that is full leaves the jobs with the old word."""
    with suppress(OSError):
        write_whole(folder / "state.json", asdict(said), durable=False)


def _just_started(folder: Path) -> bool:
    """Whether a service was started a moment ago that has not come to take its lock."""
    known = state(folder)
    return known.opening and 0 <= time.time() - known.since < 5.0


def _start(tracking_uri: str, root: Path, folder: Path) -> None:
    subprocess.Popen(
        [sys.executable, "-m", "hpkb.ship", str(root), str(folder)], env=_environment(tracking_uri, os.environ),
        start_new_session=True, cwd="/",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _environment(tracking_uri: str, base: Mapping[str, str]) -> dict[str, str]:
    """The service's environment. The address is in it because an argument could be seen by all users."""
    own = {name: value for name, value in base.items() if name != launch.RUN_DIR}
    path = os.pathsep.join([*launch.python_path(base), str(launch.PACKAGE.parent)])
    return {**own, "PYTHONPATH": path, "MLFLOW_TRACKING_URI": tracking_uri}
