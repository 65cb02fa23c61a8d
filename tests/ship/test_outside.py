"""Jobs that capture cannot enter: what they print and how they end is theirs, byte by byte, and recorded."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpkb.ship.obstacle import arguments_of_program, obstacle
from hpkb.ship.rundir import RunDir
from hpkb.ship.shipper import Shipper
from tests.capture.test_process import interpreter
from tests.ship.stub_job import rows, table

PYTHON = sys.executable
LOG = """
import sys
from hpkb.ship import supervise
from hpkb.ship.rundir import RunSettings
sys.exit(supervise.log(RunSettings(sys.argv[1], "digits"), sys.argv[2:], wait=False))
"""


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["python", "train.py", "-I"], None),
        (["python", "-u", "-W", "error", "train.py"], None),
        (["python", "-m", "pkg", "-S"], None),
        (["python", "-c", "-I"], None),
        (["python", "-uI", "train.py"], "python -I isolates itself"),
        (["python3", "-B", "-E", "-c", "pass"], "python3 -E ignores PYTHONPATH"),
        (["/usr/bin/python3.11", "-X", "dev", "-S", "-m", "pkg"], "python3.11 -S leaves sitecustomize out"),
        (["python3.8", "train.py"], "python3.8 is Python 3.8, and capture begins with 3.9"),
        (["python2", "train.py"], "python2 is Python 2.7, and capture begins with 3.9"),
        (["env", "-i", "python", "train.py"], "env empties the environment"),
        (["env", "A=1", "python", "train.py"], None),
        (["nice", "-n", "5", "python", "-I", "train.py"], "python -I isolates itself"),
        (["sh", "-c", "python -I train.py"], None),
        (["bash", "run.sh", "--lr", "0.1"], None),
        (["torchrun", "--nproc-per-node", "2", "train.py"], None),
        (["true"], "true is no Python program"),
        (["no-such-command"], None),
    ],
)
def test_what_stands_in_the_way(command: list[str], why: str | None) -> None:
    assert obstacle(command) == why


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (["python", "-I", "train.py", "--lr", "0.1"], ["--lr", "0.1"]),
        (["env", "-i", "python", "-m", "pkg", "a=1"], ["a=1"]),
        (["python", "-c", "pass", "--x=2"], ["--x=2"]),
        (["./train", "--lr", "0.1"], ["--lr", "0.1"]),
        (["bash", "run.sh", "--lr", "0.1"], ["run.sh", "--lr", "0.1"]),
    ],
)
def test_the_program_s_own_arguments(command: list[str], arguments: list[str]) -> None:
    assert arguments_of_program(command) == arguments


def run_through(uri: str, *command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([PYTHON, "-c", LOG, uri, *command], capture_output=True, timeout=60)


def only_run(spool_folder: Path) -> RunDir:
    [folder] = [path for path in spool_folder.iterdir() if not path.name.startswith(".")]
    return RunDir.open(folder)


def settle(spool_folder: Path, uri: str) -> None:
    """Waits until the detached shipper is done with the only run."""
    deadline = time.monotonic() + 60
    while not only_run(spool_folder).finished:
        assert time.monotonic() < deadline
        time.sleep(0.1)


AWKWARD = (
    "import sys, os; print('loss: 0.5', flush=True); print('warm\\rlr=0.25', file=sys.stderr, flush=True)\n"
    "os.write(1, bytes(range(256))); os.write(1, b'\\nloss: 0.25\\n' + b'x' * 300000); sys.exit(3)"
)


def test_an_isolated_python_is_seen_from_outside(store_uri: str, spool_folder: Path) -> None:
    alone = subprocess.run([PYTHON, "-I", "-c", AWKWARD], capture_output=True)
    logged = run_through(store_uri, PYTHON, "-I", "-c", AWKWARD, "--lr", "0.5", "--api-key", "geheim")
    assert (logged.stdout, logged.returncode) == (alone.stdout, 3)
    said, rest = logged.stderr.split(b"\n", 1)
    assert said.startswith(b"hpkb: ")
    assert b"-I isolates itself" in said
    assert rest == alone.stderr
    settle(spool_folder, store_uri)
    assert rows(store_uri, "SELECT key, step, value FROM metrics ORDER BY key, step") == [
        ("loss", 0, 0.5), ("loss", 1, 0.25), ("lr", 0, 0.25),
    ]  # fmt: skip
    params, tags = table(store_uri, "params"), table(store_uri, "tags")
    assert (params["cli.lr"], params["cli.api_key"]) == ("0.5", "***")
    assert tags["hpkb.end.reason"] == "exit status 3"
    assert "hpkb.hw.cpu.cores" in tags
    assert only_run(spool_folder).spools() == []


def test_a_program_that_starts_a_python_after_all_is_recorded_once(store_uri: str, spool_folder: Path) -> None:
    if not shutil.which("perl"):
        pytest.skip("no perl on this machine")
    logged = run_through(store_uri, "perl", "-e", "exec @ARGV", PYTHON, "-c", "print('loss: 0.5')")
    assert logged.stdout == b"loss: 0.5\n"
    settle(spool_folder, store_uri)
    assert rows(store_uri, "SELECT key, value FROM metrics") == [("loss", 0.5)]


def test_a_job_without_any_python_says_so_at_its_end(store_uri: str, spool_folder: Path) -> None:
    logged = run_through(store_uri, "sh", "-c", "echo loss: 1; exit 4")
    assert (logged.stdout, logged.returncode) == (b"loss: 1\n", 4)
    assert logged.stderr.count(b"\n") == 1
    assert b"no Python process of this job" in logged.stderr


def test_a_python_that_records_nothing_is_no_reason_to_speak(store_uri: str) -> None:
    assert run_through(store_uri, PYTHON, "-c", "pass").stderr == b""


def test_in_a_terminal_the_job_sees_a_terminal_of_the_same_size(store_uri: str) -> None:
    job = "import os, sys; print([os.isatty(i) for i in range(3)], *os.get_terminal_size(1)); sys.exit(6)"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(PYTHON, [PYTHON, "-c", LOG, store_uri, PYTHON, "-I", "-c", job])
    written = _read_all(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6
    assert b"[True, True, True]" in written
    assert written.endswith(b"\r\n")
    assert b"\r\r\n" not in written


def _read_all(terminal: int) -> bytes:
    parts = []
    while True:
        try:
            parts.append(os.read(terminal, 4096))
        except OSError:  # Linux's way to say that nobody has the other end any more
            return b"".join(parts)


def test_a_reader_that_leaves_ends_the_job_as_ever(store_uri: str) -> None:
    job = "import itertools\nfor i in itertools.count(): print(i)"
    logged = subprocess.Popen([PYTHON, "-c", LOG, store_uri, PYTHON, "-I", "-c", job],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert logged.stdout is not None
    assert logged.stdout.readline() == b"0\n"
    logged.stdout.close()
    _, errors = logged.communicate(timeout=60)
    assert b"BrokenPipeError" in errors


def test_a_process_that_is_left_behind_with_the_output_is_not_waited_for(store_uri: str) -> None:
    begun = time.monotonic()
    job = "import subprocess, sys; subprocess.Popen(['sleep', '20']); print('done')"
    logged = subprocess.Popen([PYTHON, "-c", LOG, store_uri, PYTHON, "-I", "-c", job],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
    assert logged.wait(30) == 0
    assert time.monotonic() - begun < 15
    assert logged.stdout is not None
    logged.stdout.close()


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7", "3.8"])
def test_a_python_that_is_too_old_runs_as_it_would(store_uri: str, spool_folder: Path, version: str) -> None:
    python = interpreter(version)
    job = "import sys; print('loss: %s' % 0.5); sys.exit(3)"
    logged = run_through(store_uri, python, "-c", job, "--lr=0.5")
    assert (logged.stdout, logged.returncode) == (b"loss: 0.5\n", 3)
    assert logged.stderr.count(b"\n") == 1
    assert b"capture begins with 3.9" in logged.stderr
    run = only_run(spool_folder)
    with run.lock(30.0) as held:
        assert held
        if not run.finished:
            Shipper(store_uri).finish(run)
    assert table(store_uri, "params")["cli.lr"] == "0.5"
    assert rows(store_uri, "SELECT value FROM metrics") == [(0.5,)]
