"""`kill -9` of the shipper, of shipper and job at once, and of the server, while points are on their way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.conftest import NewPlace, free_port
from tests.faults.jobs import Witness
from tests.faults.place import Place, kill, wait_for
from tests.faults.servers import Server
from tests.faults.truth import Truth, account

KILLS = 10
LANES = 2  # spools, each with a store of its own, at a time
BACKLOG = 15_000  # points that a lane's shippers find


def in_lanes(work: Callable[[int], int]) -> int:
    """Does the work once a lane, side by side; returns how many kills that were."""
    with ThreadPoolExecutor(LANES) as lanes:
        return sum(lanes.map(work, range(LANES)))


def hold(place: Place, *witnesses: Witness) -> None:
    """Has the rest delivered, and holds the store against the witnesses."""
    place.deliver()
    runs = Truth(database(place)).runs()
    told = account(runs, {witness.file.stem: witness for witness in witnesses})
    print(told)
    assert told.clean, told
    assert set(runs) == {witness.file.stem for witness in witnesses}


def database(place: Place) -> str:
    """The database behind the place's store, which may be a server's."""
    return f"sqlite:///{place.folder / 'mlflow.db'}"


def kill_under_way(place: Place, sync: subprocess.Popen[str] | None, more: int) -> int:
    """Kills whatever ships, once `more` further points are in the store; returns the number of processes."""
    truth = Truth(database(place))
    goal = truth.n_points() + more
    wait_for(lambda: truth.n_points() >= goal or (sync is not None and sync.poll() is not None), pause=0.005)
    killed = place.kill_shippers()
    if sync is not None:
        killed += kill([sync.pid])
        sync.communicate(timeout=60)
    return killed


def test_the_shipper_is_killed_while_it_ships(new_place: NewPlace) -> None:
    def lane(number: int) -> int:
        place, rng, killed = new_place(f"lane-{number}"), random.Random(number), 0
        supervisor, witness = place.count(f"job-{number}", 0.0, steps=BACKLOG, options=["--no-wait"])
        supervisor.communicate(timeout=60)
        place.kill_shippers()
        for _ in range(KILLS // LANES):
            assert place.left()
            killed += kill_under_way(place, place.start("sync"), rng.randrange(0, BACKLOG // KILLS)) > 0
        hold(place, witness)
        return killed

    assert in_lanes(lane) == KILLS


def test_a_shipper_and_its_job_are_killed_at_once(new_place: NewPlace) -> None:
    def lane(number: int) -> int:
        place, rng, killed, witnesses = new_place(f"lane-{number}"), random.Random(10 + number), 0, []
        for i in range(KILLS // LANES):
            supervisor, witness = place.count(f"job-{number}-{i}", 0.002, options=["--no-wait"])
            more = rng.randrange(1, 500)
            goal = Truth(place.uri).n_points() + more
            wait_for(lambda goal=goal: Truth(place.uri).n_points() >= goal, pause=0.01)  # type: ignore[misc]
            killed += kill([witness.pid or 0, *place.shippers()]) >= 2
            supervisor.communicate(timeout=60)
            assert supervisor.returncode == 128 + signal.SIGKILL
            witnesses.append(witness)
        hold(place, *witnesses)
        assert {run.reason for run in Truth(place.uri).runs().values()} == {"SIGKILL"}
        return killed

    assert in_lanes(lane) == KILLS


def test_a_log_that_waits_has_a_new_shipper_do_the_rest(new_place: NewPlace) -> None:
    place = new_place()
    supervisor, witness = place.count("job", 0.0, steps=BACKLOG)
    wait_for(lambda: Truth(place.uri).n_points() > 2000, pause=0.005)
    assert place.kill_shippers() == 1
    _, errors = supervisor.communicate(timeout=90)
    assert (supervisor.returncode, errors) == (0, "")
    assert place.left() == []
    hold(place, witness)


def test_the_server_is_killed_while_points_come(
    new_place: NewPlace, new_store: Callable[[str], str], tmp_path: Path
) -> None:
    """One job a lane; its server dies and comes back until the job has seen enough of it."""

    def lane(number: int) -> int:
        name = f"lane-{number}"
        server = Server(new_store(name), tmp_path / name, free_port())
        place, rng = new_place(name, server.address, MLFLOW_HTTP_REQUEST_TIMEOUT="5"), random.Random(20 + number)
        server.start()
        try:
            return _torment(place, server, rng)
        finally:
            server.kill()

    assert in_lanes(lane) == KILLS


def _torment(place: Place, server: Server, rng: random.Random) -> int:
    truth, enough = Truth(database(place)), place.folder / "enough"
    supervisor, witness = place.count("job", 0.005, until=enough)
    for _ in range(KILLS // LANES):
        goal = truth.n_points() + rng.randrange(1, 300)
        wait_for(lambda goal=goal: truth.n_points() >= goal, pause=0.005)  # type: ignore[misc]
        time.sleep(rng.uniform(0.0, 0.5))
        server.kill()
        server.start()
    enough.touch()
    supervisor.communicate(timeout=90)
    assert supervisor.returncode == 0
    assert not os.path.exists(f"/proc/{witness.pid}")
    hold(place, witness)
    return KILLS // LANES
