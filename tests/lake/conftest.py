"""A store with curves, brought into lakes; what an analysis of it finds, to be found over the lake as well."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import hpkb
from hpkb.pipeline import AnalysisReport, AnalysisSettings, analyze_store
from tests.kb.rawstore import RawStore

MONTHS = (1_756_000_000_000, 1_760_000_000_000)  # two months in which runs were started
Found = Mapping[str, list[tuple[object, ...]]]

_FOUND = {
    "findings": "SELECT * FROM findings ORDER BY finding_id",
    "runs of findings": "SELECT * FROM finding_runs ORDER BY ALL",
    "defaults": "SELECT * FROM defaults ORDER BY task",
    "suggestions": "SELECT * FROM suggestions ORDER BY task",
}
_KNOWN = {
    "runs": "SELECT * EXCLUDE (source, fingerprint) FROM runs ORDER BY run_id",
    "hyperparameters": "SELECT * FROM hyperparameters ORDER BY ALL",
    "splits": "SELECT * FROM splits ORDER BY ALL",
    "hardware": "SELECT * FROM hardware ORDER BY ALL",
    "features": "SELECT * FROM curve_features ORDER BY ALL",
    "gaps": "SELECT * FROM generalization_gaps ORDER BY ALL",
    "curves": "SELECT * FROM curves ORDER BY ALL",
    "tasks": "SELECT * FROM tasks ORDER BY ALL",
}


def add_run(store: RawStore, task: str, number: int, rng: np.random.Generator, best: float = -5.0) -> str:
    """Adds a run whose loss falls to the bottom of a bowl in the logarithm of its learning rate, or rises above it."""
    rate, decay = float(np.exp(rng.uniform(-9, -1))), float(np.exp(rng.uniform(-12, -3)))
    bottom = 0.3 + 0.05 * (np.log(rate) - best) ** 2
    steps = np.arange(1, 121)
    loss = bottom + 2 / np.sqrt(steps) + 0.02 * rng.standard_normal(steps.size)
    if rate > 0.2:
        loss[60:] = np.nan
    params = {
        "learning_rate": f"{rate:.6g}",
        "weight_decay": f"{decay:.6g}",
        "seed": number % 3,
        "optimizer": "adamw",
    }
    machine = {"hpkb.task": task, "hpkb.hw.gpu.name": f"gpu {number % 2}", "hpkb.schema": "1"}
    curves = {"train_loss": loss.tolist(), "val_loss": (loss[5::6] + 0.05).tolist()}
    run_id = store.run(f"sweep, {task[0]}/é", params, curves, machine)
    store.execute(
        "UPDATE runs SET start_time = ?, end_time = ? WHERE run_uuid = ?", (*_times(number), run_id)
    )
    return run_id


def _times(number: int) -> tuple[int, int]:
    began = MONTHS[number % 2] + number * 1_000
    return began, began + 60_000


@pytest.fixture(scope="session")
def swept_once(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store of three tasks, 24 runs each, two curves a run."""
    path = tmp_path_factory.mktemp("swept") / "mlflow.db"
    shutil.copy(empty_store, path)
    store = RawStore(path)
    for task, best in {"alpha": -5.0, "beta": -4.5, "gamma": -5.5}.items():
        rng = np.random.default_rng(len(task) + ord(task[0]))
        for number in range(24):
            add_run(store, task, number, rng, best)
    return path


@pytest.fixture
def swept(swept_once: Path, tmp_path: Path) -> RawStore:
    """A copy of it that may be changed."""
    shutil.copy(swept_once, tmp_path / "mlflow.db")
    return RawStore(tmp_path / "mlflow.db")


def analyzed(source: str, kb: Path, engine: str = "local", workers: int = 1) -> AnalysisReport:
    """Analyzes a store into a knowledge base, without pages."""
    return analyze_store(AnalysisSettings(source, kb, engine=engine, workers=workers))


def found(kb: Path) -> Found:
    """Returns what was found, byte for byte."""
    with hpkb.open(kb) as base:
        return {name: base.sql(query).fetchall() for name, query in _FOUND.items()}


def known(kb: Path) -> Found:
    """Returns what is known of the runs, their curves included."""
    with hpkb.open(kb) as base:
        return {
            name: [tuple(map(str, row)) for row in base.sql(query).fetchall()]
            for name, query in _KNOWN.items()
        }


@pytest.fixture(scope="session")
def direct(swept_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The knowledge base of the store itself."""
    kb = tmp_path_factory.mktemp("direct") / "hpkb.duckdb"
    analyzed(f"sqlite:///{swept_once}", kb)
    return kb


Alter = Callable[[RawStore], None]


def delete(store: RawStore, run_id: str) -> None:
    """Deletes a run as MLflow does."""
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", (run_id,))
