"""A store that is down, dies, hangs, refuses, is slow, or loses its answers: the job does not notice."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.conftest import free_port
from tests.faults.jobs import TIMED, Timing
from tests.faults.place import PATIENCE, Place
from tests.faults.proxy import Proxy
from tests.faults.servers import Server
from tests.faults.truth import Logged, Truth

LANES = 2  # jobs at a time
STEPS, PAUSE = 1000, 0.002
BEGINNING, MIDDLE = 0.0, 1.5  # seconds after which trouble begins
LASTING = 8.0  # seconds after which it is over

TROUBLES = {
    "none": ("pass", BEGINNING),
    "down at the start": ("closed", BEGINNING),
    "dies mid-run": ("closed", MIDDLE),
    "hangs": ("hang", BEGINNING),
    "then hangs": ("hang", MIDDLE),
    "answers 429": ("429", BEGINNING),
    "answers 500": ("500", MIDDLE),
    "takes a second a call": ("slow", BEGINNING),
    "loses its answers": ("deaf", BEGINNING),
}


@dataclass
class Outcome:
    """What became of a job whose store was in trouble."""

    status: int
    errors: str
    timing: Timing
    logged: dict[str, Logged]
    waited: float  # seconds from the job's end to that of `hpkb log`
    synced: bool  # whether it took an `hpkb sync`


@pytest.fixture(scope="module")
def outcomes(made_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    """The outcome of every trouble, all in front of one real server."""
    folder = tmp_path_factory.mktemp("trouble")
    shutil.copy(made_store, folder / "mlflow.db")
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        store.execute("PRAGMA journal_mode = wal")
    server = Server(f"sqlite:///{folder / 'mlflow.db'}", folder, free_port())
    server.start()
    try:
        with ThreadPoolExecutor(LANES) as lanes:
            yield dict(zip(TROUBLES, lanes.map(lambda name: suffer(name, server, folder), TROUBLES), strict=True))
    finally:
        server.kill()


def suffer(name: str, server: Server, folder: Path) -> Outcome:
    """Runs a timed job through a proxy that makes this trouble for a while, and has everything delivered."""
    mode, begin = TROUBLES[name]
    own = folder / name.replace(" ", "-")
    with Proxy(free_port(), server.port) as proxy:
        place = Place(own, proxy.address, MLFLOW_HTTP_REQUEST_TIMEOUT="3")
        trouble = threading.Thread(target=make_trouble, args=(proxy, mode, begin))
        trouble.start()
        try:
            supervisor = place.log(name, TIMED, own / "timing", PAUSE, STEPS)
            _, errors = supervisor.communicate(timeout=PATIENCE)
            waited = time.time() - (own / "timing").stat().st_mtime
            trouble.join()
            synced = bool(place.left())
            place.deliver()
        finally:
            place.kill_everything()
    runs = Truth(f"sqlite:///{folder / 'mlflow.db'}").runs()
    logged = {run: had for run, had in runs.items() if run.startswith(name)}
    return Outcome(supervisor.returncode, errors, Timing.told(own / "timing"), logged, waited, synced)


def make_trouble(proxy: Proxy, mode: str, begin: float) -> None:
    """Makes trouble from `begin` until `LASTING`."""
    time.sleep(begin)
    if mode == "closed":
        proxy.close()
    else:
        proxy.mode = mode
    time.sleep(LASTING - begin)
    proxy.mode = "pass"
    if proxy.closed:
        proxy.open()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", TROUBLES)
def test_everything_arrives_and_nothing_twice(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    print(f"{outcome.timing}; hpkb log waited {outcome.waited:.1f} s, {'synced' if outcome.synced else 'delivered'}")
    assert list(outcome.logged) == [name]
    run = outcome.logged[name]
    assert sorted(run.points) == [(step, step / 2) for step in range(1, STEPS + 1)]
    assert (run.status, run.reason) == ("FINISHED", "exit status 0")


@pytest.mark.parametrize("name", TROUBLES)
def test_the_job_does_not_notice(outcomes: dict[str, Outcome], name: str) -> None:
    """No call of `log` waits for the store, the job takes no longer, and its supervisor stays patient, not endless."""
    outcome, healthy = outcomes[name], outcomes["none"]
    assert outcome.timing.waited == []
    assert outcome.timing.seconds < 1.5 * healthy.timing.seconds + 0.5
    assert outcome.status == 0
    assert outcome.waited < 40
    assert len(outcome.errors.splitlines()) <= 1
    if outcome.errors:
        assert "still spooled" in outcome.errors
        assert "hpkb sync" in outcome.errors
