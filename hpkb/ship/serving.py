"""The service behind `service.py`: ships every run of one store that lies in the spool, as long as there are any."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hpkb.errors import SourceError, StoreInTroubleError, TrackingError
from hpkb.ship.address import without_password
from hpkb.ship.courier import Courier, open_shipper
from hpkb.ship.liveness import job_alive
from hpkb.ship.lock import held
from hpkb.ship.pace import Pace
from hpkb.ship.room import make_room
from hpkb.ship.rundir import SETTINGS, SUPERVISOR, RunDir
from hpkb.ship.service import State, save, woken_at

if TYPE_CHECKING:
    from hpkb.ship.shipper import Shipper

LINGER = 120.0  # seconds that a service stays after its last run; HPKB_LINGER sets another number
_PROBE = 1.0  # seconds in which whoever only looks whether a service runs has let go of its lock
_TICK = 0.05  # seconds between two looks at the spool
_PERIOD = 0.5  # seconds between two shipments of a run that goes on, where there are few
_ROUND = 0.5  # seconds after which the runs whose jobs go on wait for those whose jobs have ended
_RESCAN = 5.0  # seconds between two looks for runs whose job died
_GIVES_UP = 86_400.0  # seconds without an answer after which a service leaves its runs to others
_TIDIES = 60.0  # seconds between two looks for what may go from the spool


def serve(tracking_uri: str, root: Path, folder: Path) -> None:
    """Ships the store's runs until there has been none for a while; returns at once where another serves."""
    with held(folder / "lock", patience=_PROBE) as alone:
        if alone:
            _Service(tracking_uri, root, folder).run(float(os.environ.get("HPKB_LINGER") or LINGER))


class _Service:
    def __init__(self, tracking_uri: str, root: Path, folder: Path) -> None:
        self._uri, self._address = tracking_uri, without_password(tracking_uri)
        self._root, self._folder = root, folder
        self._pace = Pace()
        self._shipper: Shipper | None = None
        self._charges: dict[Path, _Charge] = {}
        self._passed_over: set[Path] = set()  # since the last rescan
        self._looked, self._rescanned = 0.0, -_RESCAN
        self._tidied = time.monotonic()
        self._said = State(since=time.time())
        self._woken = woken_at(folder)

    def run(self, linger: float) -> None:
        """Serves until it may go."""
        with suppress(TrackingError):
            self._opened()  # MLflow's import takes longest, and the job is still on its way
        self._tell(opened=True)
        busy = time.monotonic()
        while self._root.is_dir():
            self._look_for_runs()
            if (woken := woken_at(self._folder)) != self._woken:
                self._woken = woken
                self._retry()
            self._attend()
            if time.monotonic() - self._tidied >= _TIDIES:
                self._tidied = time.monotonic()
                make_room(self._root)
            if self._charges:
                busy = time.monotonic()
                if time.time() - max(self._said.answered, self._said.since) > _GIVES_UP:
                    return  # the next job, or `hpkb sync`, tries again
            elif time.monotonic() - busy >= linger and self._may_go():
                return
            time.sleep(_TICK)

    def _retry(self) -> None:
        """Makes the next attempt at each run at once."""
        self._pace.well()
        for charge in self._charges.values():
            charge.retry()

    def _attend(self) -> None:
        """Does what is due: for all runs whose jobs have ended, and for a moment for the others."""
        begun = time.monotonic()
        in_turn = sorted(self._charges.items(), key=lambda one: one[1].turn())
        running = sum(not charge.over for _, charge in in_turn)
        for path, charge in in_turn:
            if not charge.over and time.monotonic() - begun > _ROUND:
                break
            if charge.attend(self._pace.period(running, _PERIOD)):
                del self._charges[path]
            self._tell()  # a round over hundreds of runs takes longer than a job waits for a word of the store

    def _opened(self) -> Shipper:
        """The shipper that all runs share; raises TrackingError where the store cannot be opened."""
        if self._shipper is None:
            self._shipper = open_shipper(self._uri, self._pace)
            gc.freeze()  # MLflow brings 300,000 objects, and to look through them again and again costs a fifth of all
        return self._shipper

    def _look_for_runs(self) -> None:
        """Takes charge of the runs that are new in the spool, and now and then of those that their jobs have left."""
        now, changed = time.monotonic(), self._root.stat().st_mtime
        rescan = now - self._rescanned >= _RESCAN
        if changed == self._looked and not rescan:
            return
        self._looked = changed
        if rescan:
            self._rescanned = now
            self._passed_over.clear()
        for file in sorted(self._root.glob(f"[!.]*/{SETTINGS}")):
            path = file.parent
            if path not in self._charges and path not in self._passed_over and not self._take_charge(path):
                self._passed_over.add(path)

    def _take_charge(self, path: Path) -> bool:
        try:
            run = RunDir.open(path)
        except SourceError:  # nobody can say where such a run belongs; it stays where it is
            return False
        if not run.to_ship():
            return False
        mine = run.settings.service == self._folder.name
        if run.settings.tracking_uri != self._address or not (mine or not job_alive(run)):
            return False
        self._charges[path] = _Charge(run, Courier(run, self._opened), self._pace, self._forget)
        return True

    def _forget(self, run: RunDir) -> None:
        if self._shipper is not None:
            self._shipper.forget(run)

    def _tell(self, opened: bool = False) -> None:
        """Says how the store is, when that has changed; jobs that wait read it."""
        opening = self._said.opening and not opened
        answered = self._said.answered
        if self._shipper is not None:
            answered = round(time.time() - (time.monotonic() - self._shipper.answered), 1)
        said = State(opening, self._said.since, answered)
        if said != self._said:
            self._said = said
            save(self._folder, said)

    def _may_go(self) -> bool:
        """Whether no run has come in the last moment; behind the gate no job can rely on this service meanwhile."""
        with held(self._folder / "gate", patience=math.inf):
            self._rescanned = -_RESCAN
            self._look_for_runs()
            if self._charges:
                return False
            make_room(self._root)
            with suppress(OSError):  # whoever comes next finds no lock, and starts another service
                (self._folder / "lock").unlink()
            return True


