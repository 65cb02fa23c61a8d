"""What scripts send to other loggers is recorded once, under the names that they gave, and gets there as before."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .running import Captured, Run

torch = pytest.importorskip("torch")


def tags(ran: Captured) -> dict[str, str]:
    return {name: value for record in ran.of_type("tags") for name, value in record["values"].items()}


class TestTensorBoard:
    @pytest.fixture
    def ran(self, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Captured:
        pytest.importorskip("tensorboard")
        folder = tmp_path_factory.getbasetemp() / "tensorboard"
        return run("logs_to_tensorboard.py", str(folder))

    def test_scalars_at_the_optimizers_steps(self, ran: Captured) -> None:
        sent = json.loads(ran.stdout.splitlines()[-1])
        assert ran.curve("Loss/train") == list(zip(range(1, 7), sent, strict=True))
        assert ran.curve("train_loss") == ran.curve("Loss/train") == ran.curve("logged.train_loss")

    def test_before_there_is_an_optimizer_the_scripts_step_holds(self, ran: Captured) -> None:
        assert ran.curve("before") == [(7, 0.5)]

    def test_the_scripts_own_step_where_its_distance_changes(self, ran: Captured) -> None:
        assert ran.curve("logged.step") == [(1, 0.0), (6, 3.0)]

    def test_writers_that_share_a_tag(self, ran: Captured) -> None:
        assert {value for _, value in ran.curve("shared")} == {1.0}
        assert {value for _, value in ran.curve("val/shared")} == {2.0}

    def test_a_printed_name_that_a_logger_has_is_another_curve(self, ran: Captured) -> None:
        assert len(ran.curve("printed.loss/train")) == 6
        assert not ran.curve("loss/train")

    def test_several_scalars_and_hyperparameters(self, ran: Captured) -> None:
        assert (ran.curve("both/a"), ran.curve("both/b")) == ([(6, 1.0)], [(6, 2.0)])
        assert (ran.params["config.lr"], ran.params["config.name"]) == (0.1, "x")
        assert ran.curve("final") == [(6, ran.curve("train_loss")[-1][1])]
        assert not ran.curve("hp_metric")

    def test_the_writers_own_errors_and_files_are_the_same(self, ran: Captured, run: Run, tmp_path: Path) -> None:
        alone = run("logs_to_tensorboard.py", str(tmp_path), captured=False)
        assert (ran.stderr, ran.returncode) == (alone.stderr, 0)
        assert "NotImplementedError" in ran.stdout
        assert ran.end["dropped"] == 0


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_wandb(run: Run, tmp_path: Path, mode: str) -> None:
    pytest.importorskip("wandb")
    ran = run("logs_to_wandb.py", str(tmp_path), mode)
    assert (ran.stdout, ran.returncode) == ("0.5\n", 0)
    assert {name: value for name, value in ran.params.items() if name.startswith("config.")} == {
        "config.lr": 0.5, "config.model.width": 8, "config.api_key": "***", "config.momentum": 0.9,
        "config.nesterov": True,
    }  # fmt: skip
    assert [value for _, value in ran.curve("loss")] == [1.0, 2.0, 3.0]
    assert [value for _, value in ran.curve("val.acc")] == [0.5]
    if mode == "offline":  # a disabled run counts no steps
        assert ran.curve("loss") == [(0, 1.0), (1, 2.0), (9, 3.0)]
    assert ran.end["dropped"] == 0


@pytest.mark.parametrize("logger", ["plain", "logger"])
def test_lightning(run: Run, tmp_path: Path, logger: str) -> None:
    pytest.importorskip("lightning")
    ran = run("logs_through_trainers.py", logger, str(tmp_path))
    assert (json.loads(ran.stdout.splitlines()[-1]), ran.end["dropped"]) == ([20, 4], 0)
    assert ran.curve("my_loss") == ran.curve("train_loss") == ran.curve("logged.train_loss")
    assert [step for step, _ in ran.curve("score")] == [5, 10, 15, 20]
    assert [score for _, score in ran.curve("score")] == pytest.approx([0.1, 0.5, 0.4, 0.3])
    assert (ran.params["config.lr"], ran.params["config.widths"]) == (0.05, "(4, 8)")
    assert not ran.curve("hp_metric")
    told = tags(ran)
    assert told["hpkb.end.early_stopping"] == "stopped at step 20, best at 10"
    assert (told["hpkb.end.best_step"], told["hpkb.end.restored_step"]) == ("10", "10")
    assert (told["hpkb.checkpoints"], told["hpkb.checkpoints.last"]) == ("2", "epoch=1-step=10.ckpt")
    assert told["hpkb.epochs_seen"] == "4"


def test_accelerate_and_the_hugging_face_trainer(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("transformers")
    ran = run("logs_through_huggingface.py", str(tmp_path))
    assert (ran.returncode, ran.end["dropped"]) == (0, 0)
    assert (ran.params["config.lr"], ran.params["config.note"], ran.curve("warming")) == (0.25, "here", [(3, 0.5)])
    assert [step for step, _ in ran.curve("loss")] == [1, 2, 3, 4, 5, 6]
    assert ran.curve("loss") == ran.curve("train_loss")
    assert ran.curve("eval_score") == [(2, 1.0), (4, 3.0), (6, 2.0)]
    assert not ran.curve("train/loss")  # what a callback sends on to TensorBoard
    told = tags(ran)
    assert told["hpkb.end.early_stopping"] == "stopped at step 6, best at 4"
    assert (told["hpkb.checkpoints"], told["hpkb.checkpoints.last"]) == ("3", "checkpoint-6")
    assert (told["hpkb.end.restored_step"], told["hpkb.epochs_seen"]) == ("4", "0.75")


@pytest.fixture(scope="module")
def client() -> Any:
    """The class of MLflow's client."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    return pytest.importorskip("mlflow").MlflowClient


