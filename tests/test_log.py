"""`hpkb log` on an example script as it stands in the repository: what MLflow holds is what the script did."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.stores import Hpkb

pytest.importorskip("torch", reason="PyTorch is not installed")

EXAMPLES = Path(__file__).parents[1] / "examples"
ARGUMENTS = "--lr 0.05 --weight-decay 0.001 --batch-size 50 --optimizer sgd --schedule step --epochs 3 --seed 7".split()


@pytest.fixture(scope="module")
def logged(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[MlflowClient, Run, str]:
    """The store, the run and the output of one run of examples/digits_mlp.py under `hpkb log`."""
    folder = tmp_path_factory.mktemp("log")
    shutil.copy(empty_store, folder / "mlflow.db")
    command = [sys.executable, "-m", "hpkb", "log", "--experiment", "digits", "--task", "digits-mlp", "--"]
    command += [sys.executable, str(EXAMPLES / "digits_mlp.py"), *ARGUMENTS]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "HPKB_SPOOL": str(folder / "spool")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    return client, run, done.stdout


def test_the_hyperparameters_are_those_that_were_used(logged: tuple[MlflowClient, Run, str]) -> None:
    params = logged[1].data.params
    numbers = {
        "learning_rate": 0.05,
        "weight_decay": 0.001,
        "batch_size": 50,
        "momentum": 0.9,
        "seed": 7,
        "epochs": 3,
    }
    assert {name: float(params[name]) for name in numbers} == numbers
    assert params["optimizer"] == "SGD"
    assert params["lr_schedule"] == "step"
    assert params["cli.lr"] == "0.05"
    assert params["cli.hidden"] == "64", "an argument that was left at its default"


def test_the_loss_curve_is_the_one_that_the_script_prints(logged: tuple[MlflowClient, Run, str]) -> None:
    client, run, output = logged
    curve = sorted(client.get_metric_history(run.info.run_id, "train_loss"), key=lambda m: m.step)
    assert [m.step for m in curve] == list(range(1, 31))
    per_epoch = np.array([m.value for m in curve]).reshape(3, 10).mean(axis=1)
    printed = [float(value) for value in re.findall(r"train_loss[=:]\s*([\d.]+)", output)]
    assert len(printed) == 3
    assert np.abs(per_epoch - printed).max() < 1e-4
    validation = sorted(client.get_metric_history(run.info.run_id, "val_loss"), key=lambda m: m.step)
    assert [m.value for m in validation] == [float(v) for v in re.findall(r"val_loss[=:]\s*([\d.]+)", output)]


def test_splits_task_and_end(logged: tuple[MlflowClient, Run, str]) -> None:
    run = logged[1]
    tags = run.data.tags
    assert run.info.status == "FINISHED"
    assert tags["hpkb.task"] == "digits-mlp"
    assert tags["hpkb.split.training.n"] == "500"
    assert re.fullmatch(r"[0-9a-f]{16}", tags["hpkb.split.training.digest"])
    assert tags["hpkb.split.training.digest"] != tags["hpkb.split.validation.digest"]
    contexts = {tag.value for dataset in run.inputs.dataset_inputs for tag in dataset.tags}
    assert contexts == {"training", "validation"}
    assert tags["hpkb.hw.cpu.cores"]


def test_the_exit_status_is_the_commands(hpkb: Hpkb, empty_store: Path, tmp_path: Path) -> None:
    shutil.copy(empty_store, tmp_path / "here" / "mlflow.db")
    assert hpkb("log", "--no-wait", "--", "sh", "-c", "exit 7").returncode == 7
    assert hpkb("log", "--no-wait", "--", "no-such-command").returncode == 127
    assert hpkb("log").returncode == 2
