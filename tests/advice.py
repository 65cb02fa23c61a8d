"""A real knowledge base for `recommend`, `suggest` and `check`: planted sweeps, imported and analyzed."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hpkb.pipeline import AnalysisSettings, analyze_store, import_table
from hpkb.sources.importing import open_import
from hpkb.sources.table import Layout

MINERS = ("design", "divergence", "importance", "noise_floor", "response")
COLUMNS = "task dataset lr weight_decay batch_size optimizer momentum seed val_loss".split()
Row = dict[str, object]


def bowl(task: str, best: float, n: int = 36, opposite: bool = False) -> Iterator[Row]:
    """Runs whose loss is a bowl in ln learning_rate; above 0.3 they diverge. Each task has the same configurations."""
    design, rng = np.random.default_rng(3), np.random.default_rng(len(task))
    for i in range(n):
        rate, decay = math.exp(design.uniform(-9, 0)), math.exp(design.uniform(-12, -6))
        size, optimizer = 2 ** int(design.integers(4, 9)), ("AdamW", "SGD")[int(design.integers(0, 2))]
        for seed in range(3 if i < 10 else 1):
            loss = (
                0.3 + 0.05 * (math.log(rate) - best) ** 2 + 0.03 * (optimizer == "SGD") + rng.normal(0, 0.01)
            )
            loss = 3 - loss if opposite else loss
            yield {
                "task": task, "dataset": "digits" if task < "c" else "letters", "lr": f"{rate:.4g}",
                "weight_decay": f"{decay:.3g}", "batch_size": size, "optimizer": optimizer,
                "momentum": 0.9 - 0.1 * (i % 3) if optimizer == "SGD" else "", "seed": seed,
                "val_loss": math.nan if rate > 0.3 else loss,
            }  # fmt: skip


def edge(n: int = 30) -> Iterator[Row]:
    """The larger the learning rate the better, as far as was tried; weight decay goes with it, or is 0."""
    rng = np.random.default_rng(1)
    for i in range(n):
        rate = math.exp(-9 + 4 * i / n)
        yield {"task": "edge", "lr": f"{rate:.4g}", "weight_decay": f"{rate / 10:.4g}", "batch_size": 64,
               "optimizer": "AdamW", "seed": 0,
               "val_loss": 1 - 0.1 * math.log(rate / 1e-4) + rng.normal(0, 0.002)}  # fmt: skip


def few(task: str, rates: tuple[float, ...], fails: bool = False) -> Iterator[Row]:
    """Some runs of one learning rate each, not repeated."""
    for rate in rates:
        loss = math.nan if fails else 0.5 + 0.05 * abs(math.log10(rate) + 2.5)
        yield {"task": task, "lr": rate, "weight_decay": 0.001, "batch_size": 64, "optimizer": "AdamW", "seed": 0,
               "val_loss": loss}  # fmt: skip


def rows() -> Iterator[Row]:
    """All runs."""
    for task, best in (("alpha", -5.0), ("beta", -4.6), ("gamma", -5.4), ("delta", -4.9)):
        yield from bowl(task, best)
    yield from bowl("odd", -5.0, opposite=True)
    yield from edge()
    yield from few("small", (1e-4, 3e-4, 1e-3, 3e-3, 1e-2))
    yield from few("dead", (0.1, 1.0, 10.0), fails=True)
    yield from few("single", (0.001,))


def write(path: Path, made: Iterator[Row]) -> None:
    """Writes runs as a CSV table."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(made)


def build(folder: Path, made: Iterator[Row]) -> Path:
    """Imports and analyzes runs; returns the knowledge base."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "sweep.csv", made)
    layout = Layout(task_column="task", seed_column="seed", objective="val_loss:min")
    found = open_import(str(folder / "sweep.csv"), layout, None)
    import_table(found.source, folder / "hpkb.duckdb", found.objective)
    analyze_store(
        AnalysisSettings(None, folder / "hpkb.duckdb", handbook=folder / "handbook", miners=MINERS, workers=1)
    )
    return folder / "hpkb.duckdb"


@pytest.fixture(scope="session")
def advised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the knowledge base; made once, whatever module asks for it."""
    folder = tmp_path_factory.getbasetemp() / "advice"
    if not (folder / "hpkb.duckdb").exists():
        build(folder, rows())
    return folder
