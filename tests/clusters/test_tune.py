"""What `--format ray` prints, run by a real Ray Tune on this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.advice import advised
from tests.clusters.machine import QUIET_RAY
from tests.conftest import Hpkb

pytest.importorskip("ray.tune", reason="Ray Tune is not installed (pip install 'ray[tune]')")
__all__ = ["advised"]

BEFORE = """
import json, ray
from ray import tune as _tune
ray.init(address="local", num_cpus=2, include_dashboard=False)

def train(config):
    values = config.get("experiment", config)
    _tune.report({"val_loss": abs(values["learning_rate"] - 0.0067)})
"""
AFTER = """
found = [r.config.get("experiment", r.config) for r in results]
best = results.get_best_result().config
print("RESULT " + json.dumps({"ran": found, "best": best.get("experiment", best), "failed": len(results.errors)}))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: those of Ray's sockets have room for no long one."""
    short = Path(tempfile.mkdtemp(prefix="hpkb-tune-"))
    yield short
    shutil.rmtree(short, ignore_errors=True)


def run(snippet: str, folder: Path) -> dict[str, object]:
    """Runs a snippet with a training that only looks at the learning rate; returns what was tried."""
    script = folder / "tune.py"
    script.write_text(BEFORE + snippet + AFTER)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "HOME": str(folder), "RAY_TMPDIR": str(folder), **QUIET_RAY}
    done = subprocess.run([sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True)
    told = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert told, done.stderr[-2000:]
    return dict(json.loads(told[0].removeprefix("RESULT ")))


def test_a_search_space(advised: Path, hpkb: Hpkb, folder: Path) -> None:
    printed = hpkb("recommend", "--task", "alpha", "--format", "ray", cwd=advised).stdout
    assert "num_samples=32" in printed
    found = run(printed.replace("num_samples=32", "num_samples=6"), folder)
    assert found["failed"] == 0
    rates = [tried["learning_rate"] for tried in found["ran"]]
    assert len(set(rates)) == 6
    ends = re.search(r"'learning_rate': tune.loguniform\(([^,]+), ([^)]+)\)", printed)
    assert ends is not None
    assert all(float(ends[1]) <= rate <= float(ends[2]) for rate in rates)


def test_a_list_of_experiments(advised: Path, hpkb: Hpkb, folder: Path) -> None:
    arguments = ("suggest", "--task", "small", "--n", 3, "--format")
    document = json.loads(hpkb(*arguments, "json", cwd=advised).stdout)
    found = run(hpkb(*arguments, "ray", cwd=advised).stdout, folder)
    assert found["failed"] == 0
    rates = [e["values"].get("learning_rate") for e in document["experiments"]]
    assert sorted(tried["learning_rate"] for tried in found["ran"]) == sorted(rates)
    assert found["best"]["learning_rate"] == min(rates, key=lambda rate: abs(rate - 0.0067))
