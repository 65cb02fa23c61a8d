"""Forty jobs at once through one server: nothing lost, and the server asked no more than it must be.

`bench/many_jobs.py` does the same with two hundred, and measures. No test asserts a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpkb.ship.pace import RATE
from tests.faults.conftest import NewPlace
from tests.faults.crowd import Crowd, Load
from tests.faults.jobs import COUNTING, Witness
from tests.faults.place import wait_for
from tests.faults.proxy import Proxy
from tests.faults.servers import Server
from tests.faults.truth import Truth, account
from tests.postgres import Database, free_port

JOBS, STEPS, PAUSE = 40, 60, 0.05
IN_TROUBLE = 6.0  # seconds


@pytest.mark.parametrize("machines", [1, 2])
def test_forty_jobs_at_once_through_one_server(
    machines: int, new_place: NewPlace, new_server: Callable[[str], Server], database: Database, tmp_path: Path
) -> None:
    uri = database.create(f"crowd-{machines}")
    with Proxy(free_port(), new_server(uri).port) as proxy:
        places = [new_place(f"machine-{i}", proxy.address) for i in range(machines)]
        crowd = Crowd(tmp_path / "jobs", places, JOBS)
        crowd.gather(STEPS, PAUSE, 120)
        crowd.train(150)
        load = Load.of(proxy.arrivals)
    runs = Truth(uri).runs()
    told = account(runs, {witness.file.stem: witness for witness in crowd.witnesses})
    print(f"{told}; {load.requests} requests in {load.seconds:.1f} s, at most {load.most} in one second")
    assert told.clean, told
    assert (told.runs, told.acknowledged) == (JOBS, JOBS * STEPS)
    assert {run.status for run in runs.values()} == {"FINISHED"}
    assert load.most <= machines * (50 + RATE) + 5  # after a rest some may come at once
    # By run its experiment, its making, its last tags, params and points, and its end; while jobs go on, the tags and
    # the points of ten shipments a second.
    assert load.requests <= 6 * JOBS + 2 * 10 * machines * load.seconds


@pytest.mark.parametrize("answer", ["429", "503"])
def test_a_server_that_asks_for_patience_is_asked_by_one_run_at_a_time(
    answer: str, new_place: NewPlace, new_server: Callable[[str], Server], new_store: Callable[[str], str]
) -> None:
    """Twenty jobs wait for it, and it hears no more of them than of one."""
    uri = new_store("behind")
    with Proxy(free_port(), new_server(uri).port) as proxy:
        place = new_place(uri=proxy.address)
        proxy.mode = answer
        witnesses = [Witness(place.folder / f"job-{i}.witness") for i in range(20)]
        jobs = [place.log(one.file.stem, COUNTING, one.file, 0.002, 50, options=["--no-wait"]) for one in witnesses]
        assert [job.wait(timeout=100) for job in jobs] == [0] * 20
        wait_for(lambda: proxy.requests[answer])
        time.sleep(IN_TROUBLE)
        asked, proxy.mode = proxy.requests[answer], "pass"
        assert asked <= 8  # pauses of 0.5, 1, 2, 4, 8, … seconds, each shorter or longer by chance
        place.sync()
        place.deliver()
    told = account(Truth(uri).runs(), {witness.file.stem: witness for witness in witnesses})
    print(f"{asked} requests while it answered {answer}; {told}")
    assert told.clean
    assert told.acknowledged == 20 * 50
