"""Reading MLflow's SQLite store: the same answers as MLflow's, and not one byte changed."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hpkb.errors import HpkbError, SourceError
from hpkb.sources import Source, open_source, sqlite_file
from tests.kb.rawstore import LARGEST, RawStore


def digest_of_folder(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def ids_of(source: Source) -> pa.Array:
    return source.fingerprints()["run_id"].combine_chunks()


def points_of(source: Source, ids: pa.Array) -> list[dict[str, Any]]:
    return [row for batch in source.curves(ids) for row in batch.to_pylist()]


def read_all(source: Source) -> list[list[dict[str, Any]]]:
    ids = ids_of(source)
    tables = [source.runs(ids), source.parameters(ids), source.hardware(ids), source.splits(ids)]
    return [*(table.to_pylist() for table in tables), points_of(source, ids)]


def test_runs_are_those_that_mlflow_finds(written: Any) -> None:
    source = open_source(f"sqlite:///{written.path}")
    experiments = [experiment.experiment_id for experiment in written.client.search_experiments()]
    expected = {
        run.info.run_id: (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time)
        for run in written.client.search_runs(experiments)
    }
    found = {}
    for row in source.runs(ids_of(source)).to_pylist():
        times = (_milliseconds(row["started_at"]), _milliseconds(row["ended_at"]))
        found[row["run_id"]] = (row["run_name"], row["status"], *times)
    assert found == expected
    assert written.ids["deleted"] not in found
    assert found[written.ids["unfinished"]][3] is None


def _milliseconds(moment: Any) -> int | None:
    return None if moment is None else int(pa.scalar(moment, pa.timestamp("ms")).value)


def test_curves_are_those_that_mlflow_has(written: Any) -> None:
    source = open_source(f"sqlite:///{written.path}")
    found: dict[tuple[str, str], set[Any]] = {}
    for row in points_of(source, ids_of(source)):
        point = (row["step"], _milliseconds(row["timestamp"]), repr(row["value"]))
        found.setdefault((row["run_id"], row["metric"]), set()).add(point)
    assert len(found) == 5 * 3
    for (run_id, metric), points in found.items():
        history = written.client.get_metric_history(run_id, metric)
        assert points == {(m.step, m.timestamp, repr(_restored(m.value))) for m in history}


def _restored(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) == LARGEST else value


def test_parameters_and_task_and_splits_are_read(written: Any) -> None:
    source, plain = open_source(f"sqlite:///{written.path}"), pa.array([written.ids["plain"]])
    params = {row["name"]: row["value"] for row in source.parameters(plain).to_pylist()}
    assert params == {"learning_rate": "0.001", "Größe / a.b-c:d": "x" * 6000}
    assert source.runs(plain).to_pylist()[0]["task"] == "digits-cnn"
    assert source.hardware(plain).to_pylist() == [
        {"run_id": written.ids["plain"], "name": "hpkb.hw.cpu.model", "value": "a CPU"}
    ]
    assert source.splits(plain).to_pylist() == [
        {"run_id": written.ids["plain"], "role": "training", "digest": "0123456789abcdef", "n_examples": 1437}
    ]
    assert source.runs(pa.array([written.ids["child"]])).to_pylist()[0]["task"] is None


def test_dataset_inputs_are_splits(store: RawStore, mlflow_client_class: Any) -> None:
    from mlflow.data.numpy_dataset import from_numpy
    from mlflow.entities import DatasetInput, InputTag

    run = store.run("digits")
    import numpy as np

    dataset = from_numpy(np.zeros((7, 2)), targets=np.zeros(7), name="zeros")._to_mlflow_entity()
    tags = [InputTag("mlflow.data.context", "val")]
    mlflow_client_class(store.uri).log_inputs(run, [DatasetInput(dataset, tags)])
    source = open_source(store.uri)
    split = source.splits(ids_of(source)).to_pylist()[0]
    assert (split["role"], split["digest"]) == ("validation", dataset.digest)


def test_experiments_filter_the_fingerprints(written: Any) -> None:
    source = open_source(f"sqlite:///{written.path}")
    assert source.experiments() == ["Default", "digits", "größe/2 – b"]
    assert source.fingerprints(["größe/2 – b"])["run_id"].to_pylist() == [written.ids["child"]]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_not_one_byte_is_changed_and_no_file_is_left(written: Any, tmp_path: Path, journal: str) -> None:
    copy = Path(shutil.copy(written.path, tmp_path / "mlflow.db"))
    with closing(sqlite3.connect(copy)) as database:
        database.execute(f"PRAGMA journal_mode = {journal}")
    before = digest_of_folder(tmp_path)
    source = open_source(f"sqlite:///{copy}")
    assert read_all(source)[0]
    source.close()
    assert digest_of_folder(tmp_path) == before


def test_a_read_only_file_and_folder_are_read(written: Any, tmp_path: Path) -> None:
    folder = tmp_path / "archive #1 100%"
    folder.mkdir()
    copy = Path(shutil.copy(written.path, folder / "old runs?.db"))
    copy.chmod(0o400)
    folder.chmod(0o500)
    try:
        assert len(ids_of(open_source(str(copy)))) == 5
    finally:
        folder.chmod(0o700)


def test_few_runs_by_index_are_the_same_as_by_windows(store: RawStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "WINDOW", 7)
    runs = [store.run("a", curves={"loss": [i + 0.5 for i in range(20)], "acc": [math.nan] * 3}) for _ in range(9)]
    source = open_source(store.uri)
    by_windows = [row for row in points_of(source, ids_of(source)) if row["run_id"] == runs[4]]
    by_index = points_of(source, pa.array([runs[4]]))
    assert len(by_index) == 23
    assert repr(sorted(by_index, key=repr)) == repr(sorted(by_windows, key=repr))


def test_a_step_of_one_and_a_half_is_cut_and_counted(store: RawStore) -> None:
    run = store.run("a", curves={"loss": [1.0, 2.0, 3.0]})
    store.execute("UPDATE metrics SET step = 1.5 WHERE step = 1")
    source = open_source(store.uri)
    assert sorted(row["step"] for row in points_of(source, pa.array([run]))) == [0, 1, 2]
    assert source.notes() == {"steps cut to whole numbers": 1}


def test_a_point_added_to_a_finished_run_changes_its_fingerprint_alone(store: RawStore) -> None:
    runs = [store.run("a", curves={"loss": [1.0, 0.5]}) for _ in range(3)]
    source = open_source(store.uri)
    before = dict(zip(*source.fingerprints().to_pydict().values(), strict=True))
    store.log(runs[1], "loss", [7.0], first_step=-5)  # not the latest: latest_metrics stays as it was
    store.execute("INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.note.content', 'nice', ?)", (runs[2],))
    after = dict(zip(*open_source(store.uri).fingerprints().to_pydict().values(), strict=True))
    assert [before[run] == after[run] for run in runs] == [True, False, True]


def _older(store: RawStore, age: str) -> None:
    """Takes from a copy what MLflow of that year did not have."""
    statements = {
        "2022": ["DROP TABLE input_tags", "DROP TABLE inputs", "DROP TABLE datasets"],
        "2020": [
            "DROP TABLE input_tags", "DROP TABLE inputs", "DROP TABLE datasets",
            "DROP INDEX index_metrics_run_uuid", "DROP INDEX index_metrics_run_uuid_key_step",
            "DROP INDEX index_params_run_uuid", "DROP INDEX index_tags_run_uuid",
            "ALTER TABLE runs DROP COLUMN deleted_time",
        ],
    }  # fmt: skip
    for statement in statements[age]:
        store.execute(statement)


@pytest.mark.parametrize("age", ["2022", "2020"])
def test_an_older_schema_yields_the_same(store: RawStore, age: str) -> None:
    for i in range(5):
        store.run("a", {"lr": i}, {"val_loss": [1.0, math.nan, math.inf]}, {"hpkb.hw.x": "1"})
    now = read_all(open_source(store.uri))
    _older(store, age)
    assert repr(sorted(map(repr, read_all(open_source(store.uri))))) == repr(sorted(map(repr, now)))


def test_a_schema_without_nan(store: RawStore) -> None:
    run = store.run("a", curves={"val_loss": [1.0, math.inf]})
    store.execute("CREATE TABLE plain AS SELECT key, value, timestamp, run_uuid, step FROM metrics")
    store.execute("DROP TABLE metrics")
    store.execute("ALTER TABLE plain RENAME TO metrics")
    assert [row["value"] for row in points_of(open_source(store.uri), pa.array([run]))] == [1.0, math.inf]


_WRITER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
worst, end = 0.0, time.monotonic() + float(sys.argv[2])
step = 100_000
print("writing", flush=True)
while time.monotonic() < end:
    start = time.perf_counter()
    database.execute("INSERT INTO metrics VALUES ('live', 1.0, 1, ?, ?, 0)", (sys.argv[3], step))
    worst, step = max(worst, time.perf_counter() - start), step + 1
print(worst)
"""


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_live_writer_and_the_reader_do_not_break_each_other(store: RawStore, journal: str) -> None:
    run = store.run("a", curves={"loss": [float(i) for i in range(100_000)]}, status="RUNNING")
    store.execute(f"PRAGMA journal_mode = {journal}")
    arguments = [sys.executable, "-c", _WRITER, str(store.path), "3", run]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        reads = 0
        while writer.poll() is None:
            source = open_source(store.uri)
            assert len(points_of(source, ids_of(source))) >= 100_000
            source.close()
            reads += 1
        assert writer.returncode == 0
        assert float(writer.stdout.read()) < 10  # far below the 20 s after which SQLite gives up
    assert reads >= 1