class TestMlflow:
    """One run of the script's is the run that the job is shipped to, the next is its own."""

    def test_the_same_run_is_used_once(self, run: Run, tmp_path: Path, client: Any) -> None:
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        store = client(uri)
        run_id = store.create_run(store.create_experiment("mine")).info.run_id
        store.log_param(run_id, "optimizer", "SGD")
        store.log_param(run_id, "learning_rate", "0.1")
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({"tracking_uri": uri, "experiment": "mine"}))
        (folder / "shipped.json").write_text(json.dumps({"run_id": run_id}))
        ran = run("logs_to_mlflow.py", uri, "mine", folder=folder)
        assert (ran.returncode, ran.end["dropped"]) == (0, 0), ran.stderr
        joined, own = ran.stdout.split()
        assert joined == run_id != own
        assert [(note["run_id"], note["how"]) for note in ran.of_type("mlflow_run")] == [
            (run_id, "joined"), (own, "started"),
        ]  # fmt: skip
        assert store.get_run(run_id).data.params == {"optimizer": "SGD", "learning_rate": "0.1", "other": "5"}
        assert store.get_run(own).data.params == {"optimizer": "sgd, plain", "learning_rate": "0.4", "other": "5"}
        assert set(store.get_run(run_id).data.metrics) == {"my/loss", "a", "b"}
        assert (ran.params["config.optimizer"], ran.params["config.other"]) == ("sgd, plain", "5")
        assert [step for step, _ in ran.curve("my/loss")] == [2, 3]  # of the run of its own only

    @pytest.mark.parametrize("other", ["experiment", "store"])
    def test_another_experiment_or_store_is_left_alone(
        self, run: Run, tmp_path: Path, client: Any, other: str
    ) -> None:
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        client(uri).create_experiment("mine")
        folder = tmp_path / "run"
        folder.mkdir()
        shipped_to = uri if other == "experiment" else "http://localhost:1"
        settings = {"tracking_uri": shipped_to, "experiment": "else" if other == "experiment" else "mine"}
        (folder / "run.json").write_text(json.dumps(settings))
        (folder / "shipped.json").write_text(json.dumps({"run_id": "0" * 32}))
        ran = run("logs_to_mlflow.py", uri, "mine", folder=folder)
        assert (ran.returncode, ran.end["dropped"]) == (0, 0), ran.stderr
        assert [note["how"] for note in ran.of_type("mlflow_run")] == ["started", "started"]
        assert [step for step, _ in ran.curve("my/loss")] == [1, 2, 2, 3]


def test_addresses_of_one_store_are_equal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hpkb.capture.mlflow_run import comparable

    monkeypatch.chdir(tmp_path)
    assert comparable("sqlite:///a.db") == comparable(f"sqlite:///{tmp_path}/a.db")
    assert comparable("mlruns") == comparable(f"file://{tmp_path}/mlruns/")
    assert comparable("https://me:word@host:5000/") == comparable("https://host:5000")
    assert comparable("http://host:5000") != comparable("http://host:5001")
