"""Real jobs under the supervisor: their exit status, their signals, and what of them is in the store afterwards."""

from __future__ import annotations

import io
import multiprocessing
import os
import pty
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hpkb.errors import SourceError, TrackingError
from hpkb.ship import launch, service, supervise
from hpkb.ship.launch import CommandError
from hpkb.ship.rundir import RunDir, RunSettings, unshipped
from tests.ship.stub_job import JOB, fork, python, rows, status, table

LOG = """
import sys
from hpkb.ship import supervise
from hpkb.ship.rundir import RunSettings
sys.exit(supervise.log(RunSettings(sys.argv[1], "digits"), sys.argv[2:]))
"""


def log(uri: str, job: str, **options: object) -> tuple[int, str]:
    """Runs Python code as a job; gives its exit status and what was said."""
    said = io.StringIO()
    code = supervise.log(
        RunSettings(uri, "digits"), [sys.executable, "-c", job], out=said, **options  # type: ignore[arg-type]
    )
    return code, said.getvalue()


def log_quietly(uri: str, job: str) -> int:
    return log(uri, job)[0]


def wait_for(happened: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_job_is_in_the_store_when_log_returns(store_uri: str) -> None:
    assert log(store_uri, JOB) == (0, "")
    counts = dict(rows(store_uri, "SELECT key, count(*) FROM metrics GROUP BY key"))
    assert counts == {"learning_rate": 30, "train_loss": 30}
    assert rows(store_uri, "SELECT step, value FROM metrics WHERE key = 'train_loss' ORDER BY step") == [
        (step, 1 / (step + 1)) for step in range(30)
    ]
    assert status(store_uri) == "FINISHED"
    assert unshipped() == []


def test_a_terminal_is_told_where_the_run_is(store_uri: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    said = Terminal()
    supervise.log(RunSettings(store_uri, "digits"), [sys.executable, "-c", JOB], out=said)
    assert "in MLflow: run" in said.getvalue()


@pytest.mark.parametrize(
    ("last", "code", "ending", "reason"),
    [
        ("sys.exit(3)", 3, "FAILED", "exit status 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "KILLED", "SIGKILL"),
        ("sys.exit(137)", 137, "KILLED", "SIGKILL (exit status 137)"),  # what a shell makes of it
        ("sys.exit(255)", 255, "FAILED", "exit status 255"),
    ],
)
def test_the_end_is_the_command_s(store_uri: str, last: str, code: int, ending: str, reason: str) -> None:
    assert log(store_uri, JOB + last)[0] == code
    assert status(store_uri) == ending
    assert table(store_uri, "tags")["hpkb.end.reason"] == reason
    assert rows(store_uri, "SELECT count(*) FROM metrics") == [(60,)]


def test_a_kill_for_want_of_memory_is_told(
    store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the control group's file: the kernel counts in it before it kills."""
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 8\noom_kill 1\n")
    monkeypatch.setattr("hpkb.capture.memory._event_files", lambda: [str(tmp_path / "missing"), str(events)])
    killed = f"open({str(events)!r}, 'w').write('oom 9\\noom_kill 2\\n')\nos.kill(os.getpid(), signal.SIGKILL)"
    assert log(store_uri, JOB + killed)[0] == 128 + signal.SIGKILL
    assert table(store_uri, "tags")["hpkb.end.reason"] == "out of memory (killed by the kernel)"
    assert status(store_uri) == "KILLED"


@pytest.mark.parametrize(
    ("returncode", "ending", "reason"),
    [
        (-signal.SIGKILL, "KILLED", "out of memory (killed by the kernel)"),
        (128 + signal.SIGKILL, "KILLED", "out of memory (killed by the kernel) (exit status 137)"),
        (-signal.SIGTERM, "KILLED", "SIGTERM"),
        (1, "FAILED", "exit status 1"),
        (0, "FINISHED", "exit status 0"),  # the kernel killed a process that the job could spare
    ],
)
def test_only_a_sigkill_is_for_want_of_memory(
    new_run: Callable[..., RunDir], returncode: int, ending: str, reason: str
) -> None:
    run = new_run()
    launch.record_end(run, returncode, out_of_memory=True)
    end = run.supervised()[-1]
    assert (end["status"], end["reason"]) == (ending, reason)


def test_a_command_that_is_not_there(tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print(1)\n")
    for command, exit_status, said in [
        ("no-such-command", 127, "no command 'no-such-command'"),
        ("train.py", 127, "python train.py"),
        ("./train.py", 126, "cannot be run: Permission denied"),
        ("./no.py", 127, "no command './no.py'"),
    ]:
        with pytest.raises(CommandError, match=said) as raised:
            supervise.log(RunSettings(store_uri, "digits"), [command])
        assert raised.value.exit_status == exit_status
    assert unshipped() == []
    assert rows(store_uri, "SELECT 1 FROM runs") == []


def test_a_spool_that_cannot_be_written_costs_the_capture_not_the_job(
    store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPKB_SPOOL", str(tmp_path / "file" / "spool"))
    code, said = log(store_uri, "import sys; sys.exit(4)")
    assert code == 4
    assert "runs without capture" in said


def test_a_child_inherits_no_handler_and_no_foreign_path(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(launch.INJECT), "/elsewhere"]))
    environment = launch.environment(Path("/runs/a"), os.environ)
    assert environment["PYTHONPATH"] == os.pathsep.join([str(launch.INJECT), "/elsewhere"])
    assert environment["HPKB_RUN_DIR"] == "/runs/a"


@pytest.mark.parametrize(
    ("number", "caught"), [(signal.SIGTERM, True), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_a_signal_to_the_supervisor_reaches_the_job(store_uri: str, tmp_path: Path, number: int, caught: bool) -> None:
    catch = f"signal.signal({int(number)}, lambda *_: sys.exit(5))\n" if caught else ""
    ready = tmp_path / "ready"
    job = JOB + catch + f"open({str(ready)!r}, 'w').close()\ntime.sleep(60)"
    supervisor = fork(log_quietly, store_uri, job)
    wait_for(ready.exists)
    os.kill(supervisor.pid or 0, number)
    supervisor.join(90)  # a signal that is lost shows in the status of the job, which then ends by itself
    assert supervisor.exitcode == (5 if caught else 128 + number)
    assert status(store_uri) == "KILLED"
    name = signal.Signals(number).name
    assert table(store_uri, "tags")["hpkb.end.reason"] == (f"{name} (exit status 5)" if caught else name)


def test_a_supervisor_that_is_killed_leaves_the_rest_to_sync(store_uri: str, tmp_path: Path) -> None:
    ready, go_on = tmp_path / "ready", tmp_path / "go-on"
    job = JOB + f"""
open({str(ready)!r}, "w").write(str(os.getpid()))
while not os.path.exists({str(go_on)!r}):
    time.sleep(0.02)
spool.points(30, time.time(), {{"train_loss": 0.0}})
spool.write({{"type": "end", "status": "FINISHED", "reason": "exit status 0", "ended_at": time.time(), "dropped": 0}})
"""
    supervisor = fork(log_quietly, store_uri, job)
    wait_for(lambda: ready.exists() and ready.read_text())
    supervisor.kill()
    supervisor.join()
    supervise.sync()
    assert status(store_uri) == "RUNNING"  # the job is still there
    assert rows(store_uri, "SELECT count(*) FROM metrics") == [(60,)]
    go_on.write_text("")
    wait_for(lambda: not Path(f"/proc/{ready.read_text()}").exists())
    supervise.sync()
    assert unshipped() == []
    assert status(store_uri) == "FINISHED"
    assert rows(store_uri, "SELECT count(*) FROM metrics") == [(61,)]


def test_a_store_that_is_away_costs_nothing_but_a_line(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, said = log("http://me:geheim@127.0.0.1:9", JOB + "sys.exit(3)", patience=1.0)
    assert code == 3
    assert "still spooled" in said
    assert "hpkb sync" in said
    assert "geheim" not in said
    assert said.startswith("hpkb: The store http://me@127.0.0.1:9 did not open experiment 'digits': Connection refused")
    assert len(said.splitlines()) == 1
    with pytest.raises(TrackingError, match="1 of 1 runs"):
        supervise.sync()
    assert supervise.sync(store_uri) == 1
    assert rows(store_uri, "SELECT count(*) FROM metrics") == [(60,)]
    assert status(store_uri) == "FAILED"


def test_sync_does_itself_what_the_service_that_has_the_run_could_not(
    store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log("http://127.0.0.1:9", JOB, patience=1.0)
    (run,) = unshipped()
    in_hand = ExitStack()
    assert in_hand.enter_context(run.lock(30))

    def fails(run: RunDir, patience: float) -> bool:
        in_hand.close()
        return False

    monkeypatch.setattr(service, "urge", fails)
    assert supervise.sync(store_uri) == 1
    assert status(store_uri) == "FINISHED"


def test_a_server_that_never_answers_is_not_waited_for_long(
    store_uri: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    with socket.create_server(("127.0.0.1", free_port)):
        begun = time.monotonic()
        code, said = log(f"http://127.0.0.1:{free_port}", JOB + "sys.exit(3)", patience=1.0)
        assert time.monotonic() - begun < 8
    assert code == 3
    assert "does not answer" in said
    assert [run.to_ship() for run in unshipped()] == [True]


def test_without_waiting_another_process_ships(store_uri: str) -> None:
    begun = time.monotonic()
    assert log(store_uri, JOB, wait=False) == (0, "")
    assert time.monotonic() - begun < 5
    wait_for(lambda: not unshipped(), 60)
    assert status(store_uri) == "FINISHED"
    assert rows(store_uri, "SELECT count(*) FROM metrics") == [(60,)]


def test_sync_says_what_is_not_there(tmp_path: Path) -> None:
    assert supervise.sync() == 0
    with pytest.raises(SourceError, match="no run folder"):
        supervise.sync(paths=[tmp_path / "missing"])


def test_eight_jobs_at_once_on_a_store_that_does_not_exist(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    barrier = multiprocessing.get_context("fork").Barrier(8)

    def log_at_once() -> int:
        barrier.wait()
        return log_quietly(uri, JOB)

    jobs = [fork(log_at_once) for _ in range(8)]
    for job in jobs:
        job.join(120)
    assert [job.exitcode for job in jobs] == [0] * 8
    assert rows(uri, "SELECT status, count(*) FROM runs GROUP BY status") == [("FINISHED", 8)]
    assert rows(uri, "SELECT count(*) FROM metrics") == [(480,)]
    assert unshipped() == []
    assert [file.name for file in (tmp_path / "new").iterdir() if file.name.startswith(".")] == []


def test_a_server_that_comes_late_gets_everything(
    server: Callable[[int], None], free_port: int, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = f"http://127.0.0.1:{free_port}"
    job = JOB + """
spool.points(30, time.time(), {"train_loss": float("nan"), "top@5": float("inf")})
spool.write({"type": "split", "role": "test", "dataset": "D", "n": 360, "digest": "00ff", "digest_of": "all"})
"""
    code, said = log(address, job, patience=0.5)
    assert code == 0
    assert "still spooled" in said
    server(free_port)
    assert log(address, JOB) == (0, "")
    supervise.sync()  # or the first job's shipper, which still tries
    assert unshipped() == []
    assert rows(store_uri, "SELECT count(*), sum(is_nan) FROM metrics") == [(122, 1)]
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("digits").experiment_id
    later, late = client.search_runs([experiment], order_by=["start_time DESC"])
    assert (later.info.status, late.info.status) == ("FINISHED", "FINISHED")
    assert late.data.params["cli.lr"] == "0.1"
    assert late.data.metrics["top_x40_5"] > 1e308
    assert late.inputs.dataset_inputs[0].dataset.digest == "00ff"


def test_ctrl_c_in_a_terminal_reaches_the_job_once(store_uri: str, tmp_path: Path) -> None:
    ready, interrupts = tmp_path / "ready", tmp_path / "interrupts"
    job = f"""
import signal, time
signal.signal(signal.SIGINT, lambda *_: open({str(interrupts)!r}, "a").write("x"))
open({str(ready)!r}, "w").close()
time.sleep(1.5)
"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", LOG, store_uri, sys.executable, "-c", job])
    wait_for(ready.exists)
    os.write(terminal, b"\x03")
    wait_for(interrupts.exists)
    assert b"in MLflow: run" in _read_all(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert interrupts.read_text() == "x"
    assert status(store_uri) == "FINISHED"  # the job has chosen to go on


def _read_all(terminal: int) -> bytes:
    parts = []
    while True:
        try:
            parts.append(os.read(terminal, 4096))
        except OSError:  # Linux's way to say that nobody has the other end any more
            return b"".join(parts)


def test_the_supervisor_says_nothing_of_mlflow(store_uri: str) -> None:
    supervisor = python(f"import sys; sys.argv[1:] = [{store_uri!r}, sys.executable, '-c', '']\n{LOG}")
    out, errors = supervisor.communicate(timeout=60)
    assert (supervisor.returncode, out, errors) == (0, "", "")
