"""`kill -9` of the job, of its group and of the whole machine, at random moments: what `log` had taken is in MLflow."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from hpkb.ship.ending import UNSAID
from tests.faults.conftest import NewPlace
from tests.faults.jobs import Witness
from tests.faults.place import Place, wait_for
from tests.faults.truth import Truth, account

TIGHT, PACED = 0.0, 0.002  # seconds that a job sleeps between two steps
KILLS = 50
LANES = 2  # jobs at a time


def kill_after(place: Place, name: str, pause: float, seconds: float, options: Iterable[str] = ()) -> Witness:
    """Runs a job, kills it after so many seconds in its loop; returns its witness."""
    supervisor, witness = place.count(name, pause, options=options)
    time.sleep(seconds)
    os.kill(witness.pid or 0, signal.SIGKILL)
    _, errors = supervisor.communicate(timeout=60)
    assert (supervisor.returncode, errors) == (128 + signal.SIGKILL, "")
    return witness


def in_lanes(work: Callable[[int], Witness], n: int) -> dict[str, Witness]:
    """Does the work for 0..n-1, a few at a time; returns the witnesses by the names of their runs."""
    with ThreadPoolExecutor(LANES) as lanes:
        return {witness.file.stem: witness for witness in lanes.map(work, range(n))}


def hold(place: Place, witnesses: dict[str, Witness], reason: str) -> None:
    """Holds the store against the witnesses; every run must have been KILLED for that reason."""
    place.deliver()
    runs = Truth(place.uri).runs()
    told = account(runs, witnesses)
    print(told)
    assert told.clean, told
    assert told.acknowledged > 0
    assert set(runs) == set(witnesses)
    assert {run.status for run in runs.values()} == {"KILLED"}
    assert {run.reason for run in runs.values()} == {reason}


@pytest.mark.parametrize(("pause", "shortest", "longest"), [(TIGHT, 0.0, 0.04), (PACED, 0.0, 1.0)])
def test_a_job_that_is_killed_at_a_random_moment(
    new_place: NewPlace, pause: float, shortest: float, longest: float
) -> None:
    """A tight loop makes 100,000 points a second, of which MLflow takes 10,000: so it is killed early."""
    place, rng = new_place(), random.Random(int(pause * 1000))
    moments = [rng.uniform(shortest, longest) for _ in range(KILLS)]
    began = time.monotonic()
    witnesses = in_lanes(
        lambda i: kill_after(place, f"job-{i}", pause, moments[i], ["--no-wait"]), KILLS
    )
    print(f"{KILLS} kills in {time.monotonic() - began:.1f} s", end=", ")
    hold(place, witnesses, "SIGKILL")
    print(f"all in MLflow after {time.monotonic() - began:.1f} s")


def test_a_notebook_s_kernel_that_is_killed_with_its_group(new_place: NewPlace) -> None:
    """The shipper outlives the kernel: what `hpkb.run` has taken comes to the store, and nobody calls `hpkb sync`."""
    place, rng = new_place(HPKB_LINGER="30"), random.Random(4)
    moments = [rng.uniform(0.0, 0.5) for _ in range(6)]

    def kill_kernel(i: int) -> Witness:
        kernel, witness = place.count_in_notebook(f"kernel-{i}", PACED)
        time.sleep(moments[i])
        os.killpg(kernel.pid, signal.SIGKILL)
        assert kernel.communicate(timeout=60) == ("", "")
        return witness

    witnesses = in_lanes(kill_kernel, 6)
    assert len(place.shippers()) == 1
    wait_for(lambda: not place.left())
    hold(place, witnesses, UNSAID)


def test_sigterm_to_the_whole_group(new_place: NewPlace) -> None:
    place, rng = new_place(), random.Random(2)
    moments = [rng.uniform(0.05, 0.5) for _ in range(10)]

    def terminate(i: int) -> Witness:
        supervisor, witness = place.count(f"job-{i}", PACED)
        time.sleep(moments[i])
        os.killpg(supervisor.pid, signal.SIGTERM)
        _, errors = supervisor.communicate(timeout=60)
        assert (supervisor.returncode, errors) == (128 + signal.SIGTERM, "")
        return witness

    hold(place, in_lanes(terminate, 10), "SIGTERM")


def test_the_machine_stops_again_and_again(new_place: NewPlace) -> None:
    """Ten times two jobs, their supervisors and all shippers die at once; only then comes `hpkb sync`."""
    place, rng = new_place(), random.Random(3)
    witnesses, killed = {}, 0
    for i in range(10):
        pair = [place.count(f"job-{i}-paced", PACED), place.count(f"job-{i}-tight", TIGHT)]
        time.sleep(rng.uniform(0.0, 0.04))
        killed += place.kill_everything()
        for supervisor, witness in pair:
            supervisor.communicate(timeout=60)
            witnesses[witness.file.stem] = witness
    print(f"{killed} processes killed", end=", ")
    assert place.shippers() == []
    hold(place, witnesses, UNSAID)
