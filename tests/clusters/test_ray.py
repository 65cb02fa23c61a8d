"""examples/clusters/ray_train.py on a real Ray of this machine: started by the script, and there before it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.machine import QUIET_RAY, Machine
from tests.faults.truth import Truth
from tests.postgres import free_port

pytest.importorskip("torch", reason="PyTorch is not installed")
if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray is not installed (pip install 'ray[train]')", allow_module_level=True)
pytest.importorskip("ray.train", reason="Ray Train is not installed (pip install 'ray[train]')")

EPOCHS, STEPS = 3, 10  # of an epoch, of two workers
START = ["python", "-m", "ray.scripts.scripts", "start", "--head", "--num-cpus", "4", "--include-dashboard", "false"]


@pytest.fixture
def machine(empty_store: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine with a store; whatever Ray has started on it is ended after the test."""
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    short = tempfile.mkdtemp(prefix="hpkb-ray-")  # the names of Ray's sockets have room for no long path
    made = Machine(tmp_path / "machine", f"sqlite:///{tmp_path / 'mlflow.db'}", RAY_TMPDIR=short, **QUIET_RAY)
    yield made
    made.kill_everything()
    shutil.rmtree(short, ignore_errors=True)


def train(machine: Machine, tmp_path: Path, address: str) -> subprocess.CompletedProcess[str]:
    """Trains on two workers under `hpkb log`."""
    script = ["python", "examples/clusters/ray_train.py", "--storage", str(tmp_path / "results")]
    options = ["--workers", "2", "--lr", "0.125", "--epochs", str(EPOCHS)]
    return machine.run(["hpkb", "log", "--", *script, *options], RAY_ADDRESS=address)


def holds_one_run(tmp_path: Path) -> None:
    """The store has one run of both workers, whole."""
    truth = Truth(f"sqlite:///{tmp_path / 'mlflow.db'}")
    [run] = truth.runs().values()
    assert run.status == "FINISHED"
    assert sorted(step for step, _ in run.points) == list(range(1, EPOCHS * STEPS + 1))
    told = dict(truth.rows("SELECT key, value FROM params"))
    assert (told["learning_rate"], told["world_size"], told["batch_size"]) == ("0.125", "2", "100")
    assert "hpkb.rank.1.env.torch" in run.tags
    assert run.tags["hpkb.env.ray.job_id"]
    assert "default_worker" not in str(run.tags), "Ray's own script says nothing of the training"
    reported = truth.rows("SELECT step, value FROM metrics WHERE key = 'val_loss' ORDER BY step")
    assert [step for step, _ in reported] == [STEPS * (epoch + 1) for epoch in range(EPOCHS)]
    assert reported[-1][1] < reported[0][1]


@pytest.mark.timeout(280)
def test_on_a_ray_that_the_script_starts(machine: Machine, tmp_path: Path) -> None:
    done = train(machine, tmp_path, "local")
    assert done.returncode == 0, done.stderr[-3000:]
    holds_one_run(tmp_path)


@pytest.mark.timeout(280)
def test_on_a_ray_that_was_there_before(machine: Machine, tmp_path: Path) -> None:
    """Its workers inherit nothing of the script's environment."""
    port = str(free_port())
    begun = machine.run([*START, "--port", port])
    assert begun.returncode == 0, begun.stderr
    done = train(machine, tmp_path, f"127.0.0.1:{port}")
    assert done.returncode == 0, done.stderr[-3000:]
    holds_one_run(tmp_path)
