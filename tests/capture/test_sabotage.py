"""Whatever happens to capture, or is done to it, the job says the same and ends the same as without it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import hpkb.capture

from .running import SCRIPTS, environment, spools
from .test_process import interpreter

GUARDS = {"__init__", "session", "process", "hooks", "imports", "patch", "listeners", "spool"}  # what catches the rest
MODULES = {file.stem for file in Path(hpkb.capture.__file__).parent.glob("*.py")} - GUARDS
WAYS_IN = ("torch_hooks", "training", "features", "output", "end")  # each broken alone, or nothing behind it would run
BROKEN = {name: {name} for name in WAYS_IN} | {"all others": MODULES - set(WAYS_IN)}

BREAKER = """
import sys, types

def raises(*args, **kwargs):
    raise RuntimeError("sabotaged")

def sabotage(module):
    for name, value in list(vars(module).items()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, types.FunctionType) and not name.startswith("__"):
            setattr(module, name, raises)
        elif isinstance(value, type) and not issubclass(value, tuple):
            for method, function in list(vars(value).items()):
                if isinstance(function, types.FunctionType):
                    setattr(value, method, raises)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name not in TARGETS:
            return None
        TARGETS.discard(name)
        import importlib.util
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            sabotage(module)
        spec.loader.exec_module = exec_module
        return spec

for name in TARGETS & set(sys.modules):
    sabotage(sys.modules[name])
