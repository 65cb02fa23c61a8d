"""Locks of files, and the salts that processes agree on."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import pytest

from hpkb.capture.salt import salt
from hpkb.ship.lock import held
from tests.ship.stub_job import fork


def test_only_one_holds_a_lock(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with held(file) as first, held(file) as second, held(file, patience=0.05) as third:
        assert (first, second, third) == (True, False, False)
    with held(file) as again:
        assert again


@pytest.mark.parametrize("error", [BlockingIOError, FileNotFoundError, ValueError])
def test_what_is_raised_under_a_lock_passes(tmp_path: Path, error: type[Exception]) -> None:
    with pytest.raises(error), held(tmp_path / "lock"):
        raise error
    with held(tmp_path / "lock") as free:
        assert free


def test_who_waits_gets_the_lock_of_one_that_dies(tmp_path: Path) -> None:
    file, holds = tmp_path / "lock", multiprocessing.get_context("fork").Event()

    def hold() -> None:
        with held(file):
            holds.set()
            time.sleep(60)

    holder = fork(hold)
    assert holds.wait(30)
    with held(file) as free:
        assert not free
    holder.kill()
    with held(file, patience=30) as free:
        assert free
    holder.join()


def test_a_lock_that_its_holder_removes_still_keeps_all_others_out(tmp_path: Path) -> None:
    """Eight processes add to a number twenty times each, and remove the lock each time."""
    file, number = tmp_path / "lock", tmp_path / "number"
    number.write_text("0")

    def add() -> None:
        for _ in range(20):
            with held(file, patience=60) as alone:
                assert alone
                seen = int(number.read_text())
                time.sleep(0.0005)
                number.write_text(str(seen + 1))
                file.unlink()

    adders = [fork(add) for _ in range(8)]
    for adder in adders:
        adder.join(60)
    assert [adder.exitcode for adder in adders] == [0] * 8
    assert number.read_text() == "160"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_users_lock_counts() -> None:
    def look_as_nobody(file: Path, expected: bool) -> None:
        os.setgid(65534)
        os.setuid(65534)
        with held(file) as free:
            assert free is expected

    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        os.chmod(folder, 0o1777)  # as /tmp is
        file = Path(folder, "lock")
        with held(file, mode=0o644):
            others = [fork(look_as_nobody, file, False)]
            others[0].join(30)
        others.append(fork(look_as_nobody, file, True))
        others[1].join(30)
    assert [other.exitcode for other in others] == [0, 0]


def test_eight_processes_agree_on_one_salt(tmp_path: Path) -> None:
    file, barrier = str(tmp_path / "new" / "salt"), multiprocessing.get_context("fork").Barrier(8)

    def tell(place: Path) -> None:
        barrier.wait()
        place.write_bytes(salt(file))

    made = [fork(tell, tmp_path / f"told-{i}") for i in range(8)]
    for process in made:
        process.join(30)
    told = {(tmp_path / f"told-{i}").read_bytes() for i in range(8)}
    assert len(told) == 1
    assert len(told.pop()) == 32
    assert os.listdir(tmp_path / "new") == ["salt"]
    assert os.stat(file).st_mode & 0o777 == 0o600
