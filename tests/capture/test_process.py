"""The process itself is what it would be without capture: output, exit status, imports, other hooks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .running import SCRIPTS, Run, environment, spools

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def interpreter(version: str) -> str:
    """An interpreter of that version that starts; skips the test, with the reason, where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    named = shutil.which(f"python{version}")
    candidates = [named] if named else []
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in candidates:
        if subprocess.run([candidate, "-c", "import sys"], capture_output=True).returncode == 0:
            return candidate
    pytest.skip(f"no Python {version} on this machine")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plain_script_on_every_python(run: Run, version: str) -> None:
    python = interpreter(version)
    ran, alone = run("plain.py", "fit", python=python), run("plain.py", "fit", captured=False, python=python)
    assert (ran.stdout, ran.stderr, ran.returncode) == (alone.stdout, alone.stderr, 0)
    assert ran.params == {"cli.command": "fit", "cli.alpha": 0.5, "cli.token": "***", "seed": 21, "seed.random": 21}
    assert ran.curve("score") == [(1, 0.0), (2, 0.5), (3, 1.0), (3, 9.5)]
    assert ran.curve("progress") == [(0, 99.0)]
    assert (ran.end["status"], ran.end["reason"], ran.end["dropped"]) == ("FINISHED", "exit status 0", 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_tracebacks_on_every_python(run: Run, version: str) -> None:
    python = interpreter(version)
    code = "import argparse; argparse.ArgumentParser(prog=1).parse_known_args(5)"
    ran, alone = run("-c", code, python=python), run("-c", code, captured=False, python=python)
    assert (ran.stderr, ran.returncode) == (alone.stderr, 1)
    assert ran.end["reason"].startswith("TypeError: ")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_module_can_be_imported_on_every_python(run: Run, version: str) -> None:
    code = (
        "import importlib, pkgutil, sys; package = sys.modules['hpkb.capture']\n"
        "names = [found.name for found in pkgutil.iter_modules(package.__path__) if found.name != 'inject']\n"
        "for name in names: importlib.import_module('hpkb.capture.' + name)\n"
        "print(len(names), 'torch' in sys.modules)"
    )
    ran = run("-c", code, python=interpreter(version))
    assert (ran.stdout.split()[1:], ran.stderr) == (["False"], "")


def test_the_exit_status_is_kept(run: Run) -> None:
    ran = run("exits.py")
    assert ran.returncode == 3
    assert (ran.end["status"], ran.end["reason"], ran.end["exit_status"]) == ("FAILED", "exit status 3", 3)
    assert ran.curve("accuracy") == [(0, 0.5)]


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("import sys; sys.exit('no data')", 1, "exit status 1: no data"),
        ("raise SystemExit", 0, "exit status 0"),
        ("import sys; sys.exit(256 + 5)", 5, "exit status 5"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_ends(run: Run, code: str, status: int, reason: str) -> None:
    ran = run("-c", f"print('a: 1')\n{code}")
    assert (ran.returncode, ran.end["reason"]) == (status, reason)


@pytest.mark.parametrize("where", ["missing", "file"])
def test_a_run_folder_that_takes_nothing_changes_nothing(run: Run, tmp_path: Path, where: str) -> None:
    folder = tmp_path / where
    if where == "file":
        folder.write_text("")
    ran, alone = run("exits.py", folder=folder), run("exits.py", captured=False)
    assert (ran.stdout, ran.returncode, ran.processes) == (alone.stdout, 3, ())
    assert ran.stderr.startswith("hpkb: this process is not captured: no spool in ")
    assert ran.stderr.count("\n") == 1


def test_a_read_only_run_folder(run: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        probe = tmp_path / "probe"
        probe.touch()
        probe.unlink()
        pytest.skip("this user may write into a read-only folder")
    except PermissionError:
        ran = run("exits.py", folder=tmp_path)
        assert (ran.stdout, ran.returncode) == ("accuracy: 0.5\n", 3)
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_costs_records_and_not_the_job(run: Run, tmp_path: Path) -> None:
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "for i in range(200): print(f'loss: {i}')"
    )
    ran = run("-c", code)
    assert ran.returncode == 0
    assert ran.stdout.count("\n") == 200
    assert 20 < len(ran.curve("loss")) < 100
    assert ran.stderr.startswith("hpkb: a record was not captured, and the job goes on (OSError: ")
    assert ran.stderr.count("\n") == 1


def test_nothing_is_imported_that_the_job_does_not_import(run: Run) -> None:
    code = (
        "import sys, hpkb\n"
        "hpkb.log({'score': 0.25}, step=4); hpkb.log({'score': 0.5})\n"
        "print(sorted({'mlflow', 'numpy', 'duckdb', 'torch', 'click', 'argparse'} & set(sys.modules)))"
    )
    ran = run("-c", code)
    assert ran.curve("score") == [(4, 0.25), (0, 0.5)]
    assert ran.stdout == "[]\n"


def test_the_environments_own_sitecustomize_runs_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.mine = 'yes'")
    (tmp_path / "run").mkdir()
    env = environment(tmp_path / "run")
    env["PYTHONPATH"] += os.pathsep + str(tmp_path)
    code = "import sys, json; print(mine); print(json.dumps([sys.path, sys.modules['sitecustomize'].__file__]))"
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    first, second = ended.stdout.splitlines()
    path, file = json.loads(second)
    assert first == "yes"
    assert file == str(tmp_path / "sitecustomize.py")
    assert not any("inject" in entry for entry in path)


def test_what_was_logged_survives_a_kill(tmp_path: Path) -> None:
    code = "import os\nfor i in range(500): print(f'loss: {i}', flush=True)\nos.kill(os.getpid(), 9)"
    ended = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    (records,) = spools(tmp_path)
    assert [record.values["loss"] for record in records[1:]] == list(range(500))


def test_a_signal_handler_that_logs_does_not_block(tmp_path: Path) -> None:
    code = (
        "import hpkb, signal\n"
        "signal.signal(signal.SIGALRM, lambda *_: hpkb.log({'alarm': 1}))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)\n"
        "for i in range(20000): hpkb.log({'loss': i}, step=i)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)"
    )
    env = environment(tmp_path)
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60)
    assert ended.returncode == 0
    (records,) = spools(tmp_path)
    end = records[-1]
    alarms = sum("alarm" in record.values for record in records[1:-1])
    assert sum("loss" in record.values for record in records[1:-1]) == 20000
    assert alarms > 3
    assert end["dropped"] < 200


def test_an_installed_tool_opens_no_spool(tmp_path: Path) -> None:
    env = environment(tmp_path)
    subprocess.run([sys.executable, "-m", "json.tool", "--help"], env=env, cwd=SCRIPTS, capture_output=True, check=True)
    assert spools(tmp_path) == ()


def test_other_ranks_tell_only_of_failures(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "RANK": "1", "WORLD_SIZE": "2"}
    subprocess.run([sys.executable, "-c", "print('loss: 1')"], env=env, capture_output=True, check=True)
    assert spools(tmp_path) == ()
    subprocess.run([sys.executable, "-c", "raise ValueError('rank one')"], env=env, capture_output=True)
    ((header, end),) = spools(tmp_path)
    assert (header["rank"], end["reason"]) == (1, "ValueError: rank one")
