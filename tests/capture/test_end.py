"""How a process ended: `sys.exit`, an exception and its frames, want of memory, a loss that is no number."""

from __future__ import annotations

import math
import re

import pytest

from hpkb.capture.end import frames_of, out_of_memory, reason_of

from .running import Captured, Run


def tags(ran: Captured) -> dict[str, str]:
    return {name: value for record in ran.of_type("tags") for name, value in record["values"].items()}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("try: sys.exit(3)\nexcept SystemExit: pass", 0),
        ("try: sys.exit(3)\nexcept SystemExit as error: print(error.code)\nsys.exit(4)", 4),
        ("try: sys.exit(3)\nexcept SystemExit as error: raise", 3),
        ("try: sys.exit(3)\nfinally: print('cleaning up')", 3),
        ("def main():\n  try: sys.exit(3)\n  except SystemExit as error: kept = error; raise\nmain()", 3),
        ("import atexit; atexit.register(lambda: sys.exit(5))", 0),
        ("import threading; thread = threading.Thread(target=lambda: sys.exit(5)); thread.start(); thread.join()", 0),
        ("import argparse\ntry: argparse.ArgumentParser().parse_args(['-x'])\nexcept SystemExit: pass", 0),
    ],
)
def test_only_the_exit_that_ends_the_process_counts(run: Run, code: str, status: int) -> None:
    source = f"import sys\nprint('a: 1')\n{code}"
    ran, alone = run("-c", source), run("-c", source, captured=False)
    assert (ran.returncode, ran.stdout) == (alone.returncode, alone.stdout)
    assert re.sub(r"0x\w+", "", ran.stderr) == re.sub(r"0x\w+", "", alone.stderr)
    assert (ran.returncode, ran.end["exit_status"]) == (status, status)
    assert ran.end["status"] == ("FAILED" if status else "FINISHED")


def test_a_module_that_exits(run: Run) -> None:
    ran = run("-m", "exits")
    assert (ran.returncode, ran.end["reason"]) == (3, "exit status 3")


def test_an_exception_is_told_with_its_last_frames(run: Run) -> None:
    ran = run("raises.py")
    frames = tags(ran)["hpkb.end.traceback"].split(" > ")
    assert len(frames) == 5
    assert (frames[-1].startswith("raises.py:"), frames[-1].endswith("__getitem__")) == (True, True)
    assert "/" not in tags(ran)["hpkb.end.traceback"]


def test_the_jobs_own_code_is_among_the_frames(run: Run) -> None:
    pytest.importorskip("torch")
    code = "import torch\nlayers = [torch.nn.Linear(2, 3)]\n"
    code += "for _ in range(6): layers = [torch.nn.Sequential(*layers)]\n"
    ran = run("-c", code + "layers[0](torch.ones(1, 7))")
    frames = tags(ran)["hpkb.end.traceback"].split(" > ")
    assert (frames[0], len(frames)) == ("<string>:4 <module>", 5)
    assert frames[-1].startswith("linear.py:")


def test_secrets_in_a_message_are_not_told(run: Run) -> None:
    ran = run("-c", "raise ValueError('no access with hf_abcdefghijklmnop123456 there')")
    assert ran.end["reason"].startswith("ValueError: no access with ***")


def test_want_of_memory() -> None:
    torch = pytest.importorskip("torch")
    cases = {
        MemoryError(): "host",
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."): "CUDA",
        RuntimeError("CUDA error: out of memory"): "CUDA",
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"): "host",
        RuntimeError("shapes do not fit"): None,
        ValueError("CUDA out of memory"): None,
    }
    assert {error: out_of_memory(error) for error in cases} == cases
    assert reason_of(MemoryError()) == "out of memory (host): MemoryError"


def test_want_of_memory_in_a_run(run: Run) -> None:
    pytest.importorskip("torch")
    ran = run("-c", "import torch; torch.empty(1 << 60, dtype=torch.uint8)")
    assert ran.end["reason"].startswith("out of memory (host): RuntimeError: ")


def test_a_loss_that_is_no_number_from_a_step_on(run: Run) -> None:
    pytest.importorskip("torch")
    ran = run("diverges.py")
    first = next(step for step, loss in ran.curve("train_loss") if not math.isfinite(loss))
    assert tags(ran)["hpkb.end.nan_from_step"] == str(first)


def test_frames_are_bounded() -> None:
    def deeper(levels: int) -> None:
        if not levels:
            raise ValueError
        deeper(levels - 1)

    with pytest.raises(ValueError) as raised:  # noqa: PT011
        deeper(9)
    assert frames_of(raised.value).count(" > ") == 4
