"""A run whose whole curves are among its artifacts has those in the knowledge base, each point once."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from mlflow import MlflowClient

from hpkb.curve_file import FOLDER, NAME, TAG, CurveFileWriter
from hpkb.kb.ingest import ingest_into
from hpkb.sources import open_source


def _store(folder: Path) -> tuple[str, Path]:
    """A store with one run: `loss` in two thinned points with their scatter, `own` logged by the script itself."""
    client = MlflowClient(uri := f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("e", artifact_location=str(folder / "artifacts"))
    run = client.create_run(experiment)
    for name, step, value in (("loss", 2, 0.5), ("loss.sd", 2, 0.1), ("loss", 4, 0.4), ("own", 1, 7.0)):
        client.log_metric(run.info.run_id, name, value, step=step)
    client.set_tag(run.info.run_id, TAG, f"{FOLDER}/{NAME}")
    client.set_terminated(run.info.run_id)
    return uri, Path(run.info.artifact_uri) / FOLDER / NAME


def _write(file: Path) -> None:
    file.parent.mkdir(parents=True)
    with CurveFileWriter(file) as writer:
        for step in range(1, 5):
            writer.add("loss", step, 1_700_000_000_000 + step, 1.0 / step)


def _curves(uri: str, kb: Path) -> list[tuple[str, int, float]]:
    ingest_into(kb, open_source(uri))
    with duckdb.connect(str(kb), read_only=True) as connection:
        return connection.sql("SELECT metric, step, value FROM curves ORDER BY ALL").fetchall()


def test_the_whole_curve_replaces_the_thinned_one(tmp_path: Path) -> None:
    uri, file = _store(tmp_path)
    _write(file)
    assert _curves(uri, tmp_path / "kb.duckdb") == [
        ("loss", 1, 1.0), ("loss", 2, 0.5), ("loss", 3, pytest.approx(1 / 3)), ("loss", 4, 0.25), ("own", 1, 7.0),
    ]  # fmt: skip


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_without_a_file_that_can_be_read_the_metrics_answer(tmp_path: Path, content: bytes | None) -> None:
    uri, file = _store(tmp_path)
    if content is not None:
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    assert [(metric, step) for metric, step, _ in _curves(uri, tmp_path / "kb.duckdb")] == [
        ("loss", 2), ("loss", 4), ("loss.sd", 2), ("own", 1),
    ]  # fmt: skip
