"""Whether capture can be put into what a command starts, as far as the command tells."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

_PYTHON = re.compile(r"(?:python|pypy)(?:(\d)(?:\.(\d+))?)?\d*t?")
_WITH_VALUE = frozenset("cmWXQ")  # of Python's options; the first two are followed by the program
_LEAVE_OUT = {"I": "isolates itself", "E": "ignores PYTHONPATH", "S": "leaves sitecustomize out"}
_OLDEST = (3, 9)
_STARTERS = frozenset(
    "env nice ionice nohup time timeout taskset numactl stdbuf setsid xvfb-run srun mpirun mpiexec uv uvx poetry "
    "pdm hatch rye pixi pipenv conda mamba micromamba accelerate torchrun deepspeed ray composer colossalai "
    "sh bash dash zsh fish ksh make just ninja xargs parallel sudo doas su docker podman apptainer singularity "
    "enroot sbatch salloc tmux screen script strace perf nsys ncu gdb valgrind ssh busybox".split()
)


def obstacle(command: Sequence[str]) -> str | None:
    """Why no Python that the command starts will be captured; None where one may be.

    What a shell script or a launcher starts is not looked into.
    """
    name = os.path.basename(command[0])
    at = next((i for i, part in enumerate(command) if _PYTHON.fullmatch(os.path.basename(part))), None)
    if at is not None and (at == 0 or (name in _STARTERS and "-c" not in command[:at])):
        if name == "env" and {"-i", "-", "--ignore-environment"} & set(command[:at]):
            return "env empties the environment"
        return _of_python(command[at:])
    if name in _STARTERS or _PYTHON.fullmatch(name) or not _is_binary(command[0]):
        return None
    return f"{name} is no Python program"


def arguments_of_program(command: Sequence[str]) -> list[str]:
    """The arguments that the program itself is given, without an interpreter's, a starter's and the program's name."""
    at = next((i for i, part in enumerate(command) if _PYTHON.fullmatch(os.path.basename(part))), None)
    if at is None:
        return list(command[1:])
    program = _program(command[at:])
    return list(command[at + program + 1 :])


def _of_python(command: Sequence[str]) -> str | None:
    name = os.path.basename(command[0])
    version = _version(command[0])
    if version is not None and version < _OLDEST:
        return f"{name} is Python {'.'.join(map(str, version))}, and capture begins with 3.9"
    for option in command[1 : _program(command)]:
        for letter in option[1:] if option.startswith("-") and not option.startswith("--") else "":
            if letter in _LEAVE_OUT:
                return f"{name} -{letter} {_LEAVE_OUT[letter]}"
            if letter in _WITH_VALUE:
                break
    return None


def _program(command: Sequence[str]) -> int:
    """The index of the script, or of what follows `-m` or `-c`, in a command that begins with Python."""
    at = 1
    while at < len(command) and command[at].startswith("-") and command[at] != "-":
        letters = command[at][1:] if not command[at].startswith("--") else ""
        found = next((i for i, letter in enumerate(letters) if letter in _WITH_VALUE), None)
        if found is not None:
            alone = found == len(letters) - 1
            if letters[found] in "cm":
                return at + 1 if alone else at
            at += 1 if alone else 0
        at += 1
    return at


def _version(python: str) -> tuple[int, int] | None:
    """The version that a Python's own name says, or that of the file behind it; a bare `python2` is 2.7."""
    found = shutil.which(python)
    for name in (os.path.basename(python), os.path.basename(os.path.realpath(found)) if found else ""):
        version = _PYTHON.fullmatch(name)
        if version and version[1] and name.startswith("python"):
            if version[2]:
                return int(version[1]), int(version[2])
            if version[1] == "2":
                return 2, 7
    return None


def _is_binary(program: str) -> bool:
    """Whether the program is no script: what its first line names may be a Python after all."""
    found = shutil.which(program)
    if found is None:
        return False
    try:
        with Path(found).open("rb") as file:
            return file.read(2) != b"#!"
    except OSError:
        return True
