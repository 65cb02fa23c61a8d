"""What an analysis keeps for `check`: it answers as it would from the runs, and never from runs that are gone."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from hpkb.kb import KnowledgeBase
from hpkb.pipeline import import_table
from hpkb.recommend.packed_forest import PackedForest, packed
from hpkb.sources.importing import open_import
from hpkb.sources.table import Layout
from hpkb.suggest import outline
from tests.advice import advised as advised

ASKED: list[dict[str, Any]] = [
    {"lr": 0.004, "optimizer": "AdamW"}, {"lr": 0.28, "batch_size": 64}, {"lr": 30.0, "momentum": 0.8}, {"lr": 1e-9},
    {"batch_size": 4096, "weight_decay": 1e-4}, {"optimizer": "Lion"}, {"batch_size": 64, "lr": 0.001},
    {"lr": 0.005, "weight_decay": 0.0005, "batch_size": 64, "optimizer": "SGD", "momentum": 0.9, "seed": 1},
]  # fmt: skip


@pytest.fixture
def kept(advised: Path, tmp_path: Path) -> Path:
    """A copy of the knowledge base, of this test's own."""
    return Path(shutil.copy(advised / "hpkb.duckdb", tmp_path / "hpkb.duckdb"))


def answers(path: Path) -> list[dict[str, Any]]:
    with KnowledgeBase.open(path) as base:
        return [base.check(values, task) for values in ASKED for task in (None, "alpha", "edge", "small", "dead")]


def n_kept(path: Path) -> int:
    with KnowledgeBase.open(path) as base:
        return len(outline.outlined(base, outline.states(base), ["learning_rate"]))


def test_check_answers_as_it_does_from_the_runs(kept: Path) -> None:
    assert n_kept(kept) == 9
    from_outlines = answers(kept)
    with KnowledgeBase.open(kept, read_only=False) as base:
        base.sql("SELECT 1")
        base.connection.execute("DELETE FROM outlines")
    assert n_kept(kept) == 0
    assert answers(kept) == from_outlines


def test_the_runs_of_a_task_are_not_loaded_where_its_outline_holds(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpkb.kb.sweep.load_sweeps", lambda *_: pytest.fail("runs were loaded"))
    with KnowledgeBase.open(kept) as base:
        assert base.check({"lr": 0.004})["task"] is None


def test_an_outline_ends_with_what_it_was_made_of(kept: Path, tmp_path: Path) -> None:
    with (tmp_path / "more.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["task", "lr", "batch_size", "val_loss"])
        writer.writeheader()
        writer.writerow({"task": "alpha", "lr": 0.9, "batch_size": 8192, "val_loss": 0.1})
    layout = Layout(task_column="task", objective="val_loss:min")
    found = open_import(str(tmp_path / "more.csv"), layout, None)
    import_table(found.source, kept, found.objective)
    assert n_kept(kept) == 8
    with KnowledgeBase.open(kept, read_only=False) as base:
        state = outline.states(base)
        assert outline.forest_of(base, "alpha", state["alpha"]) is None
        assert outline.forest_of(base, "beta", state["beta"]) is not None
        base.save_default("beta", "insufficient", base.defaults("beta") or {})
        assert outline.forest_of(base, "beta", state["beta"]) is not None
    assert n_kept(kept) == 0


@pytest.mark.parametrize("change", ["save_findings", "clear_defaults"])
def test_an_outline_ends_with_the_findings_and_defaults(kept: Path, change: str) -> None:
    with KnowledgeBase.open(kept, read_only=False) as base:
        base.save_findings(base.findings()) if change == "save_findings" else base.clear_defaults()
    assert n_kept(kept) == 0


@pytest.mark.parametrize("n", [2, 40, 700])
def test_a_packed_forest_predicts_what_it_was_made_of_predicts(n: int) -> None:
    draw = np.random.default_rng(n)
    rows, asked = draw.normal(size=(n, 6)), draw.normal(size=(300, 6))
    rows[:, 3] = draw.integers(0, 2, n)
    holes = np.where(draw.random(rows.shape) < 0.1, np.nan, rows)
    forest = ExtraTreesRegressor(30, random_state=0).fit(holes, np.clip(draw.normal(size=n), 0, 1))
    again = PackedForest.from_bytes(packed(forest).to_bytes())
    for there in (asked, rows, asked[:1]):
        assert np.array_equal(again.predict(there), forest.predict(there))
