"""What the supervisor tells of machine and code, and what is kept back from the command line."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

from hpkb.capture import redact
from hpkb.capture.environment import of_scheduler
from hpkb.capture.hardware import cgroup_cores, cgroup_memory, hardware
from hpkb.capture.repository import code, difference

from .running import Run


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


def test_the_difference_has_no_secret_and_an_end(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert difference(str(tmp_path)) == ""
    git("init", "-q")
    (tmp_path / "train.py").write_text("lr = 0.1\n")
    git("add", "train.py")
    git("commit", "-q", "-m", "one")
    assert difference(str(tmp_path)) == ""
    (tmp_path / "train.py").write_text('lr = 0.2\napi_key = "do-not-tell"\n')
    (tmp_path / "new.py").write_text("do-not-tell")
    text = difference(str(tmp_path))
    assert "-lr = 0.1\n+lr = 0.2\n" in text
    assert text.endswith('+api_key = "***"\n# untracked: new.py\n')
    assert "do-not-tell" not in text
    (tmp_path / "train.py").write_text("a line of it\n" * 100_000)
    text = difference(str(tmp_path))
    assert len(text) < 201_000
    assert "# cut after 200000 bytes\n" in text


CPU1 = "31 23 0:29 /outer /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY1 = "32 23 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
UNIFIED = "33 23 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "cores", "memory"),
    [
        ("0::/job/step\n", UNIFIED, {"job/cpu.max": "350000 100000", "job/step/cpu.max": "max 100000",
         "job/memory.max": "4096", "job/step/memory.max": "2048"}, 3.5, 2048),
        ("0::/\n", UNIFIED, {"cpu.max": "50000 100000"}, 0.5, None),
        ("0::/../../elsewhere\n", UNIFIED, {}, None, None),
        ("4:cpu,cpuacct:/outer/in\n3:memory:/a/b\n0::/\n", CPU1 + MEMORY1, {"cpu/in/cpu.cfs_quota_us": "200000",
         "cpu/in/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1", "memory/a/memory.limit_in_bytes": "77"},
         2.0, 77),
    ],
)  # fmt: skip
def test_limits_of_control_groups(
    tmp_path: Path, groups: str, mounts: str, files: dict[str, str], cores: float | None, memory: int | None
) -> None:
    placed = {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts}
    for name, text in {**placed, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert min(cgroup_cores(str(tmp_path)), default=None) == cores
    assert min(cgroup_memory(str(tmp_path)), default=None) == memory


def test_the_host_is_told_apart_but_not_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found = hardware()["hpkb.hw.host"]
    assert re.fullmatch("[0-9a-f]{12}", found)
    assert hardware()["hpkb.hw.host"] == found
    assert (tmp_path / "hpkb" / "salt").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("SLURMD_NODENAME", "another")
    assert hardware()["hpkb.hw.host"] != found
    (tmp_path / "hpkb" / "salt").write_bytes(b"other")
    monkeypatch.delenv("SLURMD_NODENAME")
    assert hardware()["hpkb.hw.host"] != found


def test_schedulers_are_told_without_names_of_hosts() -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_NODELIST": "secret-host", "HOSTNAME": "h"}
    assert of_scheduler(environ) == {"hpkb.env.slurm.job_id": "7", "hpkb.env.slurm.array_task_id": "2"}
    assert of_scheduler({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "train-0"}) == {
        "hpkb.env.kubernetes.pod": "train-0"
    }


def test_what_a_training_runs_with(run: Run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    script = tmp_path / "train.py"
    script.write_text(SEEDED)
    ran = run(str(script), "--token", "do-not-tell")
    assert (ran.stderr, ran.returncode) == ("", 0)
    tags = {name: value for record in ran.of_type("tags") for name, value in record["values"].items()}
    expected = {
        "hpkb.env.torch": torch.__version__, "hpkb.env.torch.threads": "1", "hpkb.env.torch.cudnn.benchmark": "true",
        "hpkb.env.torch.deterministic": "true", "hpkb.env.torch.matmul.precision": "high",
        "hpkb.code.script": "train.py",
        "hpkb.code.arguments": "--token ***", "hpkb.seed.set": "true",
    }  # fmt: skip
    assert {name: tags.get(name) for name in expected} == expected
    seeds = {"seed": 3, "seed.torch": 3, "seed.numpy": 5, "seed.random": 7, "seed.loader": 99}
    assert {name: value for name, value in ran.params.items() if name.startswith("seed")} == seeds
    assert "do-not-tell" not in str(ran.records)


SEEDED = """
import pickle, random, torch
from torch.utils.data import DataLoader, TensorDataset
try:
    import numpy
    numpy.random.default_rng(5), pickle.loads(pickle.dumps(numpy.random.default_rng))
except ImportError:
    pass
random.seed(7), torch.random.manual_seed(3)
for seeder in (torch.manual_seed, torch.random.manual_seed, random.seed):
    assert pickle.loads(pickle.dumps(seeder)).__name__ == seeder.__name__
torch.set_num_threads(1), torch.use_deterministic_algorithms(True), torch.set_float32_matmul_precision("high")
torch.backends.cudnn.benchmark = True
generator = torch.Generator().manual_seed(99)
weight = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.SGD([weight], lr=0.1)
for (x,) in DataLoader(TensorDataset(torch.ones(8, 1)), 4, shuffle=True, generator=generator):
    (weight * x).sum().backward()
    optimizer.step()
torch.manual_seed(4)
"""


def test_a_job_that_sets_no_seed_says_so(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = tmp_path / "train.py"
    script.write_text("import torch\nw = torch.nn.Parameter(torch.ones(1))\no = torch.optim.SGD([w], lr=0.1)\n"
                      "w.sum().backward()\no.step()\n")  # fmt: skip
    ran = run(str(script))
    tags = {name: value for record in ran.of_type("tags") for name, value in record["values"].items()}
    assert tags["hpkb.seed.set"] == "false"
    assert not [name for name in ran.params if name.startswith("seed")]


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
