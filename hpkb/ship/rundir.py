"""The run folder: where one run's spool files, settings and shipping positions lie until MLflow has them all.

    <spool root>/<run key>/run.json        the settings, written once and whole
                           *.spool         one a process, and supervisor.spool; *.spool.1 and so on go on from there
                           shipped.json    the MLflow run and how far each file has been acknowledged
                           failure.json    why the last attempt to ship has failed
                           lock            held by whoever ships
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hpkb.capture import redact
from hpkb.capture.spool import SUFFIX, SpoolWriter
from hpkb.capture.spool_reader import SpoolReader, stream_end
from hpkb.errors import SourceError
from hpkb.ship.address import absolute
from hpkb.ship.address import without_password as without_password
from hpkb.ship.lock import held

SETTINGS = "run.json"
SHIPPED = "shipped.json"
FAILURE = "failure.json"
SUPERVISOR = "supervisor" + SUFFIX


@dataclass(frozen=True)
class RunSettings:
    """What a person asked of one run. `tracking_uri` may hold a password; a run folder never does."""

    tracking_uri: str
    experiment: str
    task: str | None = None
    run_name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    full_metrics: bool = False
    durability: str = "os"  # or "fsync" (`hpkb.ship.durability`)
    resumes: str = ""  # the run folder, or the MLflow run, that this one goes on with (`hpkb.ship.resume`)
    job: str = ""  # the scheduler's name of the job, the same for each attempt
    service: str = ""  # the name of the service that ships the run (`hpkb.ship.service`)

    def storable(self) -> RunSettings:
        """The same settings without any secret, and with an address that holds from every working directory."""
        uri = without_password(absolute(self.tracking_uri))
        return replace(self, tracking_uri=uri, command=_shown(self.command))


@dataclass(frozen=True)
class Progress:
    """How far a job has come on its way: `positions` are acknowledged offsets, one a spool file.

    `run_id` is the job's only MLflow run. Where the job turns out to hold several trainings, that run is the first
    training's, and `parent` another one above all of them. `runs` has the MLflow run of each training by its key,
    `placed` the training of each spool file (see `hpkb.ship.trainings`). `curves` has the states of thinned curves
    by MLflow run, and `counted` how many steps of each spool file have gone into them.
    """

    run_id: str | None = None
    status: str = ""  # with which the job ended
    positions: Mapping[str, int] = field(default_factory=dict)
    finished: bool = False
    parent: str | None = None
    runs: Mapping[str, str] = field(default_factory=dict)
    placed: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)


def spool_root() -> Path:
    """The folder of all run folders: `$HPKB_SPOOL`, `$XDG_STATE_HOME/hpkb/spool` or `~/.local/state/hpkb/spool`."""
    if chosen := os.environ.get("HPKB_SPOOL"):
        return Path(chosen).absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "hpkb" / "spool"


class RunDir:
    """One run's folder. `host` is the machine that it was made on, `created_at` is in seconds since 1970."""

    def __init__(self, path: Path, settings: RunSettings, created_at: float, host: str) -> None:
        self.path = path
        self.settings = settings
        self.created_at = created_at
        self.host = host
        self._supervisor: SpoolWriter | None = None

    @classmethod
    def create(cls, settings: RunSettings, root: Path | None = None) -> RunDir:
        """Makes a new run folder, whole or not at all; raises SourceError where the disk does not allow it."""
        root = root or spool_root()
        run = cls(root / _new_key(), settings.storable(), time.time(), os.uname().nodename)
        document = {**asdict(run.settings), "created_at": run.created_at, "host": run.host}
        hidden = run.path.with_name(f".{run.path.name}")
        try:
            hidden.mkdir(mode=0o700, parents=True)
            write_whole(hidden / SETTINGS, document)
            hidden.rename(run.path)
        except OSError as error:
            shutil.rmtree(hidden, ignore_errors=True)
            raise unwritable(root, error) from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDir:
        """The run folder at `path`; raises SourceError where there is none, or its settings are damaged."""
        path = Path(path).absolute()
        try:
            document = json.loads((path / SETTINGS).read_text("utf-8"))
            created_at, host = float(document.pop("created_at")), str(document.pop("host"))
            document["command"] = tuple(document["command"])
            return cls(path, RunSettings(**document), created_at, host)
        except OSError as error:
            raise SourceError(f"{path} is no run folder: it has no {SETTINGS} that can be read.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path / SETTINGS} is damaged, so this run cannot be shipped.") from error

    def spools(self) -> list[Path]:
        """The spool files that are there now, the supervisor's first."""
        return sorted(self.path.glob("*" + SUFFIX), key=lambda file: (file.name != SUPERVISOR, file.name))

    def record(self, record: Mapping[str, Any]) -> None:
        """Appends one record to the supervisor's spool, which begins with a header; raises OSError."""
        if self._supervisor is None:
            self._supervisor = SpoolWriter(str(self.path / SUPERVISOR), {
                "role": "supervisor", "rank": 0, "pid": os.getpid(), "started_at": time.time(),
                "python": sys.version.split()[0], "argv": list(self.settings.command),
            })  # fmt: skip
        self._supervisor.write(record)

    def points(self, step: int, values: Mapping[str, float]) -> None:
        """Appends the metrics of one step to the supervisor's spool, which has begun; raises OSError."""
        if self._supervisor is not None:
            self._supervisor.points(step, time.time(), dict(values))

    def supervised(self) -> list[dict[str, Any]]:
        """The records of the supervisor's spool, none where it has not begun."""
        try:
            return [record for _, record in SpoolReader(str(self.path / SUPERVISOR)).read() if isinstance(record, dict)]
        except FileNotFoundError:
            return []

    def ended(self) -> bool:
        """Whether the supervisor has recorded the end of the job."""
        return any(record.get("type") == "end" for record in self.supervised())

    def progress(self) -> Progress | None:
        """What has been acknowledged; None before the first attempt. A damaged file reads as nothing acknowledged."""
        try:
            return Progress(**json.loads((self.path / SHIPPED).read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return Progress()

    def save(self, progress: Progress, durable: bool = False) -> None:
        """Replaces what has been acknowledged, whole; `durable` also against a loss of power."""
        write_whole(self.path / SHIPPED, asdict(progress), durable)

    @property
    def finished(self) -> bool:
        """Whether MLflow has the run's end."""
        progress = self.progress()
        return progress is not None and progress.finished

    @property
    def run_id(self) -> str | None:
        """The id of the MLflow run, of the parent where there are several; None where there is none yet."""
        progress = self.progress()
        return (progress.parent or progress.run_id) if progress else None

    def failure(self) -> str | None:
        """Why the last attempt to ship has failed, None where it has not."""
        try:
            return str(json.loads((self.path / FAILURE).read_text("utf-8")))
        except (OSError, ValueError):
            return None

    def failed_since(self, moment: float) -> bool:
        """Whether an attempt to ship has failed since that moment, in seconds since 1970."""
        try:
            return (self.path / FAILURE).stat().st_mtime > moment
        except OSError:
            return False

    def note_failure(self, why: str | None) -> None:
        """Writes down why an attempt has just failed, or that it has not."""
        with suppress(OSError):
            if why is None:
                (self.path / FAILURE).unlink(missing_ok=True)
            else:
                write_whole(self.path / FAILURE, why, durable=False)

    def to_ship(self) -> bool:
        """Whether the folder holds anything that MLflow has not acknowledged."""
        progress = self.progress() or Progress()
        return not progress.finished or any(
            stream_end(str(file)) > progress.positions.get(file.name, 0) for file in self.spools()
        )

    def lock(self, patience: float = 0.0) -> AbstractContextManager[bool]:
        """Gives True while the caller alone may ship the folder, False where another still does after `patience` s."""
        return held(self.path / "lock", patience)

    def discard(self) -> None:
        """Removes the folder of a run that never began."""
        shutil.rmtree(self.path, ignore_errors=True)


def unwritable(root: Path, error: OSError) -> SourceError:
    """What to tell the person whose spool cannot be written."""
    return SourceError(f"The spool {root} cannot be written ({error.strerror}). Set HPKB_SPOOL to a folder that can.")


def unshipped(root: Path | None = None) -> list[RunDir]:
    """The run folders that hold anything MLflow does not have, the oldest first; none where there is no spool."""
    return [run for run in all_runs(root or spool_root()) if run.to_ship()]


def all_runs(root: Path) -> list[RunDir]:
    """The run folders of a spool, the oldest first."""
    folders = (file.parent for file in root.glob(f"[!.]*/{SETTINGS}"))
    return sorted(_readable(folders), key=lambda run: (run.created_at, run.path))


def _readable(folders: Iterable[Path]) -> Iterator[RunDir]:
    for folder in folders:
        with suppress(SourceError):  # nobody can say where such a run belongs; it stays where it is
            yield RunDir.open(folder)


def _shown(command: Sequence[str]) -> tuple[str, ...]:
    """The command line without secrets, those of `env NAME=VALUE` as well."""
    plain = []
    for argument in command:
        name, equals, text = argument.partition("=")
        plain.append(f"{name}={redact.value(name, text)}" if equals and name.isidentifier() else argument)
    return tuple(redact.command(plain))


def _new_key() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(4).hex()}"


def write_whole(path: Path, document: Mapping[str, Any] | str, durable: bool = True) -> None:
    """Writes beside the file and renames, so that a reader sees the old document or the new one."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(document, file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    beside.replace(path)
