"""`hpkb.run` in real processes: the calling process stays light, and another one ships."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from hpkb.ship import supervise
from hpkb.ship.rundir import RunSettings, unshipped
from tests.ship.stub_job import python, rows, status, table

RUN = """
import os, signal, sys, time
import hpkb
with hpkb.run(task="digits", params={"lr": 0.1, "key_dim": 8}, experiment="notebooks", tags={"team": "a"}) as run:
    for step in range(20):
        run.log({"val_loss": 1 / (step + 1)}, step=step)
    hpkb.log({"val_loss": 0.0}, step=20)
    LAST
print([name for name in ("mlflow", "numpy", "duckdb") if name in sys.modules])
"""


def test_a_run_in_a_script_is_in_the_store_when_its_context_ends(store_uri: str) -> None:
    process = python(RUN.replace("LAST", "pass"), {"MLFLOW_TRACKING_URI": store_uri})
    out, errors = process.communicate(timeout=90)
    assert (process.returncode, out.strip(), errors) == (0, "[]", "")
    points = rows(store_uri, "SELECT count(*), min(value), max(step) FROM metrics WHERE key = 'val_loss'")
    assert points == [(21, 0.0, 20)]
    assert status(store_uri) == "FINISHED"
    params, tags = table(store_uri, "params"), table(store_uri, "tags")
    assert float(params["learning_rate"]) == 0.1
    assert {"hpkb.task": "digits", "team": "a", "hpkb.end.reason": "exit status 0"}.items() <= tags.items()
    assert "hpkb.hw.cpu.cores" in tags
    assert unshipped() == []


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        ("ValueError('bad')", "ValueError: bad"),
        ("MemoryError('bad')", "out of memory (host): MemoryError: bad"),
    ],
)
def test_an_exception_passes_and_is_the_reason(store_uri: str, raised: str, reason: str) -> None:
    process = python(RUN.replace("LAST", f"raise {raised}"), {"MLFLOW_TRACKING_URI": store_uri})
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 1
    assert raised.partition("(")[0] in errors
    assert status(store_uri) == "FAILED"
    assert table(store_uri, "tags")["hpkb.end.reason"] == reason


def test_the_shipper_outlives_a_kernel_that_is_killed(store_uri: str) -> None:
    process = python(RUN.replace("LAST", "os.kill(os.getpid(), signal.SIGKILL)"), {"MLFLOW_TRACKING_URI": store_uri})
    process.communicate(timeout=90)
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while unshipped():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert status(store_uri) == "KILLED"
    assert rows(store_uri, "SELECT count(*) FROM metrics WHERE key = 'val_loss'") == [(21,)]


def test_a_run_inside_a_job_of_log_joins_it(store_uri: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(RUN.replace("LAST", "pass"))
    assert supervise.log(RunSettings(store_uri, "jobs"), [sys.executable, str(script)]) == 0
    assert rows(store_uri, "SELECT count(*) FROM runs") == [(1,)]
    assert rows(store_uri, "SELECT count(*) FROM metrics WHERE key = 'val_loss'") == [(21,)]
    tags = table(store_uri, "tags")
    assert (tags["hpkb.task"], tags["hpkb.end.reason"]) == ("digits", "exit status 0")


def test_two_runs_in_one_notebook(store_uri: str) -> None:
    code = """
import hpkb
for number in range(2):
    with hpkb.run(run_name=f"run {number}") as run, hpkb.run():
        run.log({"val_loss": number}, step=1)
"""
    process = python(code, {"MLFLOW_TRACKING_URI": store_uri})
    _, errors = process.communicate(timeout=90)
    assert (process.returncode, errors) == (0, "")
    assert rows(store_uri, "SELECT r.name, m.value FROM runs r JOIN metrics m USING (run_uuid) ORDER BY 1") == [
        ("run 0", 0.0), ("run 1", 1.0),
    ]  # fmt: skip


def test_a_spool_that_cannot_be_written_does_not_stop_the_script(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = python(RUN.replace("LAST", "pass"), {"HPKB_SPOOL": str(tmp_path / "file" / "spool")})
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "not captured" in errors
    assert len(errors.splitlines()) == 1
