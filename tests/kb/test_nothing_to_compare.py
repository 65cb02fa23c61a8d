"""What a person sees whose store, or folder, is not what they thought: what is there, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpkb import present
from hpkb.errors import SourceError
from hpkb.pipeline import AnalysisSettings, analyze_store
from hpkb.sources import open_source
from tests.kb.rawstore import RawStore


def test_a_dry_run_shows_how_runs_are_grouped_that_cannot_be_compared(store: RawStore, tmp_path: Path) -> None:
    for data in ("cifar10", "mnist"):
        store.run("sweep", {"lr": 0.1, "dataset": data}, {"val_loss": [0.5]})
    with pytest.raises(SourceError, match=r"2 finished runs, and no task has two\. Try: hpkb analyze --dry-run"):
        analyze_store(AnalysisSettings(store.uri, tmp_path / "kb.duckdb"))
    shown = present.analysis(
        analyze_store(AnalysisSettings(store.uri, tmp_path / "kb.duckdb", dry_run=True)), "table"
    )
    assert "cifar10" in shown
    assert "learning_rate   lr (2 runs)" in shown
    assert shown.endswith("Dry run: nothing was written.")
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_run_that_is_left_out_is_the_reason(tmp_path: Path) -> None:
    run = tmp_path / "mlruns" / "1" / ("ab" * 16)
    run.mkdir(parents=True)
    (run.parent / "meta.yaml").write_text("experiment_id: '1'\nname: sweep\n")
    (run / "meta.yaml").write_text("run_id: 'another'\n")
    with pytest.raises(SourceError, match=r"No runs in .*; 1 runs or experiments with damaged metadata, left out"):
        analyze_store(AnalysisSettings(str(tmp_path / "mlruns"), tmp_path / "kb.duckdb"))


def test_a_place_that_is_no_store_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    with pytest.raises(SourceError, match=f"older kind of store: --tracking-uri {tmp_path / 'mlruns'}"):
        open_source(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(SourceError, match=f"There is a store in it: {tmp_path / 'mlruns'}"):
        open_source(str(tmp_path))
    with pytest.raises(SourceError, match="comes in with: hpkb import"):
        open_source(str(tmp_path / "mlruns"))
    with pytest.raises(SourceError, match=r"Cannot read runs from 'nowhere'\. Give an MLflow or Optuna SQLite store"):
        open_source("nowhere")
