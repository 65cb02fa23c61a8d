"""The run folder: whole or absent, without secrets, and one shipper at a time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpkb.errors import SourceError
from hpkb.ship.address import absolute, tracking_uri, usable, without_password
from hpkb.ship.liveness import job_alive, writer_alive
from hpkb.ship.rundir import Progress, RunDir, RunSettings, spool_root, unshipped
from tests.ship.stub_job import process_spool


def settings(**values: object) -> RunSettings:
    required = {"tracking_uri": "http://localhost:1", "experiment": "digits"}
    return RunSettings(**(required | values))  # type: ignore[arg-type]


def test_a_run_folder_reads_back_as_it_was_made(spool_folder: Path) -> None:
    made = RunDir.create(settings(task="digits", params={"lr": "0.1"}, command=("python", "train.py")))
    read = RunDir.open(made.path)
    assert read.settings == made.settings
    assert read.path.parent == spool_folder == spool_root()
    assert (read.created_at, read.host) == (made.created_at, socket.gethostname())
    assert [run.path for run in unshipped()] == [made.path]


def test_nothing_secret_is_written(spool_folder: Path) -> None:
    RunDir.create(settings(
        tracking_uri="postgresql://me:geheim@db:5432/mlflow",
        command=("env", "HF_TOKEN=geheim", "python", "train.py", "--api-key", "geheim", "--password=geheim",
                 "--max-tokens", "512", "--url", "https://me:geheim@host/x"),
    ))  # fmt: skip
    written = "".join(file.read_text() for file in spool_folder.rglob("*") if file.is_file())
    assert "geheim" not in written
    assert "512" in written
    assert "postgresql://me@db:5432/mlflow" in written
    assert all(file.stat().st_mode & 0o077 == 0 for file in spool_folder.rglob("*"))


def test_a_password_comes_back_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:geheim@host:5000")
    assert usable("http://me@host:5000") == "http://me:geheim@host:5000"
    assert usable("http://me@other:5000") == "http://me@other:5000"


def test_addresses_hold_from_every_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute("sqlite:///a.db?timeout=3") == f"sqlite:///{tmp_path}/a.db?timeout=3"
    assert absolute("runs") == f"{tmp_path}/runs"
    for uri in ("http://host:5000/path", "databricks", "postgresql://db/x", "sqlite:////a/b.db", "sqlite:///:memory:"):
        assert absolute(uri) == uri
        assert without_password(uri) == uri


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no run\.json"):
        RunDir.open(tmp_path)
    (tmp_path / "run.json").write_text('{"tracking_uri"')
    with pytest.raises(SourceError, match="damaged"):
        RunDir.open(tmp_path)


def test_a_spool_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="HPKB_SPOOL"):
        RunDir.create(settings(), tmp_path / "file" / "spool")


def test_the_lock_is_one_process_s(tmp_path: Path) -> None:
    run = RunDir.create(settings(), tmp_path)
    with run.lock() as held, RunDir.open(run.path).lock() as second:
        assert held
        assert not second
    with run.lock() as held:
        assert held


def test_progress_survives_a_damaged_file(tmp_path: Path) -> None:
    run = RunDir.create(settings(), tmp_path)
    assert run.progress() is None
    run.save(Progress("abc", {"a.spool": 12}))
    assert run.progress() == Progress("abc", {"a.spool": 12})
    (run.path / "shipped.json").write_text("")
    assert run.progress() == Progress()


def test_a_shipped_run_is_no_longer_listed_until_something_is_added(new_run: Callable[..., RunDir]) -> None:
    run = new_run()
    run.save(Progress("abc", {}, finished=True))
    assert run.finished
    assert unshipped() == []
    process_spool(run).close()
    assert [found.path for found in unshipped()] == [run.path]


def test_liveness_knows_a_reused_process_number(new_run: Callable[..., RunDir]) -> None:
    run = new_run()
    assert job_alive(run)  # it is only just being started
    run.record({"type": "tags", "values": {}})
    mine = process_spool(run, os.getpid()).path
    assert writer_alive(run, Path(mine))
    os.utime(mine, (time.time() - 86400 * 365,) * 2)  # written long before this process began
    assert not writer_alive(run, Path(mine))
    gone = process_spool(run).path
    assert not writer_alive(run, Path(gone))


def test_import_is_light() -> None:
    heavy = "('mlflow', 'numpy', 'duckdb')"
    code = f"import sys, hpkb.ship.launch, hpkb.ship.inline; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
