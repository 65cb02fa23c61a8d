"""The example scripts are what a person runs by hand: each trains, and prints its validation loss every epoch."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in ("data.py", "__init__.py"))


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments], capture_output=True, text=True, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def val_losses(output: str) -> list[float]:
    return [float(value) for value in re.findall(r"\bval_loss(?:: |=)(nan|inf|[\d.]+)", output)]


def test_there_are_five_tasks():
    assert SCRIPTS == [
        "cancer_mlp.py", "char_transformer.py", "diabetes_mlp.py", "digits_cnn.py", "digits_mlp.py"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "optimizer", "schedule"),
    [
        ("digits_mlp.py", "sgd", "constant"),
        ("digits_cnn.py", "adamw", "warm_restarts"),
        ("cancer_mlp.py", "sgd", "step"),
        ("diabetes_mlp.py", "adamw", "cosine"),
        ("char_transformer.py", "adamw", "cosine"),
    ],
)
def test_it_learns_and_prints_the_validation_loss_every_epoch(script, optimizer, schedule):
    lr = {"sgd": "0.05", "adamw": "0.005"}[optimizer]
    done = run(script, "--epochs", "3", "--lr", lr, "--optimizer", optimizer, "--schedule", schedule,
               "--weight-decay", "1e-4", "--batch-size", "32", "--dropout", "0.1", "--seed", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = val_losses(done.stdout)
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert "train_loss" in done.stdout
    assert "hpkb" not in done.stdout + done.stderr


def test_a_run_that_diverges_prints_nan_and_ends_as_any_script():
    done = run("diabetes_mlp.py", "--lr", "1", "--optimizer", "sgd", "--batch-size", "16", "--epochs", "3")
    assert done.returncode == 0, done.stderr
    assert math.isnan(val_losses(done.stdout)[-1])


def test_the_examples_know_nothing_of_hpkb():
    for script in EXAMPLES.glob("*.py"):
        if script.name != "__init__.py":
            assert "hpkb" not in script.read_text(), script.name
