"""One process's capture: what its hooks have seen, on the way into the process's spool file.

There is at most one session a process, `current()`. A process that may be a mere worker (of a DataLoader, say), or
another rank that does not know its number yet, waits: only its first optimizer step opens its spool. Of a distributed
job the first rank speaks for hyperparameters and curves; the others tell of their hardware and of their end. Nothing
in here raises; what cannot be written is counted and the first time also said, in one line on standard error.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import RLock  # what `threading` has, without its import
from gc import is_tracked

from .process import is_ray_worker, is_worker, may_be_another_rank, own_script, place, rank

TYPE_CHECKING = False  # `typing` takes longer to import than the rest of capture
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, TypeVar

    from .spool import SpoolWriter
    from .training import Training

    Part = TypeVar("Part")

SEEN = "seen"  # a file of the run folder: capture has begun in some process, whether or not it had anything to record
_WAITING = 1000  # records kept until the spool is opened


class Session:
    """The capture of this process. `step` counts optimizer steps taken, by this process alone."""

    def __init__(self, run_dir: str, rank: int = 0, worker: bool = False) -> None:
        self.run_dir = os.path.abspath(run_dir)
        self.rank = rank
        self._worker = worker
        self._waits = worker or may_be_another_rank()  # for a training; nothing else opens the spool
        self.step = 0
        self.before = 0  # optimizer steps of earlier attempts that this process goes on from (`resumed.py`)
        self.dropped = 0
        self.training: Training | None = None  # made by the first hook that needs it
        self.closing: list[Callable[[], None]] = []  # called before the end is recorded
        self.seeds: list[tuple[str, int]] = []
        self.after_points: Callable[[int, Mapping[str, float]], bool] | None = None  # whether it wants every next one
        self.tells_all = True  # whether it does: otherwise only of points without a training loss that is a number
        self._parts: dict[Any, Any] = {}
        self._started_at = time.time()
        self._spool: SpoolWriter | None = None
        self._lock = RLock()
        self._opening = False
        self._waiting: list[Mapping[str, Any] | tuple[int, dict[str, float], float]] = []
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

    def part(self, kind: Callable[[Session], Part]) -> Part:
        """Returns the session's one object of a class, made where it is new: what a hook keeps between its calls."""
        found: Part | None = self._parts.get(kind)
        if found is None:
            found = self._parts[kind] = kind(self)
        return found

    def metric_names(self) -> set[str]:
        """Returns the names of the metrics recorded so far."""
        return set() if self._spool is None else self._spool.names()

    def parameter(self, name: str) -> Any:
        """Returns the recorded value of a parameter, None where there is none."""
        return self._values.get(name)

    def params(self, values: Mapping[str, Any], origin: str, opens: bool = True) -> None:
        """Records parameters; the first value of a name stays, as MLflow has it.

        With `opens` false they wait until something else has opened the spool.
        """
        if self._waits and origin == "argparse" and is_ray_worker():
            return  # Ray's own arguments
        fresh = {name: value for name, value in values.items() if name not in self._values}
        if fresh:
            self._values.update(fresh)
            self._record({"type": "params", "values": fresh, "origin": origin}, opens)

    def tags(self, values: Mapping[str, str]) -> None:
        """Records tags; they wait until something else has opened the spool."""
        if values:
            self._record({"type": "tags", "values": dict(values)}, opens=False)

    def split(self, role: str, dataset: str, n: int, digest: str, digest_of: str, **fields: Any) -> None:
        """Records one data split."""
        known = {"role": role, "dataset": dataset, "n": n, "digest": digest, "digest_of": digest_of}
        self._record({"type": "split", **known, **fields})

    def note(self, kind: str, **fields: Any) -> None:
        """Records something else, `{"type": kind, ...}`; it waits until something else has opened the spool.

        `training` says that this process has made its first optimizer step: now it knows its rank.
        """
        if kind == "training":
            self._trains()
        else:
            self._record({"type": kind, **fields}, opens=False)

    def _trains(self) -> None:
        told = place()
        self._waits = False
        self.rank = told["rank"]
        if self.rank:
            from .ranks import peak_memory

            self.closing.append(lambda: self.tags(peak_memory()))
        self._record({"type": "training", "at": time.time(), **told})

    def artifact(self, path: str, text: str) -> None:
        """Records a text that becomes the file `path` among the run's artifacts."""
        self.note("artifact", path=path, text=text)

    def points(self, step: int, values: dict[str, float], at: float | None = None) -> None:
        """Records the metrics of one step; `at` is in seconds since 1970, now by default."""
        if self.rank:
            return
        try:
            spool = self._spool
            if spool is not None:
                spool.points(step + self.before, time.time() if at is None else at, values)
                if self.after_points is not None:
                    loss = values.get("train_loss")
                    if self.tells_all or loss is None or loss - loss != 0.0:
                        self.tells_all = self.after_points(step, values)
            else:
                self._first_points(step, time.time() if at is None else at, values)
        except Exception as error:
            self._drop(len(values), error)

    def _first_points(self, step: int, at: float, values: dict[str, float]) -> None:
        if self._open():
            assert self._spool is not None
            self._spool.points(step + self.before, at, values)
        elif self._waits and len(self._waiting) < _WAITING:
            self._waiting.append((step, dict(values), at))

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Records metrics that the script names itself; a value on a GPU is read later, without waiting for it."""
        at = self.step if step is None else int(step)
        for name, value in metrics.items():
            if type(value) is not float or type(name) is not str:
                return self._log_each(at, metrics)
        if metrics:
            self.points(at, metrics if type(metrics) is dict else dict(metrics))

    def _log_each(self, at: int, metrics: Mapping[str, Any]) -> None:
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

    def lost(self, metrics: object, error: BaseException) -> None:
        """Counts metrics of the script's own that could not be recorded."""
        self._drop(len(metrics) if isinstance(metrics, dict) else 1, error, "hpkb.log")

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
        if raised and self._waits and not self._worker:
            self._waits = False  # a rank that fails before it trains still says why, and nothing else
            self._waiting.clear()
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
        try:
            if self._spool is None and not (opens and self._open()):
                if len(self._waiting) < _WAITING:
                    self._waiting.append(record)
                return
            self._write(record)
        except Exception as error:
            self._drop(1, error)

    def _write(self, record: Mapping[str, Any]) -> None:
        """Writes a record to the open spool, of another rank than the first only what it may tell."""
        assert self._spool is not None
        told: Mapping[str, Any] | None = record
        if self.rank:
            from .ranks import of_rank

            told = of_rank(self.rank, record)
        if told is not None:
            self._spool.write(told)

    def _open(self) -> bool:
        """Whether the spool is open now; raises BlockingIOError in a signal handler that interrupts the opening."""
        if self._waits:
            return False
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
        from .spool import SUFFIX, SpoolWriter, limit

        pid = os.getpid()
        path = os.path.join(self.run_dir, f"process-{pid}-{os.urandom(4).hex()}{SUFFIX}")
        header = {
            "role": "process",
            "rank": self.rank,
            "pid": pid,
            "parent": os.getppid() if self._worker else None,  # it parsed the command line for this process
            "started_at": self._started_at,
            "python": ".".join(map(str, sys.version_info[:3])),
            "argv": command(getattr(sys, "argv", [])),
        }
        try:
            spool = SpoolWriter(path, header, limit(os.environ))
        except OSError as error:
            self._warn(f"this process is not captured: no spool in {self.run_dir} ({error.strerror})")
            self.turn_off()
            return False
        self._spool = spool
        if self._worker:
            from .workers import watch_end_of_worker

            watch_end_of_worker()
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            if not isinstance(record, tuple):
                self._record(record)
            elif not self.rank:
                self.points(*record)
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
    _current = Session(str(run_dir), rank(), is_worker())
    _leave_mark(_current.run_dir)
    if not _fork_watched:
        _fork_watched = True
        os.register_at_fork(after_in_child=_begin_in_child)
    from .hooks import install

    install(_current)
    return _current


