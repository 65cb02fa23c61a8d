"""A small real sweep: the example scripts over one design of hyperparameters, captured as by `hpkb log`.

Every task gets the same configurations, so that what is learnt on some tasks can be tested on the others.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hpkb.demo_design import Job, plan
from hpkb.errors import HpkbError
from hpkb.ship import launch
from hpkb.ship.rundir import RunDir, RunSettings, unshipped

if TYPE_CHECKING:
    from hpkb.ship.client import MlflowClient, Run
    from hpkb.ship.shipper import Shipper

EXPERIMENT = "demo"
KEY_TAG = "hpkb.demo.key"
_LINE_EVERY = 30.0  # seconds between two lines of progress where there is no terminal


@dataclass(frozen=True)
class Standing:
    """How far the sweep has come. `failed` counts scripts that ended with an exit status other than 0."""

    done: int
    total: int
    failed: int = 0


@dataclass(frozen=True)
class DemoReport:
    """What a call of the demo did: `trained` runs in `seconds`; `skipped` ones were in the store before."""

    tracking_uri: str
    experiment: str
    trained: int
    skipped: int
    failed: int
    seconds: float


Progress = Callable[[Standing], None]


def examples_folder() -> Path:
    """The folder of the example scripts; raises HpkbError where this installation has none."""
    packaged = find_spec("hpkb.examples")
    folders = [Path(place) for place in (packaged and packaged.submodule_search_locations) or ()]
    folders += [Path(__file__).resolve().parent.parent / "examples", Path("examples").absolute()]
    for folder in folders:
        if (folder / "digits_mlp.py").is_file():
            return folder
    raise HpkbError("This installation of hpkb came without its example scripts, which the demo trains. "
                    "Run the demo in a checkout of the repository.")  # fmt: skip


def run_demo(
    directory: Path, quick: bool = False, workers: int = 2, seed: int = 0, progress: Progress | None = None
) -> DemoReport:
    """Trains what the store `directory/mlflow.db` does not hold yet of the design, and returns what was done.

    A run that ended, well or badly, is not repeated; one that was cut off is, and its remains are put aside. On
    KeyboardInterrupt the running scripts are ended and everything captured is shipped before it goes on its way.
    Raises HpkbError where PyTorch or the examples are missing, TrackingError where the store does not take the runs.
    """
    return sweep(plan(quick, seed), directory, workers, progress)


def sweep(jobs: Sequence[Job], directory: Path, workers: int, progress: Progress | None = None) -> DemoReport:
    """Trains those of the jobs that the store does not hold, `workers` at a time. See `run_demo`."""
    folder, started = examples_folder(), time.monotonic()
    if find_spec("torch") is None:
        raise HpkbError("The demo trains with PyTorch, which is not installed. Try: pip install 'hpkb[demo]'")
    with _Delivery(directory) as delivery:
        there = delivery.catch_up({job.key for job in jobs})
        to_do = [job for job in jobs if job.key not in there]
        tally = _Tally(len(jobs), len(jobs) - len(to_do), progress)

        def ended(run: RunDir, returncode: int) -> None:
            delivery.send(run)
            tally.count(returncode)

        runs = (_run_folder(job, folder, delivery) for job in to_do)
        _train(runs, [_Worker(folder.parent) for _ in range(min(workers, len(to_do)))], ended)
    seconds = time.monotonic() - started
    return DemoReport(delivery.uri, EXPERIMENT, len(to_do), len(jobs) - len(to_do), tally.failed, seconds)


@contextmanager
def progress_bar(stream: IO[str]) -> Iterator[Progress]:
    """Gives a progress that draws a bar with the time to go; off a terminal it writes a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(file=stream)
    if not console.is_terminal:
        yield _lines(stream)
        return
    columns = (TextColumn("training"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, speed_estimate_period=120) as bar:
        task = bar.add_task("training", total=None)
        yield lambda standing: bar.update(task, completed=standing.done, total=standing.total)


def _lines(stream: IO[str]) -> Progress:
    started = last = time.monotonic()
    first: Standing | None = None

    def write(standing: Standing) -> None:
        nonlocal last, first
        first = first or standing
        now, done = time.monotonic(), standing.done - first.done
        if standing.done < standing.total and (not done or now - last < _LINE_EVERY):
            return
        last = now
        to_go = (now - started) / max(done, 1) * (standing.total - standing.done)
        print(f"{standing.done} of {standing.total} runs, {to_go:.0f} s to go", file=stream, flush=True)

    return write


class _Tally:
    """Counts the runs that ended, and tells how the sweep stands."""

    def __init__(self, total: int, done: int, progress: Progress | None) -> None:
        self.failed = 0
        self._total, self._done = total, done
        self._progress = progress or (lambda standing: None)
        self._tell()

    def count(self, returncode: int) -> None:
        """Counts one run; a script that was killed does not count as done, since it will run again."""
        self._done += returncode >= 0
        self.failed += returncode > 0
        self._tell()

    def _tell(self) -> None:
        self._progress(Standing(self._done, self._total, self.failed))


class _Delivery:
    """Ships the runs of one demo, in a thread beside the training: MLflow is imported once for all of them.

    Leaving the context waits until everything is shipped. What the store does not take stays in the spool, from
    where the next call ships it.
    """

    def __init__(self, directory: Path) -> None:
        self.uri = f"sqlite:///{directory.absolute() / 'mlflow.db'}"
        self.spool = directory / "spool"
        self._file = directory / "mlflow.db"
        self._thread = ThreadPoolExecutor(1, "hpkb-shipping")
        self._sent: deque[Future[None]] = deque()
        self._shipper: Shipper | None = None

    def __enter__(self) -> _Delivery:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self._check()

    def send(self, run: RunDir) -> None:
        """Has the ended run shipped; raises TrackingError where an earlier one was not taken."""
        self._sent.append(self._thread.submit(self._ship, run))
        self._check()

    def catch_up(self, keys: Set[str]) -> set[str]:
        """Returns those of the keys whose runs have ended, after shipping what an earlier call left in the spool.

        Other runs under these keys were cut off; they will be made again, so they are deleted in MLflow.
        """
        left = unshipped(self.spool)
        if not left and not self._file.exists():
            return set()  # a new store can be made while the first scripts run
        for run in left:
            self._ship(run)
        return self._ended(keys)

    def _ended(self, keys: Set[str]) -> set[str]:
        from hpkb.ship.client import MlflowClient

        self._opened()
        client = MlflowClient(self.uri)
        found = [(run.data.tags.get(KEY_TAG), run.info) for run in _runs(client)]
        ended = {key for key, info in found if key and key in keys and info.status in ("FINISHED", "FAILED")}
        for key, info in found:
            if key in keys - ended:
                client.delete_run(info.run_id)
        return ended

    def _ship(self, run: RunDir) -> None:
        with run.lock() as held:
            if held:
                self._opened().finish(run)
                run.discard()

    def _opened(self) -> Shipper:
        if self._shipper is None:
            from hpkb.ship.shipper import Shipper

            self._shipper = Shipper(self.uri)
        return self._shipper

    def _check(self) -> None:
        while self._sent and self._sent[0].done():
            self._sent.popleft().result()


def _runs(client: MlflowClient) -> Iterator[Run]:
    """The runs of the demo that are not deleted."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    page: str | None = None
    while experiment is not None:
        some = client.search_runs([experiment.experiment_id], max_results=1000, page_token=page)
        yield from some
        page = some.token
        if not page:
            return


def _run_folder(job: Job, folder: Path, delivery: _Delivery) -> RunDir:
    settings = RunSettings(
        delivery.uri, EXPERIMENT, job.task, job.name, tags={KEY_TAG: job.key}, command=job.command(folder)
    )
    return RunDir.create(settings, delivery.spool)


def _train(runs: Iterator[RunDir], workers: Sequence[_Worker], ended: Callable[[RunDir, int], None]) -> None:
    """Runs the scripts of all runs on the workers; leaves none behind, whatever happens."""
    free, busy = deque(workers), list[_Worker]()
    try:
        while True:
            while free and (run := next(runs, None)) is not None:
                busy.append(free.popleft())
                busy[-1].start(run)
            if not busy:
                return
            for worker in select.select(busy, [], [])[0]:
                busy.remove(worker)
                free.append(worker)
                ended(*worker.ended())
    finally:
        for last in [worker.stop() for worker in workers]:
            if last is not None:
                ended(*last)


class _Worker:
    """A process that runs one script at a time, out of reach of the terminal's Ctrl-C. See `hpkb.demo_worker`."""

    def __init__(self, folder: Path) -> None:
        python_path = [str(launch.PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
        self._folder = str(folder)
        self._run: RunDir | None = None
        self._due = 0  # answers that are still to come for this run
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hpkb.demo_worker"], process_group=0, bufsize=0,  # else `select` misses an answer
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, python_path)), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def fileno(self) -> int:
        """What is readable when the script has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def start(self, run: RunDir) -> None:
        """Starts the script of the run under capture, as `hpkb.ship.launch.start` does for a command."""
        self._run, self._due = run, 2
        request = json.dumps([self._folder, str(run.path.absolute()), *run.settings.command[1:]])
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the answer says why
            self._process.stdin.write(request.encode() + b"\n")
        launch.record(run, {"type": "child", "pid": self._answer()})
        launch.record_surroundings(run, self._folder)

    def ended(self) -> tuple[RunDir, int]:
        """The run whose script has ended, and its return code."""
        returncode = self._answer()
        run, self._run = self._run, None
        assert run is not None
        launch.record_end(run, returncode)
        return run, returncode

    def stop(self) -> tuple[RunDir, int] | None:
        """Ends the process; returns the run whose script that has cut off, or that had just ended, as `ended` does."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        answers = self._process.communicate()[0].split()
        if self._run is None:
            return None
        returncode = int(answers[-1]) if len(answers) == self._due > 0 else -signal.SIGTERM
        launch.record_end(self._run, returncode)
        return self._run, returncode

    def _answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            self._due -= 1
            return int(line)
        said = self._process.communicate()[1].decode(errors="replace").strip()
        raise HpkbError(f"The scripts of the demo cannot be run: {said.splitlines()[-1] if said else 'no answer'}")
