"""What the spool keeps: bounded by what was delivered, never by what was not; and on the disk where that is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpkb import doctor
from hpkb.ship import durability, room, supervise
from hpkb.ship.rundir import RunDir, RunSettings, spool_root
from hpkb.ship.shipper import Shipper
from tests.ship.stub_job import process_spool, rows
from tests.ship.test_shipper import end

NewRun = Callable[..., RunDir]


def _delivered(run: RunDir, uri: str, age: float) -> RunDir:
    end(run)
    Shipper(uri).finish(run)
    (run.path / "failure.json").write_text("x" * 10_000)
    os.utime(run.path, (time.time() - age, time.time() - age))
    return run


def test_the_oldest_delivered_runs_go_first_and_others_never(
    new_run: NewRun, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = new_run()
    process_spool(waiting).points(1, 1.0, {"a": 1.0})
    one, two, fresh = (_delivered(new_run(), store_uri, age) for age in (900.0, 800.0, 1.0))
    kept = _delivered(new_run(), store_uri, 700.0)
    (kept.path / "1-curves.parquet").write_bytes(bytes(20_000))
    monkeypatch.setenv("HPKB_SPOOL_TOTAL", "56K")
    room.make_room(spool_root())
    assert [run.path.exists() for run in (one, two, fresh, kept, waiting)] == [False, True, True, True, True]
    monkeypatch.setenv("HPKB_SPOOL_TOTAL", "1K")
    room.make_room(spool_root())
    assert [run.path.exists() for run in (two, fresh, kept, waiting)] == [False, True, True, True]
    assert "more than the 1.0 KiB of HPKB_SPOOL_TOTAL" in room.warning(spool_root())
    assert "runs are not shipped yet" in doctor._spool().says
    monkeypatch.setenv("HPKB_SPOOL_TOTAL", "1G")
    assert room.warning(spool_root()) == ""
    assert doctor._shippers().says.startswith("none runs")


def test_a_run_is_kept_for_a_while_longer_where_it_may_be_resumed(new_run: NewRun, store_uri: str) -> None:
    finished, killed = new_run(), new_run()
    end(killed, "KILLED", "SIGTERM")
    Shipper(store_uri).finish(killed)
    _delivered(finished, store_uri, 4000.0)
    os.utime(killed.path, (time.time() - 4000,) * 2)
    room.make_room(spool_root())
    assert (finished.path.exists(), killed.path.exists()) == (False, True)


def test_the_supervisor_puts_the_spool_on_the_disk_and_the_job_does_not(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durability, "to_disk", synced.append)
    monkeypatch.setattr(os, "fsync", lambda _descriptor: pytest.fail("not for the spool"))
    folder = tmp_path / "run"
    folder.mkdir()
    spool = folder / "process-1-a.spool"
    with durability.on_disk(folder, wanted=True, period=0.02):
        spool.write_bytes(b"1")
        time.sleep(0.3)
        assert synced == [spool, folder]
        spool.write_bytes(b"12")
        time.sleep(0.3)
        assert synced == [spool, folder, spool], "only what has grown"
        (folder / "process-1-a.spool.1").write_bytes(b"1")
    assert synced[3:] == [folder / "process-1-a.spool.1", folder]
    with durability.on_disk(folder, wanted=False):
        pass
    assert len(synced) == 5


def test_a_durable_job_ends_and_arrives_as_any_other(store_uri: str, tmp_path: Path) -> None:
    code = "import hpkb; [hpkb.log({'a': 1.0}, step) for step in range(50)]"
    settings = RunSettings(store_uri, "digits", durability="fsync")
    assert supervise.log(settings, [sys.executable, "-c", code], wait=False) == 0
    subprocess.run([sys.executable, "-m", "hpkb", "sync"], check=True, capture_output=True, timeout=60)
    assert rows(store_uri, "SELECT count(*) FROM metrics") == [(50,)]


def test_a_clock_that_was_set_back_ends_no_run_before_its_start(new_run: NewRun, store_uri: str) -> None:
    run = new_run()
    spool = process_spool(run)
    for step in range(3):
        spool.points(step, 1000.0 - step, {"a": 1.0})
    run.record({"type": "end", "status": "FINISHED", "reason": "", "exit_status": 0, "ended_at": 9.0, "dropped": 0})
    Shipper(store_uri).finish(run)
    [(started, ended)] = rows(store_uri, "SELECT start_time, end_time FROM runs")
    assert ended == started
    assert rows(store_uri, "SELECT count(*) FROM metrics") == [(3,)]