def stop(status: str = "FINISHED", reason: str = "exit status 0", exit_status: int | None = 0) -> None:
    """Ends the capture of this process; what was seen is in the spool when it returns."""
    if _current is not None:
        _current.close(status, reason, exit_status)


def log(metrics: Mapping[str, Any], step: int | None = None) -> None:
    """Records metrics of the current run; does nothing outside one. `step` counts optimizer steps.

    In the usual case, plain numbers that no part of capture looks at, they go to the spool from here: every further
    call would be felt in a loop. A dict that the garbage collector does not track holds no tensor, nor anything else
    that is more than a number or a text; what is no number the spool refuses.
    """
    live = _current
    if live is None:
        return
    try:
        spool = live._spool
        if (
            spool is not None and type(metrics) is dict and type(step) is int and metrics
            and not (is_tracked(metrics) or live.after_points or live.rank)
        ):  # fmt: skip
            try:
                return spool.points(step, time.time(), metrics)
            except OSError:
                raise
            except Exception:  # something in there is no number: each is looked at by itself
                pass
        live.log(metrics, None if step is None else int(step) - live.before)
    except Exception as error:
        live.lost(metrics, error)


def _leave_mark(run_dir: str) -> None:
    try:
        os.close(os.open(os.path.join(run_dir, SEEN), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError:  # the first record will meet it too, and say so
        pass


def _begin_in_child() -> None:
    """Gives a forked process a session of its own; the old spool is not closed, its lock may be held by a thread."""
    global _current
    if _current is not None:
        _current = Session(_current.run_dir, 0, worker=True)
