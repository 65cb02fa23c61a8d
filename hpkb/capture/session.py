"""One process's capture: what its hooks have seen, on the way into the process's spool file.

There is at most one session a process, `current()`. It is off after a fork, in the child: a worker that happens to
inherit the hooks is no training process. Nothing in here raises; what cannot be written is counted and the first
time also said, in one line on standard error.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import RLock  # what `threading` has, without its import

from .process import own_script, rank

TYPE_CHECKING = False  # `typing` takes longer to import than the rest of capture
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

    from .spool import SpoolWriter
    from .training import Training

_WAITING = 1000  # records kept until the spool is opened


class Session:
    """The capture of this process. `step` counts optimizer steps taken."""

    def __init__(self, run_dir: str, rank: int = 0) -> None:
        self.run_dir = os.path.abspath(run_dir)
        self.rank = rank
        self.step = 0
        self.dropped = 0
        self.training: Training | None = None  # made by the first hook that needs it
        self.closing: list[Callable[[], None]] = []  # called before the end is recorded
        self.seeds: list[tuple[str, int]] = []
        self._started_at = time.time()
        self._spool: SpoolWriter | None = None
        self._lock = RLock()
        self._opening = False
        self._waiting: list[Mapping[str, Any]] = []
        self._values: dict[str, Any] = {}
        self._own_script: bool | None = None
        self._warned = False

    @property
    def own_script(self) -> bool:
        """Whether the main program is the user's own; asked once, and not before the main program runs."""
        if self._own_script is None:
            self._own_script = own_script()
        return self._own_script

    @property
    def is_open(self) -> bool:
        """Whether anything of substance has been recorded."""
        return self._spool is not None

    def parameter(self, name: str) -> Any:
        """Returns the recorded value of a parameter, None where there is none."""
        return self._values.get(name)

    def params(self, values: Mapping[str, Any], origin: str, opens: bool = True) -> None:
        """Records parameters; the first value of a name stays, as MLflow has it.

        With `opens` false they wait until something else has opened the spool.
        """
        fresh = {name: value for name, value in values.items() if name not in self._values}
        if fresh:
            self._values.update(fresh)
            self._record({"type": "params", "values": fresh, "origin": origin}, opens)

    def tags(self, values: Mapping[str, str]) -> None:
        """Records tags; they wait until something else has opened the spool."""
        if values:
            self._record({"type": "tags", "values": dict(values)}, opens=False)

    def split(self, role: str, dataset: str, n: int, digest: str, digest_of: str) -> None:
        """Records one data split."""
        self._record(
            {"type": "split", "role": role, "dataset": dataset, "n": n, "digest": digest, "digest_of": digest_of}
        )

    def note(self, kind: str, **fields: Any) -> None:
        """Records something else, `{"type": kind, ...}`; it waits until something else has opened the spool."""
        self._record({"type": kind, **fields}, opens=False)

    def artifact(self, path: str, text: str) -> None:
        """Records a text that becomes the file `path` among the run's artifacts."""
        self.note("artifact", path=path, text=text)

    def points(self, step: int, values: Mapping[str, float], at: float | None = None) -> None:
        """Records the metrics of one step; `at` is in seconds since 1970, now by default."""
        if self.rank:
            return
        try:
            if self._spool is None and not self._open():
                return
            assert self._spool is not None
            self._spool.points(step, time.time() if at is None else at, values)
        except Exception as error:
            self._drop(len(values), error)

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Records metrics that the script names itself; a value on a GPU is read later, without waiting for it."""
        at = self.step if step is None else int(step)
        now: dict[str, float] = {}
        for name, value in metrics.items():
            try:
                if getattr(value, "is_cuda", False):
                    from .training import training_of

                    training_of(self).log_later(at, str(name), value)
                else:
                    now[str(name)] = float(value)
            except Exception as error:
                self._drop(1, error)
        if now:
            self.points(at, now)

    def failed(self, what: str, error: BaseException) -> None:
        """Counts something that a hook could not record."""
        self._drop(1, error, what)

    def close(self, status: str, reason: str, exit_status: int | None) -> None:
        """Records the end and closes the spool; the session is off after that."""
        for finish in self.closing:
            try:
                finish()
            except Exception as error:
                self.failed("the end", error)
        raised = exit_status is None and status != "FINISHED"
        self._record(
            {
                "type": "end",
                "status": status,
                "reason": reason,
                "exit_status": exit_status,
                "ended_at": time.time(),
                "dropped": self.dropped,
            },
            opens=raised and self.own_script,
        )
        self.turn_off()

    def turn_off(self) -> None:
        """Ends the capture without a word; hooks that still run find no session."""
        global _current
        if _current is self:
            _current = None
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()

    def _record(self, record: Mapping[str, Any], opens: bool = True) -> None:
        if self.rank and record["type"] != "end":
            return
        try:
            if self._spool is None and not (opens and self._open()):
                if len(self._waiting) < _WAITING:
                    self._waiting.append(record)
                return
            assert self._spool is not None
            self._spool.write(record)
        except Exception as error:
            self._drop(1, error)

    def _open(self) -> bool:
        """Whether the spool is open now; raises BlockingIOError in a signal handler that interrupts the opening."""
        with self._lock:
            if self._spool is not None:
                return True
            if self._opening:
                raise BlockingIOError("the spool is being opened by this very thread")
            self._opening = True
            try:
                return self._open_now()
            finally:
                self._opening = False

    def _open_now(self) -> bool:
        """Whether the spool could be opened; where it could not, capture ends for this process."""
        from .redact import command
        from .spool import SUFFIX, SpoolWriter

        pid = os.getpid()
        path = os.path.join(self.run_dir, f"process-{pid}-{os.urandom(4).hex()}{SUFFIX}")
        header = {
            "role": "process",
            "rank": self.rank,
            "pid": pid,
            "started_at": self._started_at,
            "python": ".".join(map(str, sys.version_info[:3])),
            "argv": command(getattr(sys, "argv", [])),
        }
        try:
            spool = SpoolWriter(path, header)
        except OSError as error:
            self._warn(f"this process is not captured: no spool in {self.run_dir} ({error.strerror})")
            self.turn_off()
            return False
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            try:
                spool.write(record)
            except Exception as error:
                self._drop(1, error)
        self._spool = spool
        return True

    def _drop(self, count: int, error: BaseException, what: str = "a record") -> None:
        self.dropped += count
        self._warn(f"{what} was not captured, and the job goes on ({type(error).__name__}: {error})")
        if os.environ.get("HPKB_DEBUG") == "1":
            import traceback

            traceback.print_exception(type(error), error, error.__traceback__)

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            try:
                sys.stderr.write(f"hpkb: {text}\n")
            except Exception:
                pass


_current: Session | None = None
_fork_watched = False


def current() -> Session | None:
    """Returns the session of this process, None where it is not captured."""
    return _current


def start(run_dir: str) -> Session:
    """Begins to capture this process into `run_dir`; returns the session that runs already where there is one."""
    global _current, _fork_watched
    if _current is not None:
        return _current
    _current = Session(str(run_dir), rank())
    if not _fork_watched:
        _fork_watched = True
        os.register_at_fork(after_in_child=_off_in_child)
    from .hooks import install

    install(_current)
    return _current


def stop(status: str = "FINISHED", reason: str = "exit status 0", exit_status: int | None = 0) -> None:
    """Ends the capture of this process; what was seen is in the spool when it returns."""
    if _current is not None:
        _current.close(status, reason, exit_status)


def log(metrics: Mapping[str, Any], step: int | None = None) -> None:
    """Records metrics of the current run; does nothing outside one. `step` counts optimizer steps."""
    if _current is not None:
        try:
            _current.log(metrics, step)
        except Exception as error:
            _current.failed("hpkb.log", error)


def _off_in_child() -> None:
    global _current
    _current = None  # the spool is not closed: another thread may have held its lock at the fork
