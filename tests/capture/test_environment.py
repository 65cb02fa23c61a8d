"""What the supervisor tells of machine and code, and what is kept back from the command line."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from hpkb.capture import redact
from hpkb.capture.hardware import hardware
from hpkb.capture.repository import code


def test_hardware() -> None:
    found = hardware()
    assert all(name.startswith("hpkb.hw.") and isinstance(value, str) and value for name, value in found.items())
    assert found["hpkb.hw.machine"] == platform.machine()
    assert 0 < float(found["hpkb.hw.cpu.cores"]) <= (os.cpu_count() or 1)
    assert float(found["hpkb.hw.memory.gib"]) > 0.1


def test_code_of_a_repository(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert code(str(tmp_path)) == {}
    git("init", "-q", "-b", "trunk")
    (tmp_path / "train.py").write_text("1")
    git("add", "train.py")
    git("commit", "-q", "-m", "one")
    (tmp_path / "untracked").write_text("2")
    expected = {"hpkb.code.commit": git("rev-parse", "HEAD"), "hpkb.code.branch": "trunk", "hpkb.code.dirty": "false"}
    assert code(str(tmp_path)) == expected
    (tmp_path / "train.py").write_text("3")
    assert code(str(tmp_path))["hpkb.code.dirty"] == "true"


def test_code_where_there_is_nothing() -> None:
    assert code("/does/not/exist") == {}


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["train.py", "--api-key", "abc", "--lr", "0.1"], ["train.py", "--api-key", "***", "--lr", "0.1"]),
        (["train.py", "--hf_token=abc", "--max-tokens=5"], ["train.py", "--hf_token=***", "--max-tokens=5"]),
        (["train.py", "--password", "--verbose"], ["train.py", "--password", "--verbose"]),
        (["a", "hf_abcdefghijklmnop"], ["a", "***"]),
        (["--db", "postgresql://user:word@host/db"], ["--db", "postgresql://***@host/db"]),
    ],
)
def test_secrets_on_the_command_line(arguments: list[str], shown: list[str]) -> None:
    assert redact.command(arguments) == shown


def test_numbers_are_no_secrets() -> None:
    assert redact.parameter("key_size", 64) == 64
    assert redact.parameter("key", "abc") == "***"
    assert redact.parameter("layers", [1, 2]) == "[1, 2]"
