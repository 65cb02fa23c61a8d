"""MLflow stores, made by MLflow once a session."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kb.rawstore import RawStore


@pytest.fixture(scope="session")
def mlflow_client_class() -> Any:
    """MLflow's client, imported once and without telemetry."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    yield MlflowClient
    patch.undo()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory, mlflow_client_class: Any) -> Path:
    """An MLflow store with no run in it."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    mlflow_client_class(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> RawStore:
    """A store of this test's own."""
    return RawStore(Path(shutil.copy(empty_store, tmp_path / "mlflow.db")))


@dataclass(frozen=True)
class Written:
    """A store that MLflow wrote, its client, and the ids of the runs by what is special about them."""

    path: Path
    client: Any
    ids: dict[str, str]


@pytest.fixture(scope="session")
def written(empty_store: Path, tmp_path_factory: pytest.TempPathFactory, mlflow_client_class: Any) -> Written:
    """A store with all that MLflow lets one write: NaN, infinities, deleted, unfinished and nested runs, odd names."""
    path = Path(shutil.copy(empty_store, tmp_path_factory.mktemp("written") / "mlflow.db"))
    client = mlflow_client_class(f"sqlite:///{path}")
    first, second = client.create_experiment("digits"), client.create_experiment("größe/2 – b")
    ids = {}
    for kind, experiment in [("plain", first), ("nan", first), ("infinite", first), ("deleted", first),
                             ("unfinished", first), ("child", second)]:  # fmt: skip
        tags = {"mlflow.parentRunId": ids["plain"]} if kind == "child" else {}
        ids[kind] = run = client.create_run(experiment, run_name=f"{kind} run", tags=tags).info.run_id
        client.log_param(run, "learning_rate", 0.001)
        client.log_param(run, "Größe / a.b-c:d", "x" * 6000)
        for step, value in enumerate(_values(kind)):
            client.log_metric(run, "val_loss", value, timestamp=1_700_000_000_000 + step, step=step - 1)
        client.log_metric(run, "Größe / a.b", 1.5, step=2**40)
        client.log_metric(run, "twice", 1.0, timestamp=5, step=3)
        client.log_metric(run, "twice", 2.0, timestamp=5, step=3)
        if kind != "unfinished":
            client.set_terminated(run, "FAILED" if kind == "nan" else "FINISHED")
    client.set_tag(ids["plain"], "hpkb.task", "digits-cnn")
    client.set_tag(ids["plain"], "hpkb.hw.cpu.model", "a CPU")
    client.set_tag(ids["plain"], "hpkb.split.training.digest", "0123456789abcdef")
    client.set_tag(ids["plain"], "hpkb.split.training.n", "1437")
    client.delete_run(ids["deleted"])
    return Written(path, client, ids)


def _values(kind: str) -> list[float]:
    last = {"nan": math.nan, "infinite": -math.inf}.get(kind, 0.25)
    return [1.0, math.inf if kind == "infinite" else 0.5, last]