class _Charge:
    """One run that the service ships. It holds the run's lock, except while it waits for a store that has failed."""

    def __init__(self, run: RunDir, courier: Courier, pace: Pace, forget: Callable[[RunDir], None]) -> None:
        self.over = False  # nothing will be added any more: the supervisor said so, or all who could are gone
        self._run, self._courier, self._pace, self._forget = run, courier, pace, forget
        self._lock: ExitStack | None = None
        self._due = 0.0
        self._size = -1
        self._checked = time.monotonic()

    def turn(self) -> tuple[bool, float]:
        """What the runs are sorted by: those that are over come first, then those that have waited longest."""
        self._look()
        return not self.over, self._due

    def attend(self, period: float) -> bool:
        """Does what is due for the run, each `period` of seconds; returns whether it needs no more attention."""
        waits = not self.over and time.monotonic() < self._due
        if waits or self._courier.resting or self._pace.resting:
            return False
        if not self._hold():
            return not self._run.path.is_dir()
        done = False
        if self.over:
            done = not self._run.to_ship() or self._courier.deliver()
        else:
            self._courier.ship()
            self._due = time.monotonic() + period
        failed = self._note()
        if done or failed:
            self._let_go()
        return done or not self._run.path.is_dir()

    def _note(self) -> TrackingError | None:
        """Why the attempt has failed, None where it has not; all are told who need to know."""
        failed = self._courier.error
        self._run.note_failure(str(failed) if failed else None)
        if isinstance(failed, StoreInTroubleError):
            self._pace.trouble()
        elif not failed:
            self._pace.well()
        return failed

    def _hold(self) -> bool:
        """Whether this process alone ships the run now."""
        if self._lock is None:
            lock = ExitStack()
            with suppress(OSError):
                if lock.enter_context(self._run.lock()):
                    self._lock = lock
                    return True
            lock.close()
        return self._lock is not None

    def _let_go(self) -> None:
        self._forget(self._run)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def retry(self) -> None:
        """Makes the next attempt at once."""
        self._due = 0.0
        self._courier.retry()

    def _look(self) -> None:
        """Looks whether the job has ended."""
        if self.over:
            return
        size = _size(self._run.path / SUPERVISOR)
        if size != self._size:
            self._size, self.over = size, self._run.ended()
        if not self.over and time.monotonic() - self._checked > _RESCAN:
            self._checked = time.monotonic()
            self.over = not job_alive(self._run)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1
