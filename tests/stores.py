"""A real MLflow store with runs of a known law, for the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

Hpkb = Callable[..., "subprocess.CompletedProcess[str]"]  # the fixture that runs the command line


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