def test_a_writer_that_comes_while_a_closed_wal_store_is_read(store: RawStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "WINDOW", 500)
    run = store.run("a", curves={"loss": [float(i) for i in range(2_000)]})
    store.execute("PRAGMA journal_mode = wal")
    source = open_source(store.uri)
    batches = source.curves(ids_of(source))
    rows = next(batches).num_rows
    store.log(run, "late", [0.5] * 1_000)  # closes, so that its pages are in the main file
    rows += sum(batch.num_rows for batch in batches)
    assert rows >= 2_000


def test_a_file_rewritten_while_it_is_read_is_an_error(store: RawStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "WINDOW", 50)
    store.run("a", curves={"loss": [1.0] * 200})
    source = open_source(store.uri)
    batches = source.curves(ids_of(source))
    next(batches)
    store.execute("DELETE FROM metrics WHERE step < 100")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as database:
        database.execute("VACUUM")
    with pytest.raises(SourceError, match="rewritten"):
        list(batches)


def test_the_unfinished_write_of_a_dead_program_is_a_clear_error(store: RawStore) -> None:
    script = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA cache_size = 1")
database.execute("CREATE TABLE filler (text)")
database.executemany("INSERT INTO filler VALUES (?)", [("x" * 3000,)] * 500)
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", script, str(store.path)], check=False)
    before = digest_of_folder(store.path.parent)
    with pytest.raises(SourceError, match="died while writing"):
        open_source(store.uri)
    assert digest_of_folder(store.path.parent) == before


