"""Runs in the knowledge base: only what changed is read, all of it or nothing, and the same as if built anew."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from hpkb.errors import KnowledgeBaseError, SourceError
from hpkb.kb import IngestReport, connect, ingest, ingest_into, load_sweeps, writing
from hpkb.sources import open_source
from tests.kb.rawstore import RawStore

TABLES = (
    "tasks", "runs", "hyperparameters", "splits", "hardware", "curves", "curve_features", "generalization_gaps",
    "run_matrix",
)  # fmt: skip


def analyze(store: RawStore, kb: Path, experiments: Sequence[str] = (), objective: str | None = None) -> IngestReport:
    return ingest_into(kb, open_source(store.uri), experiments, objective)


def contents(kb: Path) -> dict[str, list[str]]:
    with connect(kb, read_only=True) as connection:
        return {t: sorted(map(repr, connection.execute(f"FROM {t}").fetchall())) for t in TABLES}


def rows(kb: Path, sql: str) -> list[tuple[Any, ...]]:
    with connect(kb, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def some_runs(store: RawStore, n: int, experiment: str = "digits", seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [
        store.run(
            experiment,
            {"lr": draw.choice([0.1, 0.01]), "cli.optimizer": draw.choice(["SGD", "Adam"]), "seed": i},
            {"val_loss": [1.0, draw.random(), draw.choice([draw.random(), math.nan])], "train_loss": [2.0, 1.0]},
            {"hpkb.hw.cpu.model": "a CPU", "hpkb.split.test.digest": "ab"},
        )
        for i in range(n)
    ]


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    return report.new, report.changed, report.removed, report.unchanged


def test_everything_is_read_once(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    some_runs(store, 6)
    report = analyze(store, kb)
    assert counts(report) == (6, 0, 0, 0)
    assert report.points == 30
    assert report.tasks == ("digits",)
    before = contents(kb)
    again = analyze(store, kb)
    assert (counts(again), again.points) == ((0, 0, 0, 6), 0)
    assert contents(kb) == before


def test_incremental_equals_rebuilt(store: RawStore, tmp_path: Path) -> None:
    """Runs added, going on, ending, tagged, deleted, undeleted, renamed: the file that grew is the file built anew."""
    grown, draw = tmp_path / "grown.duckdb", random.Random(3)
    runs = some_runs(store, 8)
    for round_ in range(5):
        if round_ != 2:
            analyze(store, grown)
        runs += some_runs(store, 3, draw.choice(["digits", "text"]), seed=round_)
        store.log(draw.choice(runs), "val_loss", [draw.random()], first_step=3 + round_, time=2_000 + round_)
        store.log(draw.choice(runs), "val_acc", [0.5, draw.random()], first_step=-2, time=5_000 + round_)
        store.execute("UPDATE runs SET lifecycle_stage = 'active' WHERE run_uuid = ?", (draw.choice(runs),))
        store.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", (draw.choice(runs),))
        store.execute("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", (draw.choice(runs),))
        tag = "INSERT OR REPLACE INTO tags (key, value, run_uuid) VALUES ('hpkb.task', 'other', ?)"
        store.execute(tag, (runs[-1],))
    store.execute("UPDATE experiments SET name = 'Text 2' WHERE name = 'text'")
    report = analyze(store, grown)
    assert min(counts(report)) > 0
    rebuilt = tmp_path / "rebuilt.duckdb"
    analyze(store, rebuilt)
    assert contents(grown) == contents(rebuilt)


def test_a_deleted_run_goes_and_a_deleted_experiment_too_and_both_come_back(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    runs = some_runs(store, 3) + some_runs(store, 2, "text")
    analyze(store, kb)
    before = contents(kb)
    store.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", (runs[0],))
    store.execute("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'text'")
    assert counts(analyze(store, kb)) == (0, 0, 3, 2)
    left = rows(kb, "SELECT run_id FROM curves UNION SELECT run_id FROM hyperparameters")
    assert {run for (run,) in left} == set(runs[1:3])
    assert rows(kb, "SELECT task_id FROM tasks") == [("digits",)]
    for table in ("runs", "experiments"):
        store.execute(f"UPDATE {table} SET lifecycle_stage = 'active'")
    assert counts(analyze(store, kb)) == (3, 0, 0, 2)
    assert contents(kb) == before


def test_experiments_are_brought_in_one_by_one(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    some_runs(store, 3)
    some_runs(store, 2, "text")
    assert counts(analyze(store, kb, ["text"])) == (2, 0, 0, 0)
    assert counts(analyze(store, kb, ["digits"])) == (3, 0, 0, 0)
    assert counts(analyze(store, kb)) == (0, 0, 0, 5)


def test_a_store_that_moved_is_taken_over(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    some_runs(store, 3)
    analyze(store, kb)
    moved = RawStore(store.path.rename(tmp_path / "elsewhere.db"))
    assert counts(analyze(moved, kb)) == (0, 0, 0, 3)
    assert rows(kb, "SELECT DISTINCT source FROM runs") == [(f"sqlite:///{moved.path}",)]


def test_the_file_is_made_only_when_the_source_is_right(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    with pytest.raises(SourceError, match=r"No runs in .*Known: Default. Try: hpkb log"):
        analyze(store, kb)
    some_runs(store, 2)
    with pytest.raises(SourceError, match=r"No runs in experiment 'cifar'\. Known: Default, digits\."):
        analyze(store, kb, ["cifar"])
    with pytest.raises(SourceError, match=r"No runs in experiment 'Default'"):
        analyze(store, kb, ["Default"])
    with pytest.raises(SourceError, match=r"metric 'top1'. There are: train_loss, val_loss\."):
        analyze(store, kb, objective="top1:max")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mlflow.db"]


def test_an_error_leaves_an_existing_file_as_it_was(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    some_runs(store, 2)
    analyze(store, kb)
    before = contents(kb)
    some_runs(store, 2, seed=1)
    with pytest.raises(SourceError):
        analyze(store, kb, objective="top1:max")
    with pytest.raises(ZeroDivisionError):
        _ingest_and_fail(store, kb)
    assert contents(kb) == before


def _ingest_and_fail(store: RawStore, kb: Path) -> None:
    with writing(kb) as connection:
        ingest(connection, open_source(store.uri))
        raise ZeroDivisionError


_KILLED = """
import os, sys
from hpkb import kb
from hpkb.sources import open_source
from hpkb.sources.mlflow_sqlite import MlflowSqlite
class Dying(MlflowSqlite):
    def curves(self, ids):
        for batch in super().curves(ids):
            yield batch
            os.kill(os.getpid(), 9)