sys.meta_path.insert(0, Finder())
"""


def run(tmp_path: Path, *command: str, captured: bool = True, extra: Path | None = None, **more: str) -> list[object]:
    """What the command says and how it ends, without what capture itself says on standard error."""
    place = tmp_path / "run"
    place.mkdir(exist_ok=True)
    env = environment(place if captured else None) | {"OMP_NUM_THREADS": "1"} | more
    if extra is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), str(extra)]))
    done = subprocess.run(command, env=env, cwd=SCRIPTS, capture_output=True, timeout=120)
    own = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith(b"hpkb: ")]
    return [done.stdout, re.sub(rb"0x[0-9a-f]+", b"0x", b"".join(own)), done.returncode]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    pytest.importorskip("torch")
    return run(tmp_path_factory.mktemp("alone"), sys.executable, "everything.py", "--fail", captured=False)


@pytest.mark.parametrize("broken", BROKEN)
def test_every_function_raises(tmp_path: Path, broken: str, undisturbed: list[object]) -> None:
    own = tmp_path / "own"
    own.mkdir()
    targets = {f"hpkb.capture.{module}" for module in BROKEN[broken]}
    (own / "sitecustomize.py").write_text(f"TARGETS = {targets!r}\n{BREAKER}")
    assert run(tmp_path, sys.executable, "everything.py", "--fail", extra=own) == undisturbed


ENDS = {
    "exit": "sys.exit(7)",
    "raises": "1 / 0",
    "os._exit": "print('a: 1', flush=True); os._exit(9)",
    "exit in atexit": "import atexit; atexit.register(lambda: sys.exit(4))",
    "raise in atexit": "import atexit; atexit.register(lambda: 1 / 0)",
    "abort": "os.abort()",
    "sigterm": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)",
    "own handler": "signal.signal(signal.SIGTERM, lambda *_: sys.exit(33)); os.kill(os.getpid(), 15); time.sleep(5)",
    "sigint": "os.kill(os.getpid(), signal.SIGINT); time.sleep(5)",
    "sigkill": "os.kill(os.getpid(), 9)",
    "recursion": "def f(n): print('loss:', n) if n > 1e9 else None; return f(n + 1)\nf(0)",
    "recursion at print": "def f(): print('', end=''); return f()\ntry: f()\nexcept RecursionError: print('deep')",
    "stdout closed": "sys.stdout.close()",
    "stdout gone": "os.close(1); sys.exit(2)",
    "stderr closed": "sys.stderr.close(); sys.exit(2)",
    "stdout replaced": "import io; sys.stdout = io.StringIO(); print('loss: 1'); sys.__stdout__.write('loss: 2')",
    "modules gone": "[sys.modules.pop(name) for name in list(sys.modules) if name.startswith('hpkb')]; print('a: 2')",
    "all open": "files = []\ntry:\n  while True: files.append(open(os.devnull))\nexcept OSError: print('full: 1')",
    "environment cleared": "os.environ.clear(); print('a: 1'); sys.exit(3)",
    "elsewhere": "os.chdir('/'); print('a: 1')",
    "argv frozen": "sys.argv = (); sys.exit('x')",
    "argv gone": "del sys.argv; print('a: 1')",
    "folder gone": "import shutil; print('a: 1'); shutil.rmtree(RUN, ignore_errors=True); print('a: 2'); sys.exit(6)",
    "folder read-only": "os.path.isdir(RUN) and os.chmod(RUN, 0o500); print('a: 1')",
    "threads": "import threading\ndef p(): [print('', end='') for _ in 'abc']\n"
    "many = [threading.Thread(target=p) for _ in '12']\n"
    "[one.start() for one in many]; [one.join() for one in many]; print('a: 1')",
    "fork": "pid = os.fork()\nif pid == 0: print('a: 1', flush=True); os._exit(3)\nprint(os.waitpid(pid, 0)[1])",
    "fork that exits": "pid = os.fork()\nif pid == 0: sys.exit(3)\nprint(os.waitpid(pid, 0)[1])",
    "fork and exec": "import subprocess; print(subprocess.call([sys.executable, '-c', 'print(\"c: 3\"); exit(5)']))",
    "exec": "os.execv(sys.executable, [sys.executable, '-c', 'print(\"c: 3\"); raise SystemExit(4)'])",
    "excepthook": "sys.excepthook = lambda *a: print('mine', a[0].__name__); raise KeyError('x')",
    "big step": "import hpkb; hpkb.log({'a': 1}, step=2 ** 80); hpkb.log({'a': object()}); hpkb.log(5); print('ok')",
    "big line": "print('loss: 1 ' * 100000)",
    "surrogates": "import argparse; argparse.ArgumentParser().parse_known_args(['\\udc80']); sys.exit('\\udc80')",
}


@pytest.mark.parametrize("name", ENDS)
def test_ways_to_end(tmp_path: Path, name: str) -> None:
    place = str(tmp_path / "run")
    script = tmp_path / "script.py"
    script.write_text(f"import os, signal, sys, time\nRUN = {place!r}\nprint('start: 1', flush=True)\n{ENDS[name]}\n")
    try:
        captured = run(tmp_path, sys.executable, str(script))
        alone = run(tmp_path, sys.executable, str(script), captured=False)
    finally:
        if os.path.isdir(place):
            os.chmod(place, 0o700)
    assert captured == alone


def test_a_signal_that_kills_leaves_the_records(tmp_path: Path) -> None:
    code = "import os; print('loss: 1', flush=True); os.abort()"
    assert run(tmp_path, sys.executable, "-c", code)[2] == -signal.SIGABRT
    ((_, points),) = spools(tmp_path / "run")
    assert points.values == {"loss": 1.0}


def test_a_full_disk(tmp_path: Path) -> None:
    """A file system of two pages, where this user may make one."""
    place = tmp_path / "run"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        code = "for i in range(2000): print(f'loss: {i}')\nraise SystemExit(3)"
        assert run(tmp_path, sys.executable, "-c", code) == run(tmp_path, sys.executable, "-c", code, captured=False)
        ((_, *points),) = spools(place)
        assert [record.values["loss"] for record in points[:50]] == list(range(50))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_two_threads_that_train(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    code = textwrap.dedent(
        """
        import threading, torch
        def train(seed, out):
            generator = torch.Generator().manual_seed(seed)
            model = torch.nn.Linear(3, 1)
            torch.nn.init.constant_(model.weight, 0.5), torch.nn.init.zeros_(model.bias)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(200):
                loss = (model(torch.randn(4, 3, generator=generator)) ** 2).mean()
                optimizer.zero_grad(); loss.backward(); optimizer.step()
            out[seed] = loss.item()
        out = {}
        threads = [threading.Thread(target=train, args=(seed, out)) for seed in range(2)]
        [thread.start() for thread in threads]; [thread.join() for thread in threads]
        print(sorted(out.items()))
        """
    )
    assert run(tmp_path, sys.executable, "-c", code) == run(tmp_path, sys.executable, "-c", code, captured=False)


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7", "3.8", "3.9", "3.13"])
@pytest.mark.parametrize("own", [True, False])
def test_any_python_with_and_without_a_sitecustomize_of_its_own(tmp_path: Path, version: str, own: bool) -> None:
    python, extra = interpreter(version), tmp_path / "own"
    extra.mkdir()
    if own:
        (extra / "sitecustomize.py").write_text("import sys; sys.mine = 'mine'\n")
    code = "import sys; print(getattr(sys, 'mine', None)); print([p for p in sys.path if 'inject' in p]); sys.exit(3)"
    assert run(tmp_path, python, "-c", code, extra=extra) == run(
        tmp_path, python, "-c", code, extra=extra, captured=False
    )


def test_packages_archives_and_safe_paths(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__main__.py").write_text("import sys; print('loss: 0.5', __name__, len(sys.path) > 1)")
    archive = tmp_path / "app.pyz"
    subprocess.run([sys.executable, "-m", "zipapp", str(package), "-o", str(archive)], check=True)
    for command in (["-m", "pkg"], [str(archive)], [str(package)], ["-P", str(archive)]):
        if command[0] == "-P" and sys.version_info < (3, 11):
            continue
        mine = run(tmp_path, sys.executable, *command, extra=tmp_path)
        assert mine == run(tmp_path, sys.executable, *command, extra=tmp_path, captured=False)
    assert len(spools(tmp_path / "run")) == (4 if sys.version_info >= (3, 11) else 3)


def test_a_relative_run_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    env = environment(Path("run"))
    code = "import os, subprocess, sys; os.chdir('/'); subprocess.run([sys.executable, '-c', 'print(\"a: 1\")'])"
    subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, check=True, capture_output=True)
    assert len(spools(tmp_path / "run")) == 1
