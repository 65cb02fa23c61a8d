"""A job with several trainings: the knowledge base has its trainings, not the run that stands above them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpkb.kb import connect, ingest_into
from hpkb.ship import supervise
from hpkb.ship.rundir import RunSettings
from hpkb.sources import open_source
from tests.kb.rawstore import RawStore

TRAIN = """
import sys
import torch
from torch import nn

torch.manual_seed(int(sys.argv[1]))
x = torch.randn(64, 4)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
    loss.backward()
    optimizer.step()
print(f"val_loss: {loss.item()}")
"""
#: Prints the very metric that the trainings are judged by, and then asks for more memory than there is.
EVALUATE = "print('val_loss: 123.0'); raise MemoryError"


def test_the_run_above_the_trainings_of_a_job_is_no_run(
    store: RawStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPKB_SPOOL", str(tmp_path / "spool"))
    for name, text in (("train.py", TRAIN), ("evaluate.py", EVALUATE)):
        (tmp_path / name).write_text(text)
    programs = ["train.py 1", "train.py 2", "evaluate.py"]
    script = "; ".join(f"{sys.executable} {tmp_path}/{program}" for program in programs)
    assert supervise.log(RunSettings(store.uri, "digits"), ["sh", "-c", script]) == 1
    above = store.execute("SELECT run_uuid FROM tags WHERE key = 'hpkb.parent'")
    assert len(above) == 1
    assert store.execute("SELECT count(*) FROM runs") == [(3,)]

    kb = tmp_path / "kb.duckdb"
    report = ingest_into(kb, open_source(store.uri), objective="val_loss:min")
    assert (report.new, report.removed) == (2, 0)
    with connect(kb, read_only=True) as connection:
        runs = connection.execute("SELECT run_name, status, infeasible FROM runs ORDER BY run_name").fetchall()
        assert runs == [("train-1", "FINISHED", False), ("train-2", "FINISHED", False)]
        assert connection.execute("SELECT count(*) FROM run_matrix WHERE objective_min < 123").fetchone() == (2,)
        for table in ("curves", "hyperparameters", "hardware", "splits"):
            found = connection.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", above[0]).fetchone()
            assert found == (0,), table


def test_a_run_above_trainings_that_an_earlier_hpkb_took_in_is_gone(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    above = store.run("digits", curves={"val_loss": [1.0, 0.5]})
    store.run("digits", curves={"val_loss": [1.0, 0.4]}, tags={"mlflow.parentRunId": above})
    assert ingest_into(kb, open_source(store.uri)).new == 2
    store.execute("INSERT INTO tags (key, value, run_uuid) VALUES ('hpkb.parent', 'true', ?)", (above,))
    report = ingest_into(kb, open_source(store.uri))
    assert (report.removed, report.unchanged) == (1, 1)
    with connect(kb, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM runs WHERE run_id = ?", [above]).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM curves WHERE run_id = ?", [above]).fetchone() == (0,)
