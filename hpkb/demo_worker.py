"""Runs one script after another, each in a process of its own, without each importing PyTorch anew.

Importing torch and making the first optimizer takes over two seconds, several times what a script of the demo then
trains. This program has done both before it forks; the child becomes `python SCRIPT ARGUMENTS…` under capture.

    standard input   one JSON list a line: working folder, run folder, script, arguments…
    standard output  for each the child's process id, then its return code as `subprocess` has it
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys


def main() -> None:
    """Serves requests until its input ends; in the forked child, runs the script and then returns."""
    _warm_up()
    while line := sys.stdin.readline():
        folder, run_dir, *arguments = json.loads(line)
        child = os.fork()
        if not child:
            _become(folder, arguments)
            _capture(run_dir)
            runpy.run_path(arguments[0], run_name="__main__")
            return
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _warm_up() -> None:
    """Does what is the same at the start of every script, and keeps it out of the garbage collections to come."""
    gc.disable()
    import torch

    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # imports torch's compiler
    gc.freeze()  # the children share these pages for as long as nobody touches them
    gc.enable()


def _become(folder: str, arguments: list[str]) -> None:
    """Sets up what Python sets up for `python SCRIPT ARGUMENTS…` in that folder."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir(folder)
    sys.argv = arguments
    sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))


def _capture(run_dir: str) -> None:
    """Starts capture as `capture/inject/sitecustomize.py` does it in a child of `hpkb log`."""
    from hpkb.capture.session import start

    os.environ["HPKB_RUN_DIR"] = run_dir
    start(run_dir)


if __name__ == "__main__":
    main()
