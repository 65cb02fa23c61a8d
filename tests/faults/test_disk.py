"""A disk that is full or cannot be written, a clock that is wrong: the job goes on, and what is lost is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import NewPlace
from tests.faults.place import wait_for
from tests.faults.truth import Truth

STEPS = 20_000  # a spool of 900 kB

#: No file of the job itself may grow beyond 100 kB; the job's exit status is its own.
LIMITED = """
import resource, sys
import hpkb
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for step in range(1, int(sys.argv[1]) + 1):
    hpkb.log({"train_loss": step / 2}, step)
sys.exit(7)
"""

#: The clock is set back by an hour after a third of the steps, and forward by a day after two thirds.
WRONG_CLOCK = """
import sys, time
import hpkb
true, steps = time.time, int(sys.argv[1])
for step in range(1, steps + 1):
    if step == steps // 3:
        time.time = lambda: true() - 3600
    if step == 2 * steps // 3:
        time.time = lambda: true() + 86400
    hpkb.log({"train_loss": step / 2}, step)
"""

Mount = Callable[[Path, str], None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts a tmpfs with these options; skips where this user may not."""
    mounted: list[Path] = []

    def make(folder: Path, options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.getuid() != 0 or shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a file system of the test's own cannot be mounted here")
        mounted.append(folder)

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_file_that_may_not_grow_costs_points_not_the_job(new_place: NewPlace) -> None:
    place = new_place()
    supervisor = place.log("job", LIMITED, STEPS)
    _, errors = supervisor.communicate(timeout=90)
    assert supervisor.returncode == 7
    assert len(errors.splitlines()) == 1, errors
    assert "the job goes on" in errors
    place.deliver()
    [run] = Truth(place.uri).runs().values()
    kept = sorted(step for step, _ in run.points)
    assert kept == list(range(1, len(kept) + 1))
    assert 1000 < len(kept) < STEPS
    assert (run.status, run.reason) == ("FAILED", "exit status 7")
    print(f"{len(kept)} of {STEPS} points kept")
    assert int(run.tags["hpkb.spool.dropped"]) == STEPS - len(kept)


def test_a_disk_that_fills_up_costs_points_not_the_job_and_is_told(new_place: NewPlace, mount: Mount) -> None:
    """Nothing can be written, the end neither, until somebody makes room; then the run is shipped, with its loss."""
    place = new_place()
    mount(place.spool, "size=256k")
    supervisor, witness = place.count("job", 0.0, STEPS, options=["--no-wait"])
    _, errors = supervisor.communicate(timeout=90)
    assert supervisor.returncode == 0
    assert "No space left on device" in errors
    assert "Traceback" not in errors
    assert len(witness.acknowledged()) == STEPS, "the job noticed"
    subprocess.run(["mount", "-o", "remount,size=64m", str(place.spool)], check=True)
    place.deliver()
    [run] = Truth(place.uri).runs().values()
    kept = sorted(step for step, _ in run.points)
    print(f"{len(kept)} of {STEPS} points kept")
    assert kept == list(range(1, len(kept) + 1))
    assert 1000 < len(kept) < STEPS
    assert int(run.tags["hpkb.spool.dropped"]) == STEPS - len(kept)


def test_room_for_the_end_means_that_the_loss_is_counted(new_place: NewPlace, mount: Mount) -> None:
    """The disk is full for a while in the middle of the job: what could not be written is in a tag of the run."""
    place = new_place()
    mount(place.spool, "size=256k")
    ballast = place.spool / "ballast"
    code = f"""
import os, sys
import hpkb
for step in range(1, 3001):
    if step == 1000:
        file = os.open({str(ballast)!r}, os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(file, bytes(4096)):
                pass
        except OSError:
            os.close(file)
    if step == 2000:
        os.unlink({str(ballast)!r})
    hpkb.log({{"train_loss": step / 2}}, step)
"""
    supervisor = place.log("job", code, options=["--no-wait"])
    _, errors = supervisor.communicate(timeout=90)
    assert (supervisor.returncode, len(errors.splitlines())) == (0, 1), errors
    place.deliver()
    [run] = Truth(place.uri).runs().values()
    lost = 3000 - len(run.points)
    print(f"{lost} of 3000 points lost")
    assert 500 < lost <= 1001
    assert run.status == "FINISHED"
    assert int(run.tags["hpkb.spool.dropped"]) == lost


@pytest.mark.parametrize("chosen", [True, False])
def test_a_home_that_cannot_be_written(new_place: NewPlace, tmp_path: Path, mount: Mount, chosen: bool) -> None:
    """The spool's folder, chosen or in the home, is on a file system that is mounted read-only."""
    home = tmp_path / "home"
    mount(home, "ro,size=64k")
    where = {"HPKB_SPOOL": str(home / "spool")} if chosen else {"HPKB_SPOOL": "", "HOME": str(home)}
    place = new_place(XDG_STATE_HOME="", **where)
    supervisor = place.log("job", "import hpkb, sys; hpkb.log({'a': 1.0}); print('here'); sys.exit(3)")
    out, errors = supervisor.communicate(timeout=90)
    assert (supervisor.returncode, out) == (3, "here\n"), errors
    assert len(errors.splitlines()) == 1, errors
    assert "Read-only file system" in errors
    assert "runs without capture" in errors


def test_a_clock_that_is_set_back_and_forth(new_place: NewPlace) -> None:
    place = new_place()
    supervisor = place.log("job", WRONG_CLOCK, 999)
    assert supervisor.communicate(timeout=90) == ("", "")
    assert place.left() == []
    [run] = Truth(place.uri).runs().values()
    assert sorted(run.points) == [(step, step / 2) for step in range(1, 1000)]
    assert (run.status, run.reason) == ("FINISHED", "exit status 0")


def test_a_clock_that_jumps_does_not_end_a_job_that_is_there(new_place: NewPlace) -> None:
    """Set forward by an hour, the clock makes everything that was written look old; the job goes on all the same."""
    place = new_place()
    enough = place.folder / "enough"
    supervisor, witness = place.count("job", 0.01, until=enough, options=["--no-wait"])
    truth = Truth(place.uri)
    wait_for(lambda: truth.n_points() >= 20)
    place.kill_shippers()
    for file in place.spool.glob("*/*.spool"):
        written = file.stat().st_mtime - 3600
        os.utime(file, (written, written))
    place.sync()
    assert [run.status for run in truth.runs().values()] == ["RUNNING"]
    enough.touch()
    supervisor.communicate(timeout=60)
    place.deliver()
    [run] = truth.runs().values()
    assert {step for step, _ in run.points} == witness.acknowledged()
    assert run.status == "FINISHED"
