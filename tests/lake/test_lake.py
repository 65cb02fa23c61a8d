"""A lake in a folder: what is found over it, what becomes of changed runs, who else can read it."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.dataset as ds
import pytest

import hpkb
from hpkb.engine import engine_of
from hpkb.errors import SourceError
from hpkb.lake.compaction import compact
from hpkb.lake.contents import contents
from hpkb.lake.sync import SyncReport, sync
from hpkb.sources import open_source
from tests.kb.rawstore import RawStore
from tests.lake.conftest import add_run, analyzed, delete, found, known


def synced(source: str, lake: Path | str, workers: int = 1) -> SyncReport:
    with engine_of("local", workers) as engine:
        return sync(str(lake), partial(open_source, source), engine)


def test_the_same_is_found_over_a_lake(swept: RawStore, direct: Path, tmp_path: Path) -> None:
    report = synced(swept.uri, tmp_path / "lake", workers=2)
    assert (report.new, report.changed, report.removed) == (72, 0, 0)
    assert report.points == 72 * 140
    analyzed(str(tmp_path / "lake"), tmp_path / "over.duckdb", workers=2)
    assert known(tmp_path / "over.duckdb") == known(direct)
    assert found(tmp_path / "over.duckdb") == found(direct)


def test_no_curve_is_copied(swept: RawStore, tmp_path: Path) -> None:
    synced(swept.uri, tmp_path / "lake")
    analyzed(str(tmp_path / "lake"), tmp_path / "over.duckdb")
    with hpkb.open(tmp_path / "over.duckdb") as base:
        assert base.sql("SELECT count(*) FROM curve_points").fetchall() == [(0,)]
        assert base.sql("SELECT count(*) FROM curves WHERE metric = 'val_loss'").fetchall() == [(72 * 20,)]


def test_a_lake_that_is_left_for_its_store(swept: RawStore, direct: Path, tmp_path: Path) -> None:
    synced(swept.uri, tmp_path / "lake")
    analyzed(str(tmp_path / "lake"), tmp_path / "kb.duckdb")
    analyzed(swept.uri, tmp_path / "kb.duckdb")
    shutil.rmtree(tmp_path / "lake")
    assert known(tmp_path / "kb.duckdb") == known(direct)
    assert found(tmp_path / "kb.duckdb") == found(direct)


def test_what_changed_in_the_store_changes_in_the_lake(swept: RawStore, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    synced(swept.uri, lake)
    analyzed(str(lake), tmp_path / "over.duckdb")
    ids = [str(run_id) for (run_id,) in swept.execute("SELECT run_uuid FROM runs ORDER BY start_time")]
    delete(swept, ids[0])
    swept.log(ids[1], "train_loss", [0.5, 0.4], first_step=120, time=MOMENT)
    swept.execute(
        "UPDATE tags SET value = 'gpu 7' WHERE key = 'hpkb.hw.gpu.name' AND run_uuid = ?", (ids[2],)
    )
    add_run(swept, "alpha", 30, np.random.default_rng(9))
    report = synced(swept.uri, lake)
    assert (report.new, report.removed, report.unchanged) == (1, 1, 69)
    assert report.changed == 2
    assert synced(swept.uri, lake).unchanged == 72
    analyzed(str(lake), tmp_path / "over.duckdb")
    analyzed(swept.uri, tmp_path / "direct.duckdb")
    assert known(tmp_path / "over.duckdb") == known(tmp_path / "direct.duckdb")
    assert found(tmp_path / "over.duckdb") == found(tmp_path / "direct.duckdb")


MOMENT = 1_756_000_100_000


def test_a_sync_with_nothing_new_writes_nothing(swept: RawStore, tmp_path: Path) -> None:
    synced(swept.uri, tmp_path / "lake")
    before = sorted(file for file in (tmp_path / "lake").rglob("*"))
    assert synced(swept.uri, tmp_path / "lake").unchanged == 72
    assert sorted(file for file in (tmp_path / "lake").rglob("*")) == before


def test_a_store_that_was_moved_is_in_the_lake_once(swept: RawStore, tmp_path: Path) -> None:
    synced(swept.uri, tmp_path / "lake")
    shutil.move(tmp_path / "mlflow.db", tmp_path / "moved.db")
    report = synced(f"sqlite:///{tmp_path / 'moved.db'}", tmp_path / "lake")
    assert (report.new, report.unchanged) == (0, 72)


def test_two_stores_are_one_lake(swept: RawStore, empty_store: Path, tmp_path: Path) -> None:
    shutil.copy(empty_store, tmp_path / "other.db")
    add_run(RawStore(tmp_path / "other.db"), "delta", 1, np.random.default_rng(3))
    synced(swept.uri, tmp_path / "lake")
    synced(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "lake")
    assert sum(holding.runs for holding in contents(str(tmp_path / "lake"))) == 73
    analyzed(str(tmp_path / "lake"), tmp_path / "over.duckdb")
    with hpkb.open(tmp_path / "over.duckdb") as base:
        assert base.task_names() == ["alpha", "beta", "delta", "gamma"]


def test_small_parts_become_one_and_old_files_go(swept: RawStore, direct: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    synced(swept.uri, lake)
    for number in range(3):
        add_run(swept, "alpha", 2 * number, np.random.default_rng(number))
        synced(swept.uri, lake)
    analyzed(swept.uri, tmp_path / "direct.duckdb")
    with engine_of() as engine:
        report = compact(str(lake), engine)
        assert (report.parts_before, report.parts, report.deleted) == (9, 6, 0)
        analyzed(str(lake), tmp_path / "over.duckdb")
        assert found(tmp_path / "over.duckdb") == found(tmp_path / "direct.duckdb")
        again = compact(str(lake), engine, older_than=0)
    assert (again.parts, again.deleted > 20) == (6, True)
    analyzed(str(lake), tmp_path / "over.duckdb")
    assert known(tmp_path / "over.duckdb") == known(tmp_path / "direct.duckdb")
    assert len(list(lake.rglob("*.parquet"))) == 6 * 7


def sync_with_others(source: str, lake: str) -> int:
    """A sync as one of several processes."""
    return synced(source, lake).unchanged


def test_syncs_at_once_bring_each_run_in_once(swept: RawStore, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(sync_with_others, [(swept.uri, str(tmp_path / "lake"))] * 4)
    assert sum(holding.runs for holding in contents(str(tmp_path / "lake"))) == 72
    assert len(list((tmp_path / "lake" / "_hpkb").iterdir())) == 1


def test_a_sync_that_was_killed_leaves_the_lake_as_it_was(swept: RawStore, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    synced(swept.uri, lake)
    add_run(swept, "alpha", 2, np.random.default_rng(1))
    killed = multiprocessing.get_context("spawn").Process(target=_sync_and_die, args=(swept.uri, str(lake)))
    killed.start()
    killed.join()
    assert killed.exitcode == 9
    assert sum(holding.runs for holding in contents(str(lake))) == 72
    synced(swept.uri, lake)
    assert sum(holding.runs for holding in contents(str(lake))) == 73


def _sync_and_die(source: str, lake: str) -> None:
    import os

    from hpkb.lake import sync as syncing

    syncing.commit = lambda *_: os._exit(9)  # type: ignore[assignment]
    synced(source, lake)


def test_others_read_it_without_hpkb(swept: RawStore, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    synced(swept.uri, lake)
    manifest = json.loads(max((lake / "_hpkb").iterdir()).read_text("utf-8"))
    files = [str(lake / f"points/{part['folder']}/{part['name']}.parquet") for part in manifest["parts"]]
    read = duckdb.sql(
        "SELECT task, month, count(*) FROM read_parquet($files) GROUP BY ALL ORDER BY ALL",
        params={"files": files},
    )
    months = ("2025-08", "2025-10")
    assert [(t, str(m)[:7], n) for t, m, n in read.fetchall()] == [
        (task, month, 12 * 140) for task in ("alpha", "beta", "gamma") for month in months
    ]
    assert (
        ds.dataset(files, partitioning="hive", partition_base_dir=str(lake / "points")).count_rows()
        == 72 * 140
    )
    polars = pytest.importorskip("polars")
    assert (
        polars.scan_parquet(files, hive_partitioning=True).select(polars.len()).collect().item() == 72 * 140
    )


def test_points_are_sorted_and_have_statistics(swept: RawStore, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    synced(swept.uri, tmp_path / "lake")
    file = next((tmp_path / "lake" / "points").rglob("*.parquet"))
    table = pq.read_table(file, partitioning=None)
    assert table.column_names == ["run_id", "metric", "step", "timestamp", "value"]
    rows = list(zip(*(table[name].to_pylist() for name in ("run_id", "metric", "step")), strict=True))
    assert rows == sorted(rows)
    statistics = pq.ParquetFile(file).metadata.row_group(0).column(0).statistics
    assert statistics is not None
    assert statistics.min == rows[0][0]


def test_a_lake_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No lake at"):
        contents(str(tmp_path / "nothing"))
