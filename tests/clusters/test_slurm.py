"""The batch scripts of examples/clusters: one node, several nodes, a job that is queued again, a store that is away."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.slurm import Slurm
from tests.faults.place import wait_for
from tests.faults.truth import Truth
from tests.postgres import free_port

pytest.importorskip("torch", reason="PyTorch is not installed")

STEPS = 20  # of an epoch


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The address of an empty store."""
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def slurm(store: str, tmp_path: Path) -> Iterator[Slurm]:
    """A cluster whose jobs log into the store; what they leave behind is ended after the test."""
    cluster = Slurm(tmp_path / "cluster", store)
    yield cluster
    cluster.kill_everything()


def params(truth: Truth) -> dict[str, str]:
    """The parameters of the store's runs."""
    return dict(truth.rows("SELECT key, value FROM params"))


def left(slurm: Slurm) -> list[str]:
    """What lies on the shared disk for the job's sake."""
    return sorted(file.name for file in (slurm.scratch / "hpkb").iterdir() if not file.name.endswith(".pt"))


def test_one_node(slurm: Slurm, store: str) -> None:
    job = slurm.submit("single.sbatch", "--lr", "0.125", "--epochs", "3")
    out, errors = job.communicate(timeout=150)
    assert job.returncode == 0, errors
    assert out.count("val_loss=") == 3
    [run] = Truth(store).runs().values()
    assert (run.status, run.tags["hpkb.env.slurm.job_id"]) == ("FINISHED", "4711")
    assert sorted(step for step, _ in run.points) == list(range(1, 3 * STEPS + 1))
    assert params(Truth(store))["learning_rate"] == "0.125"
    assert left(slurm) == [], "MLflow has everything"


def test_a_job_that_is_queued_again_goes_on_in_its_run_on_another_node(
    slurm: Slurm, store: str
) -> None:
    first = slurm.submit("single.sbatch", "--epochs", "100000")
    wait_for((slurm.scratch / "hpkb" / "4711.pt").exists, 100)
    first.send_signal(signal.SIGUSR1)
    out, errors = first.communicate(timeout=100)
    assert first.returncode == 75, errors
    assert slurm.log.read_text() == "requeue 4711\n"
    assert left(slurm) == ["4711"]
    done = int(re.findall(r"epoch=(\d+)", out)[-1])
    # The command has to be the same; the script ends where the file says so.
    checkpoint_says_all_done(slurm.scratch / "hpkb" / "4711.pt", 99_998)
    second = slurm.submit("single.sbatch", "--epochs", "100000", node="node-b", SLURM_RESTART_COUNT="1")
    out, errors = second.communicate(timeout=150)
    assert second.returncode == 0, errors
    [run] = Truth(store).runs().values()
    assert run.status == "FINISHED"
    assert run.tags["hpkb.resumed.from_step"] == str(done * STEPS)
    assert run.tags["hpkb.end.reason"] == "exit status 0"
    assert max(step for step, _ in run.points) == (done + 2) * STEPS
    assert left(slurm) == []


def checkpoint_says_all_done(file: Path, epoch: int) -> None:
    """Lets the next attempt begin so near to its end that the test does not wait for it."""
    import torch

    state, times = torch.load(file), file.stat()
    torch.save(state | {"epoch": epoch}, file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_a_store_that_is_away_does_not_get_is_on_the_shared_disk(
    slurm: Slurm, store: str
) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    job = slurm.submit("single.sbatch", "--epochs", "2", MLFLOW_TRACKING_URI=away)
    _, errors = job.communicate(timeout=200)
    assert job.returncode == 0, errors
    assert "still spooled" in errors
    assert left(slurm) == ["4711"]
    done = slurm.hpkb("sync", "--tracking-uri", store, str(slurm.scratch / "hpkb" / "4711"))
    assert (done.returncode, done.stdout) == (0, "1 run shipped\n"), done.stderr
    [run] = Truth(store).runs().values()
    assert (run.status, len(run.points)) == ("FINISHED", 2 * STEPS)


def test_two_nodes_are_one_run(slurm: Slurm, store: str) -> None:
    job = slurm.submit("multi.sbatch", "--lr", "0.25", "--epochs", "2", SLURM_NNODES="2", SLURM_JOB_ID=str(free_port()))
    out, errors = job.communicate(timeout=200)
    assert job.returncode == 0, errors
    assert out.count("val_loss=") == 2
    [run] = Truth(store).runs().values()
    assert (run.status, run.tags["hpkb.env.slurm.nodes"]) == ("FINISHED", "2")
    assert len(run.points) == 2 * STEPS // 2, "each rank has half of the examples, and the first speaks"
    assert float(run.tags["hpkb.rank.1.hw.peak_memory_gib"]) > 0
    told = params(Truth(store))
    assert (told["learning_rate"], told["world_size"]) == ("0.25", "2")
    assert left(slurm) == []