def _no_store(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE params (x)")
        database.commit()
    return path


def _damaged(path: Path, original: Path) -> Path:
    content = bytearray(original.read_bytes())
    for start in range(4096, len(content) - 200, 4096):
        content[start : start + 200] = os.urandom(200)
    path.write_bytes(content)
    return path


def test_bad_stores_are_one_clear_line_each(tmp_path: Path, empty_store: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("not a database\n" * 100)
    cut = tmp_path / "cut.db"
    cut.write_bytes(empty_store.read_bytes()[:5000])
    cases = {
        f"sqlite:///{tmp_path}/missing.db": "No store at",
        f"sqlite:///{text}": "no SQLite database",
        f"sqlite:///{tmp_path}": "Cannot read",
        f"sqlite:///{_no_store(tmp_path / 'other.db')}": "no MLflow store",
        f"sqlite:///{_damaged(tmp_path / 'damaged.db', empty_store)}": "damaged|no MLflow store",
        f"sqlite:///{cut}": "damaged|no MLflow store",
        "sqlite://": "names no file",
        "postgresql://me:secret@host/db": "Cannot read runs",
    }
    for uri, message in cases.items():
        with pytest.raises(HpkbError, match=message) as error:
            open_source(uri).fingerprints()
        assert "\n" not in str(error.value)
        assert "secret" not in str(error.value)
    assert not (tmp_path / "missing.db").exists()


def test_reading_needs_no_mlflow() -> None:
    script = "import sys, hpkb.kb, hpkb.sources.mlflow_sqlite, hpkb.sources.table; assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_two_readers_at_once(written: Any) -> None:
    results: list[int] = []

    def read() -> None:
        source = open_source(f"sqlite:///{written.path}")
        results.append(len(points_of(source, ids_of(source))))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results == [30, 30]
