"""A real training script that knows nothing of hpkb, from `hpkb log` to the store."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hpkb.ship import supervise
from hpkb.ship.rundir import RunSettings
from tests.ship.stub_job import rows, status, table

TRAIN = '''
import argparse
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
for name, default in {"lr": 0.01, "weight-decay": 0.1, "batch-size": 16, "dropout": 0.25, "seed": 3}.items():
    parser.add_argument(f"--{name}", type=type(default), default=default)
args = parser.parse_args()
torch.manual_seed(args.seed)
inputs = torch.randn(160, 8)
data = TensorDataset(inputs, (inputs.sum(1) > 0).long())
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(args.dropout), nn.Linear(16, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=2 * args.lr, weight_decay=args.weight_decay)
loader = DataLoader(data, batch_size=args.batch_size, shuffle=True)
for epoch in range(3):
    for x, y in loader:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(repr(loss.item()))
'''


def test_an_unmodified_script_is_in_the_store(
    store_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    assert supervise.log(RunSettings(store_uri, "digits"), [sys.executable, str(script), "--lr", "0.02"]) == 0
    printed = [float(line) for line in capfd.readouterr().out.splitlines()]
    logged = rows(store_uri, "SELECT value FROM metrics WHERE key = 'train_loss' ORDER BY step")
    assert [value for (value,) in logged] == printed
    assert len(printed) == 30
    params = table(store_uri, "params")
    assert float(params["learning_rate"]) == 0.04  # what the optimizer has, not what the command line says
    assert {"cli.lr": "0.02", "weight_decay": "0.1", "batch_size": "16", "dropout": "0.25", "seed": "3",
            "optimizer": "AdamW"}.items() <= params.items()  # fmt: skip
    assert status(store_uri) == "FINISHED"
    client = MlflowClient(store_uri)
    [run] = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    [split] = run.inputs.dataset_inputs
    assert run.data.tags["hpkb.split.training.digest"] == split.dataset.digest
    assert run.data.tags["hpkb.split.training.n"] == "160"


def test_a_script_that_raises(store_uri: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN + "raise RuntimeError('CUDA out of memory')\n")
    assert supervise.log(RunSettings(store_uri, "digits"), [sys.executable, str(script)]) == 1
    assert status(store_uri) == "FAILED"
    reason = table(store_uri, "tags")["hpkb.end.reason"]
    assert reason.startswith("exit status 1: ")
    assert reason.endswith("RuntimeError: CUDA out of memory")


def test_a_shell_script_with_two_trainings(store_uri: str, tmp_path: Path) -> None:
    (tmp_path / "prepare.py").write_text(
        "import argparse; p = argparse.ArgumentParser(); p.add_argument('--seed', default=99); p.parse_args()"
    )
    (tmp_path / "train.py").write_text(TRAIN)
    each = [f"{sys.executable} {tmp_path}/train.py --seed {seed}" for seed in (1, 2)]
    script = "; ".join([f"{sys.executable} {tmp_path}/prepare.py", *each])
    assert supervise.log(RunSettings(store_uri, "digits", task="t"), ["sh", "-c", script]) == 0
    client = MlflowClient(store_uri)
    found = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    by_name = {run.data.tags["mlflow.runName"]: run for run in found}
    assert {"train-1", "train-2"} < by_name.keys()
    [parent] = [run for run in found if run.data.tags.get("hpkb.parent")]
    for seed, run in enumerate((by_name["train-1"], by_name["train-2"]), start=1):
        assert run.data.params["seed"] == str(seed)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert "hpkb.hw.cpu.cores" in run.data.tags
        assert run.info.status == "FINISHED"
        assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 30
    assert parent.data.params == {"cli.seed": "99"}
