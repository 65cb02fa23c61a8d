"""What a stand-in for NVIDIA's library says of two GPUs, and the energy that a job is charged with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent / "nvml" / "standin.c"

FACTS = "import json, os; from hpkb.capture.nvml import facts; print(json.dumps(facts(os.environ)))"
SAMPLES = """
import json, os, time
from hpkb.capture.nvml import Sampler
sampler = Sampler(os.environ)
began = time.monotonic()
values = sampler.sample()
for _ in range(4):
    time.sleep(0.05)
    sampler.sample()
totals = sampler.totals()
print(json.dumps([values, totals, time.monotonic() - began]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a `libnvidia-ml.so.1` that needs no GPU."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE)], check=True)
    return folder


def told(library: Path, code: str, *arguments: str, **environ: str) -> Any:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CUDA_", "NVML_"))}
    env.update(environ, LD_LIBRARY_PATH=str(library))
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_facts(library: Path) -> None:
    assert told(library, FACTS) == {
        "gpu.name": "Test GPU", "gpu.count": "2", "gpu.memory.gib": "80.0", "gpu.driver": "570.1",
        "gpu.driver.cuda": "12.8", "gpu.power_limit_watts": "700", "gpu.mig": "false",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        ("1", "1"), ("0,1", "2"), ("GPU-8", "1"), ("GPU-", None), ("0,9,1", "1"), ("", None), ("-1", None),
        ("MIG-x", "1"),
    ],
)
def test_only_visible_gpus_count(library: Path, chosen: str, count: str | None) -> None:
    assert told(library, FACTS, CUDA_VISIBLE_DEVICES=chosen).get("gpu.count") == count


def test_numbers_say_nothing_where_gpus_differ(library: Path) -> None:
    differ = {"NVML_LACKS": "uniformity", "CUDA_VISIBLE_DEVICES": "1"}
    assert told(library, FACTS, **differ) == {}
    assert told(library, FACTS, **differ, CUDA_DEVICE_ORDER="PCI_BUS_ID")["gpu.name"] == "Other GPU"


def test_what_is_not_there_is_left_out(library: Path) -> None:
    assert "gpu.mig" not in told(library, FACTS, NVML_LACKS="mig")
    assert told(library, FACTS, NVML_LACKS="driver") == {}


@pytest.mark.parametrize("lacks", ["", "energy"])
def test_energy_is_power_over_time(library: Path, lacks: str) -> None:
    values, totals, seconds = told(library, SAMPLES, NVML_LACKS=lacks)
    assert values == {
        "gpu_power_watts": 300, "gpu_power_watts.0": 100, "gpu_power_watts.1": 200,
        "gpu_utilization": 0.75, "gpu_utilization.0": 0.5, "gpu_utilization.1": 1.0,
        "gpu_memory_used_gib": 2, "gpu_memory_used_gib.0": 1, "gpu_memory_used_gib.1": 2,
    }  # fmt: skip
    assert float(totals["hpkb.energy_joules"]) == pytest.approx(300 * seconds, rel=0.2)
    assert float(totals["hpkb.energy_joules.gpu1"]) == pytest.approx(200 * seconds, rel=0.2)


def test_one_gpu_is_told_once(library: Path) -> None:
    values, totals, _ = told(library, SAMPLES, CUDA_VISIBLE_DEVICES="1")
    assert values == {"gpu_power_watts": 200, "gpu_utilization": 1.0, "gpu_memory_used_gib": 2}
    assert list(totals) == ["hpkb.energy_joules"]


METERED = """
import json, sys, time
from pathlib import Path
from hpkb.capture.spool import Points
from hpkb.ship.gauge import Meter
from hpkb.ship.rundir import RunDir, RunSettings, SpoolReader
run = RunDir.create(RunSettings("sqlite:///none.db", "e"), Path(sys.argv[1]))
run.record({"type": "child", "pid": 1})
with Meter(run, period=0.05):
    time.sleep(0.3)
records = [record for _, record in SpoolReader(str(run.spools()[0])).read()]
points = [record.values for record in records if isinstance(record, Points)]
tags = [record["values"] for record in records if not isinstance(record, Points) and record["type"] == "tags"]
print(json.dumps([points, tags]))
"""


def test_the_supervisor_samples_beside_the_job(library: Path, tmp_path: Path) -> None:
    points, (tags,) = told(library, METERED, str(tmp_path))
    assert len(points) > 2
    assert {point["gpu_power_watts"] for point in points} == {300}
    assert float(tags["hpkb.energy_joules"]) == pytest.approx(300 * 0.3, rel=0.4)


def test_without_a_driver_nothing_is_sampled(library: Path, tmp_path: Path) -> None:
    assert told(library, METERED, str(tmp_path), NVML_LACKS="driver") == [[], []]
