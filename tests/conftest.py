"""Fixtures shared by the tests: a real MLflow store with runs of a known law, and the command line as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Hpkb = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hpkb(tmp_path: Path) -> Hpkb:
    """Runs `hpkb ARGUMENTS` in an empty folder with a spool of its own, and returns what it printed."""
    folder = tmp_path / "here"
    folder.mkdir(exist_ok=True)

    def run(*arguments: object, cwd: Path = folder, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "HPKB_"))}
        settings = {"HPKB_SPOOL": str(tmp_path / "spool"), "MLFLOW_DISABLE_TELEMETRY": "true", **environment}
        command = [sys.executable, "-m", "hpkb", *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, env=inherited | settings, capture_output=True, text=True, timeout=240
        )

    return run


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow SQLite store without a run; MLflow takes seconds to make one, so the others are copies of it."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    write_store(path, {}, n_runs=0)
    return path


@pytest.fixture(scope="session")
def planted_store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow SQLite store: three tasks of 40 runs, a bowl in learning_rate, and divergence above 0.5."""
    path = tmp_path_factory.mktemp("planted") / "mlflow.db"
    shutil.copy(empty_store, path)
    write_store(path, {"alpha": -5.0, "beta": -4.5, "gamma": -5.5}, n_runs=40)
    return path


def write_store(path: Path, tasks: dict[str, float], n_runs: int, metric: str = "val_loss") -> None:
    """Writes an MLflow SQLite store with `n_runs` runs a task; the task's number is its best ln learning_rate."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(f"sqlite:///{path}")
    found = client.get_experiment_by_name("planted")
    location = str(path.parent)
    experiment = (
        found.experiment_id if found else client.create_experiment("planted", artifact_location=location)
    )
    for task, best in tasks.items():
        rng = np.random.default_rng(len(task))
        for i in range(n_runs):
            rate = float(np.exp(rng.uniform(-9, 0)))
            params = {
                "learning_rate": rate,
                "weight_decay": float(np.exp(rng.uniform(-12, -3))),
                "seed": i % 3,
            }
            loss = 0.3 + 0.05 * (np.log(rate) - best) ** 2 + 0.02 * rng.standard_normal()
            value = float("nan") if rate > 0.5 else loss
            run = client.create_run(experiment, run_name=f"{task}-{i}", tags={"hpkb.task": task}).info.run_id
            client.log_batch(
                run,
                metrics=[Metric(metric, v, 1_700_000_000_000 + s, s) for s, v in ((1, 2.0), (10, value))],
                params=[Param(k, f"{v:.6g}") for k, v in params.items()],
                tags=[RunTag("hpkb.schema", "1")],
            )
            client.set_terminated(run)
