"""Scripts of every community, through `hpkb log` into a real store: nearly all that is true is there, nothing else."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from hpkb.ship import supervise
from hpkb.ship.rundir import RunSettings

from .community.cases import CASES, Case
from .community.recall import Row, compare, of_run, share_found

pytest.importorskip("torch")


def _rows(case: Case, folder: Path, patch: pytest.MonkeyPatch) -> list[Row]:
    from hpkb.ship.client import MlflowClient

    patch.chdir(folder)
    patch.setenv("HPKB_SPOOL", str(folder / "spool"))
    patch.setenv("OMP_NUM_THREADS", "1")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    assert supervise.log(RunSettings(uri, "community"), case.command) == 0
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("community").experiment_id])
    assert run.info.status == "FINISHED"
    return compare(case, json.loads((folder / "results.json").read_text()), of_run(run))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_decides_a_run_is_recorded_and_nothing_false(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = [name for name in case.needs if importlib.util.find_spec(name) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)} is not installed")
    rows = _rows(case, tmp_path, monkeypatch)
    for verdict in ("wrong", "unchecked"):
        assert [row for row in rows if row.verdict == verdict] == []
    assert share_found(rows) >= 0.95, [row for row in rows if row.verdict == "missing"]