from pathlib import Path
kb.ingest_into(sys.argv[2], Dying(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("existing", [True, False])
def test_kill_leaves_the_state_before(store: RawStore, tmp_path: Path, existing: bool) -> None:
    kb = tmp_path / "kb.duckdb"
    some_runs(store, 4)
    if existing:
        analyze(store, kb)
        before = contents(kb)
    some_runs(store, 4, seed=1)
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(store.path), str(kb)], check=False)
    assert killed.returncode == -9
    if existing:
        assert contents(kb) == before
    analyze(store, kb)
    rebuilt = tmp_path / "rebuilt.duckdb"
    analyze(store, rebuilt)
    assert contents(kb) == contents(rebuilt)


def test_a_second_writer_is_told_who_holds_the_file(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    script = "import sys; from hpkb.kb import connect; c = connect(sys.argv[1]); print('open', flush=True); input()"
    arguments = [sys.executable, "-c", script, str(kb)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        for read_only in (False, True):
            with pytest.raises(KnowledgeBaseError, match=f"in use by process {holder.pid} "):
                connect(kb, read_only)
        holder.communicate("done\n")
    connect(kb).close()


def test_bad_files_are_one_clear_line_each(tmp_path: Path) -> None:
    names = ("text", "cut", "foreign", "old", "empty")
    text, cut, foreign, old, empty = (tmp_path / f"{name}.duckdb" for name in names)
    text.write_text("SQLite format 3\x00 and so on")
    empty.write_bytes(b"")
    connect(old).close()
    cut.write_bytes(old.read_bytes()[:6_000])
    with duckdb.connect(str(old)) as connection:
        connection.execute("UPDATE meta SET value = '0' WHERE name = 'schema'")
    with duckdb.connect(str(foreign)) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    cases = {
        text: "no knowledge base", empty: "no knowledge base", cut: "Cannot open", foreign: "no knowledge base",
        old: "has schema 0", tmp_path: "is no file", tmp_path / "no" / "kb.duckdb": "No (folder|knowledge base)",
    }  # fmt: skip
    for path, message in cases.items():
        for read_only in (False, True):
            with pytest.raises(KnowledgeBaseError, match=message) as error:
                connect(path, read_only)
            assert "\n" not in str(error.value)
    with pytest.raises(KnowledgeBaseError, match="No knowledge base at"):
        connect(tmp_path / "missing.duckdb", read_only=True)


def test_what_mlflow_wrote_arrives(written: Any, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    report = ingest_into(kb, open_source(f"sqlite:///{written.path}"))
    assert counts(report) == (5, 0, 0, 0)
    outcomes = dict(rows(kb, "SELECT run_id, (infeasible_reason, objective_min) FROM runs"))
    assert outcomes[written.ids["plain"]] == (None, 0.25)
    assert outcomes[written.ids["nan"]] == ("objective is NaN", None)
    assert outcomes[written.ids["infinite"]] == ("objective is infinite", None)
    assert outcomes[written.ids["unfinished"]] == (None, None)
    assert rows(kb, "SELECT digest, n_examples FROM splits") == [("0123456789abcdef", 1437)]


def test_features_are_those_of_the_points(store: RawStore, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    draw = random.Random(5)
    curve = [draw.gauss(0, 1) for _ in range(95)] + [math.nan, math.inf] + [draw.gauss(3, 1) for _ in range(3)]
    some = [value for value in curve[-10:] if math.isfinite(value)]
    finite = [value for value in curve if math.isfinite(value)]
    run = store.run("a", curves={"val_loss": curve, "huge": [1e308, -1e308, 1.7e308], "none": [math.nan]})
    analyze(store, kb)
    names = "n_points, n_nonfinite, first_step, last_step, first_value, last_value, minimum, minimum_step, "
    names += "maximum, maximum_step"
    found = {row[0]: row[1:] for row in rows(kb, f"SELECT metric, {names} FROM curve_features")}
    low, high = min(finite), max(finite)
    ends = (100, 2, 0, 99, curve[0], curve[-1])
    assert found["val_loss"] == (*ends, low, curve.index(low), high, curve.index(high))
    mean = sum(some) / len(some)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in some) / (len(some) - 1))
    tail = rows(kb, "SELECT tail_mean, tail_sd FROM curve_features WHERE metric = 'val_loss'")[0]
    assert tail == pytest.approx((mean, deviation))
    assert found["huge"][6:] == (-1e308, 1, 1.7e308, 2)
    nothing = rows(kb, "SELECT tail_mean, tail_sd, minimum FROM curve_features WHERE metric = 'none'")
    assert nothing == [(None, None, None)]
    assert rows(kb, f"SELECT count(*) FROM curves WHERE run_id = '{run}' AND isnan(value)") == [(2,)]


def test_renamed_and_shuffled_runs_give_the_same_sweep(store: RawStore, tmp_path: Path) -> None:
    some_runs(store, 12)
    analyze(store, tmp_path / "first.duckdb")
    for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
        store.execute(f"UPDATE {table} SET run_uuid = substr(run_uuid, 17) || substr(run_uuid, 1, 16)")
    analyze(store, tmp_path / "second.duckdb")
    arrays = []
    for name in ("first", "second"):
        with connect(tmp_path / f"{name}.duckdb", read_only=True) as connection:
            (sweep,) = load_sweeps(connection)
        values = [h.values.tolist() for h in sweep.hyperparameters]
        arrays.append(repr((sweep.y.tolist(), sweep.seed.tolist(), sweep.configuration.tolist(), values)))
    assert arrays[0] == arrays[1]
