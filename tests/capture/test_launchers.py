"""Two gloo ranks, however they are started: the first speaks for the training, each for its hardware."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpkb.capture.spool import Points

from .running import SCRIPTS, environment, spools

pytest.importorskip("torch")


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def torchrun(folder: Path, *arguments: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [*launcher, "ranks.py", *arguments]


def accelerate(folder: Path, *arguments: str) -> list[str]:
    pytest.importorskip("accelerate")
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    return [*launcher, "--num_machines", "1", "--main_process_port", free_port(), "ranks.py", *arguments]


def srun(folder: Path, *arguments: str) -> list[str]:
    """What `srun -n 2` does to its two processes."""
    each = f"SLURM_PROCID=$n SLURM_NTASKS=2 {sys.executable} ranks.py --start srun {' '.join(arguments)}"
    return ["sh", "-c", f"for n in 0 1; do {each} & done; wait"]


def started(method: str) -> Any:
    def command(folder: Path, *arguments: str) -> list[str]:
        return [sys.executable, "ranks.py", "--start", method, "--store", str(folder / "store"), *arguments]

    return command


LAUNCHERS = {
    "torchrun": torchrun, "accelerate": accelerate, "srun": srun, "spawn": started("spawn"), "fork": started("fork"),
}  # fmt: skip


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_ranks(tmp_path: Path, launcher: str) -> None:
    (tmp_path / "run").mkdir()
    env = environment(tmp_path / "run") | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = LAUNCHERS[launcher](tmp_path, "--lr", "0.125")
    ended = subprocess.run(command, env=env, cwd=SCRIPTS, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert not any(line.startswith("hpkb: ") for line in ended.stderr.splitlines())
    training = {of_type(records, "training")["rank"]: records for records in spools(tmp_path / "run")
                if of_type(records, "training")}  # fmt: skip
    assert sorted(training) == [0, 1]
    first, second = training[0], training[1]
    said = {name: value for record in first if kind(record) == "params" for name, value in record["values"].items()}
    assert (said["learning_rate"], said["batch_size"], said["world_size"]) == (0.125, 16, 2)
    assert [record.step for record in first if isinstance(record, Points) and "train_loss" in record.values] == [
        *range(1, 9)
    ]
    assert any("score" in record.values for record in first if isinstance(record, Points))
    assert {kind(record) for record in second} == {"header", "training", "tags", "end"}
    tags = {name: value for record in second if kind(record) == "tags" for name, value in record["values"].items()}
    assert float(tags["hpkb.rank.1.hw.peak_memory_gib"]) > 0
    assert all(name.startswith(("hpkb.rank.1.hw.", "hpkb.rank.1.env.")) for name in tags)
    group, other = (of_type(training[rank], "training")["group"] for rank in (0, 1))
    assert group == other
    assert [of_type(training[rank], "end")["reason"] for rank in (0, 1)] == ["exit status 0"] * 2


def kind(record: Any) -> str:
    return "points" if isinstance(record, Points) else str(record["type"])


def of_type(records: list[Any], wanted: str) -> dict[str, Any]:
    return next((record for record in records if kind(record) == wanted), {})


def test_a_rank_that_fails_before_it_trains_says_why(tmp_path: Path) -> None:
    env = environment(tmp_path) | {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}
    code = "print('loss: 1'); raise ValueError('no such data')"
    subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, cwd=os.sep)
    ((header, end),) = spools(tmp_path)
    assert (header["role"], end["reason"]) == ("process", "ValueError: no such data")


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_worker_of_ray_waits_for_its_first_step(tmp_path: Path, rank: str) -> None:
    """Ray starts workers before it knows their ranks, with arguments of its own, and repeats what they print."""
    code = (
        "import argparse, os, torch; argparse.ArgumentParser().parse_known_args(['--x'])\n"
        "parser = argparse.ArgumentParser(); parser.add_argument('--node-id'); parser.parse_args(['--node-id', '5'])\n"
        f"os.environ.update(RANK='{rank}', WORLD_SIZE='2', MASTER_ADDR='host', MASTER_PORT='1')\n"
        "print('(RayTrainWorker pid=3) loss: 1'); weight = torch.ones(1, requires_grad=True)\n"
        "weight.sum().backward(); torch.optim.SGD([weight], lr=0.5).step()"
    )
    env = environment(tmp_path) | {"RAY_RAYLET_PID": "1"}
    subprocess.run([sys.executable, "-c", code], env=env, cwd=SCRIPTS, check=True, capture_output=True)
    (records,) = spools(tmp_path)
    assert of_type(records, "training")["rank"] == int(rank)
    said = {name for record in records if kind(record) == "params" for name in record["values"]}
    assert not any(name.startswith("cli.") for name in said)
    assert ("learning_rate" in said) == (rank == "0")
    names = {name for record in records if isinstance(record, Points) for name in record.values}
    assert "raytrainworker_pid" not in names
    assert "loss" not in names
    assert ("train_loss" in names) == (rank == "0")
