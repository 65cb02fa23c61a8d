"""Reading MLflow's file store: the same answers as MLflow's, and not one byte or time changed."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hpkb import curve_file
from hpkb.errors import SourceError
from hpkb.kb import connect, ingest_into
from hpkb.sources import Source, metric_files, open_source
from tests.kb.rawstore import RawStore

SHARED = next((p / "shared" for p in Path(__file__).parents if (p / "shared").is_dir()), Path("shared"))
SHARED = SHARED / "stores" / "mlflow_file_2024" / "mlruns"
LONG = "🙂é'\"\n" * 1200  # 6,000 characters
START = 1_700_000_000_000
OBJECTIVE = "val/loss of all:min"


def state_of_folder(folder: Path) -> dict[str, Any]:
    """Contents and times of change of all that is in a folder, itself too."""
    paths = [folder, *folder.rglob("*")]
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else None) for p in paths}


def ids_of(source: Source) -> pa.Array:
    return source.fingerprints()["run_id"].combine_chunks()


def points_of(source: Source, ids: pa.Array | None = None) -> dict[tuple[str, str], list[tuple[int, int, str]]]:
    found: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for batch in source.curves(ids_of(source) if ids is None else ids):
        for row in batch.cast(_raw_times(batch.schema)).to_pylist():
            point = (row["step"], row["timestamp"], repr(row["value"]))
            found.setdefault((row["run_id"], row["metric"]), []).append(point)
    return {key: sorted(points) for key, points in found.items()}


def _raw_times(schema: pa.Schema) -> pa.Schema:
    return schema.set(schema.get_field_index("timestamp"), pa.field("timestamp", pa.int64()))


def fill(client: Any) -> dict[str, str]:
    """Writes what is special into a store, and returns the ids of the runs by what it is."""
    experiments = {name: client.create_experiment(name) for name in ("digits", 'größe/2 – "b"', "gone")}
    ids = {}
    for kind in ("plain", "nan", "infinite", "deleted", "unfinished", "elsewhere", "gone"):
        name = {"elsewhere": 'größe/2 – "b"'}.get(kind, "gone" if kind == "gone" else "digits")
        tags = {"mlflow.note.content": "nice", "hpkb.hw.cpu.model": "a CPU"}
        run = client.create_run(experiments[name], START, tags, run_name=f"{kind} 'run' #1").info.run_id
        ids[kind] = run
        for param, value in {"lr": 0.001, "Größe / a.b-c:d": LONG, "opt/name": "", "select": "None"}.items():
            client.log_param(run, param, value)
        last = {"nan": math.nan, "infinite": -math.inf}.get(kind, 0.1 + 0.2)
        for i, (step, value) in enumerate([(3, 1.0), (-1, 5e-324), (2**40, 1e300), (3, math.inf), (7, last)]):
            client.log_metric(run, "val/loss of all", value, START + i, step)
        client.log_metric(run, "order", 1.5, START, 0)
        for value in (1.0, 2.0):
            client.log_metric(run, "twice", value, START, 3)
        if kind != "unfinished":
            client.set_terminated(run, "FAILED" if kind == "nan" else "FINISHED", START + 60_000)
    client.delete_run(ids["deleted"])
    client.delete_experiment(experiments["gone"])
    return ids


@dataclass(frozen=True)
class Written:
    """A file store that MLflow wrote, its client, and the ids of the runs by what is special about them."""

    path: Path
    client: Any
    ids: dict[str, str]


@pytest.fixture(scope="session")
def file_client_class(mlflow_client_class: Any) -> Any:
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    yield mlflow_client_class
    patch.undo()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, file_client_class: Any) -> Written:
    """Not to be changed."""
    path = tmp_path_factory.mktemp("files") / "mlruns"
    client = file_client_class(path.as_uri())
    return Written(path, client, fill(client))


@pytest.fixture
def own(tmp_path: Path, filled: Written, file_client_class: Any) -> Written:
    """A copy of the test's own."""
    path = Path(shutil.copytree(filled.path, tmp_path / "mlruns"))
    return Written(path, file_client_class(path.as_uri()), filled.ids)


def run_folder(store: Written, kind: str) -> Path:
    return next(store.path.glob(f"*/{store.ids[kind]}"))


def assert_equals_mlflow(source: Source, client: Any) -> None:
    experiments = {e.experiment_id: e.name for e in client.search_experiments()}
    assert source.experiments() == sorted(experiments.values())
    expected, params, points = {}, set(), {}
    for run in client.search_runs(list(experiments)):
        info = run.info
        place = experiments[info.experiment_id]
        expected[info.run_id] = (info.run_name or None, place, info.status, info.start_time, info.end_time)
        params |= {(info.run_id, *param) for param in run.data.params.items()}
        for metric in run.data.metrics:
            history = client.get_metric_history(info.run_id, metric)
            points[info.run_id, metric] = sorted((m.step, m.timestamp, repr(m.value)) for m in history)
    ids = ids_of(source)
    found = {}
    for row in source.runs(ids).to_pylist():
        times = (_milliseconds(row["started_at"]), _milliseconds(row["ended_at"]))
        found[row["run_id"]] = (row["run_name"], row["experiment"], row["status"], *times)
    assert found == expected
    assert {(r["run_id"], r["name"], r["value"]) for r in source.parameters(ids).to_pylist()} == params
    assert points_of(source) == points


def _milliseconds(moment: Any) -> int | None:
    return None if moment is None else int(pa.scalar(moment, pa.timestamp("ms")).value)


def test_it_is_what_mlflow_reads(filled: Written) -> None:
    source = open_source(str(filled.path))
    assert_equals_mlflow(source, filled.client)
    kept = {"plain", "nan", "infinite", "unfinished", "elsewhere"}
    assert set(ids_of(source).to_pylist()) == {filled.ids[kind] for kind in kept}
    assert source.notes() == {}


def _by_name(source: Source) -> list[Any]:
    """All that a source says, with names of runs in place of their ids."""
    ids = ids_of(source)
    names = {row["run_id"]: row["run_name"] for row in source.runs(ids).to_pylist()}
    tables = [source.runs(ids), source.parameters(ids), source.hardware(ids), source.splits(ids)]
    rows = [sorted(repr({**r, "run_id": names[r["run_id"]]}) for r in table.to_pylist()) for table in tables]
    return [rows, {(names[run_id], metric): points for (run_id, metric), points in points_of(source).items()}]


def test_it_is_what_comes_out_of_a_sqlite_store(filled: Written, store: RawStore, mlflow_client_class: Any) -> None:
    client = mlflow_client_class(store.uri)
    fill(client)
    assert _by_name(open_source(store.uri)) == _by_name(open_source(filled.path.as_uri()))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the store made by others (shared/stores) is not on this machine")
def test_a_store_of_2023(tmp_path: Path, file_client_class: Any) -> None:
    before = state_of_folder(SHARED)
    source = open_source(str(SHARED))
    ids = ids_of(source)
    assert sum(len(points) for points in points_of(source).values()) == 345
    assert [row["status"] for row in source.runs(ids).to_pylist()].count("FINISHED") == 1
    ingest_into(tmp_path / "kb.duckdb", source)
    ingest_into(tmp_path / "kb.duckdb", source)
    assert state_of_folder(SHARED) == before
    copy = shutil.copytree(SHARED, tmp_path / "mlruns", copy_function=shutil.copyfile)
    for folder in [copy, *copy.rglob("*")]:  # MLflow writes a folder .trash, and wants three folders in a run's
        folder.chmod(0o755)
    for run in copy.glob("1/*/"):
        for name in ("metrics", "params", "artifacts"):
            (run / name).mkdir(exist_ok=True)
    assert_equals_mlflow(open_source(str(copy)), file_client_class(copy.as_uri()))


def test_nothing_is_changed(own: Written, tmp_path: Path) -> None:
    before = state_of_folder(own.path)
    source = open_source(own.path.as_uri())
    for _ in range(2):
        ingest_into(tmp_path / "kb.duckdb", source, objective=OBJECTIVE)
    source.close()
    assert state_of_folder(own.path) == before


def test_only_what_changed_is_read_again(own: Written, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"

    def analyze() -> tuple[int, int, int, int, int]:
        report = ingest_into(kb, open_source(str(own.path)), objective=OBJECTIVE)
        return report.new, report.changed, report.removed, report.unchanged, report.points

    assert analyze() == (5, 0, 0, 0, 40)
    assert analyze() == (0, 0, 0, 5, 0)
    own.client.log_metric(own.ids["unfinished"], "val/loss of all", 7.0, START, -5)
    own.client.set_tag(own.ids["plain"], "mlflow.note.content", "very nice")  # means nothing here
    assert analyze() == (0, 1, 0, 4, 9)
    own.client.log_param(own.ids["plain"], "late", 1)
    own.client.restore_run(own.ids["deleted"])
    own.client.set_terminated(own.ids["unfinished"])
    assert analyze() == (1, 2, 0, 3, 8 + 8 + 9)
    own.client.delete_run(own.ids["nan"])
    gone = own.client.get_experiment_by_name("gone").experiment_id
    own.client.restore_experiment(gone)
    assert analyze() == (1, 0, 1, 5, 8)
    own.client.delete_experiment(gone)
    own.client.rename_experiment(own.client.get_run(own.ids["elsewhere"]).info.experiment_id, "elsewhere")
    assert analyze() == (0, 1, 1, 4, 8)
    ingest_into(tmp_path / "anew.duckdb", open_source(str(own.path)), objective=OBJECTIVE)
    assert _rows_of(kb) == _rows_of(tmp_path / "anew.duckdb")


def _rows_of(kb: Path) -> list[list[str]]:
    with connect(kb) as connection:
        tables = ("runs", "curves", "hyperparameters", "hardware", "splits")
        return [sorted(map(repr, connection.sql(f"FROM {table}").fetchall())) for table in tables]


def test_experiments_filter_the_fingerprints(filled: Written) -> None:
    source = open_source(str(filled.path))
    assert source.fingerprints(['größe/2 – "b"'])["run_id"].to_pylist() == [filled.ids["elsewhere"]]


def test_dataset_inputs_are_splits(own: Written) -> None:
    import numpy as np
    from mlflow.data.numpy_dataset import from_numpy
    from mlflow.entities import DatasetInput, InputTag

    digests = {}
    for context, rows in (("train", 7), ("eval", 3)):
        dataset = from_numpy(np.zeros((rows, 2)), targets=np.zeros(rows), name=context)._to_mlflow_entity()
        digests[context] = dataset.digest
        for kind in ("plain", "elsewhere"):
            given = [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
            own.client.log_inputs(own.ids[kind], given)
    source = open_source(str(own.path))
    splits = {(s["run_id"], s["role"]): s["digest"] for s in source.splits(ids_of(source)).to_pylist()}
    roles = (("training", "train"), ("validation", "eval"))
    assert splits == {
        (own.ids[k], role): digests[context] for k in ("plain", "elsewhere") for role, context in roles
    }
    for meta in own.path.glob("*/datasets/*/meta.yaml"):  # as after a clean-up by hand
        meta.unlink()
    assert open_source(str(own.path)).splits(ids_of(source)).num_rows == 0


_OLD_RUN = """artifact_uri: /nowhere/0/{id}/artifacts
end_time: null
entry_point_name: main
experiment_id: 7
name: the old one
run_uuid: {id}
source_name: train.py
source_type: 4
source_version: null
start_time: 1530000000000
tags: []
user_id: user
"""


def test_the_layout_of_2018(tmp_path: Path, file_client_class: Any) -> None:
    """Number for a name, no lifecycle, no status, lines without steps."""
    run_id = "0123456789abcdef0123456789abcdef"
    run = tmp_path / "mlruns" / "7" / run_id
    for folder in ("metrics/val", "params", "artifacts"):
        (run / folder).mkdir(parents=True)
    (run.parent / "meta.yaml").write_text("artifact_location: /nowhere/7\nexperiment_id: 7\nname: old\n")
    (run / "meta.yaml").write_text(_OLD_RUN.format(id=run_id) + "status: 4\n")
    (run / "metrics" / "val" / "loss").write_text("1530000001 0.5\n1530000002 nan\n")
    (run / "metrics" / "both").write_text("1530000001 0.5\n1530000002000 0.25 7\n")
    (run / "params" / "lr").write_text("0.1")
    source = open_source(str(tmp_path / "mlruns"))
    assert source.runs(ids_of(source)).to_pylist()[0]["run_name"] == "the old one"
    (run / "meta.yaml").write_text(_OLD_RUN.format(id=run_id).replace("name: the old one\n", ""))
    for folder, text in ((run.parent, "lifecycle_stage: active\n"), (run, f"run_id: {run_id}\n")):
        with (folder / "meta.yaml").open("a") as file:  # what today's MLflow cannot do without
            file.write(text)
    source = open_source(str(tmp_path / "mlruns"))
    assert_equals_mlflow(source, file_client_class((tmp_path / "mlruns").as_uri()))
    assert source.runs(ids_of(source)).to_pylist()[0]["status"] == "RUNNING"


def test_what_is_half_written_or_no_point_is_left_out_and_counted(own: Written) -> None:
    metrics = run_folder(own, "plain") / "metrics"
    before = {metric for _, metric in points_of(open_source(str(own.path)))}
    (metrics / "half").write_bytes(b"1700000000000 0.5 0\n1700000000001 0.25 1")
    (metrics / "none").write_bytes(b"")
    (metrics / "start").write_bytes(b"17000")
    (metrics / "joined").write_bytes(b"1 0.5 0\n2 0.52 0.25 1\n3 0.125 2\n")
    (metrics / "text").write_bytes(b"1 tensor(1.) 0\n\n2 1e400 1\n\0\0\0\n9e99 1 1\n3 1 99999999999999999999\n")
    (metrics / "fraction").write_bytes(b"1 0.5 1.5\n2 0.5 2\n")
    (metrics / "dataset").write_bytes(b"1 0.5 3 digits 0123\n")
    (metrics / "windows").write_bytes(b"1 0.5 3\r\n2 -inf 4\r\n")
    (metrics / "returns").write_bytes(b"1 0.5 3\r2 0.5 4\n")
    (metrics / ".DS_Store").write_bytes(b"\x00\x01\xff\n")
    source = open_source(str(own.path))
    found = {m: points for (run, m), points in points_of(source).items() if run == own.ids["plain"]}
    assert {metric: points for metric, points in found.items() if metric not in before} == {
        "half": [(0, START, "0.5")],
        "joined": [(0, 1, "0.5"), (2, 3, "0.125")],
        "text": [(1, 2, "inf")],
        "fraction": [(1, 1, "0.5"), (2, 2, "0.5")],
        "dataset": [(3, 1, "0.5")],
        "windows": [(3, 1, "0.5"), (4, 2, "-inf")],
        "returns": [(3, 1, "0.5"), (4, 2, "0.5")],
    }
    assert source.notes() == {
        "steps cut to whole numbers": 1,
        "unfinished last lines of metrics, ignored": 2,
        "lines of metrics that are no points, ignored": 6,
    }


@pytest.mark.parametrize("block", [1, 7, 29, 64, 1000])
def test_long_files_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(metric_files, "BLOCK", block)
    file = tmp_path / "loss"
    file.write_text("".join(f"{i} {i / 7} {i}\n" for i in range(50)) + "50 0.")
    pieces = list(metric_files.split("r", "loss", str(file), file.stat().st_size))
    assert len(pieces) == math.ceil(file.stat().st_size / block)
    parts = list(metric_files.parsed(pieces))
    points = pa.concat_tables(part.points for part in parts).to_pylist()
    assert [(p["timestamp"], p["value"], p["step"]) for p in points] == [(i, i / 7, i) for i in range(50)]
    assert [sum(part.unfinished_lines for part in parts), sum(part.bad_lines for part in parts)] == [1, 0]


def test_a_file_that_is_gone_or_grows_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("1 0.5 0\n2 0.")
    pieces = [metric_files.Piece("r", name, str(tmp_path / name), 0, 12) for name in ("gone", "here")]
    with (tmp_path / "here").open("a") as file:
        file.write("25 1\n3 0.125 2\n")
    (part,) = metric_files.parsed(pieces)
    assert part.points["value"].to_pylist() == [0.5, 0.25]
    assert (part.missing_files, part.unfinished_lines) == (1, 0)


def test_damaged_metadata_leaves_a_run_out_and_is_counted(own: Written) -> None:
    (run_folder(own, "plain") / "meta.yaml").write_text("")
    (run_folder(own, "nan") / "meta.yaml").write_text("a: [1\nb")
    (run_folder(own, "elsewhere").parent / "meta.yaml").write_text("a: \x00")
    (run_folder(own, "infinite").parent / "no run").mkdir()
    copied = run_folder(own, "infinite").parent / "copied by hand"
    shutil.copytree(run_folder(own, "infinite"), copied)
    source = open_source(str(own.path))
    assert set(ids_of(source).to_pylist()) == {own.ids["infinite"], own.ids["unfinished"]}
    assert source.notes() == {"runs or experiments with damaged metadata, left out": 4}


def test_whole_curves_are_read_where_the_store_was_moved(own: Written) -> None:
    run = own.ids["plain"]
    own.client.set_tag(run, "hpkb.curves", "hpkb/curves.parquet")
    file = run_folder(own, "plain") / "artifacts" / curve_file.FOLDER / curve_file.NAME
    file.parent.mkdir(parents=True)
    with curve_file.CurveFileWriter(file) as writer:
        for step in range(100):
            writer.add("twice", step, START, 0.5)
    assert len(points_of(open_source(str(own.path)))[run, "twice"]) == 100
    file.unlink()
    assert len(points_of(open_source(str(own.path)))[run, "twice"]) == 2


def test_a_name_that_is_no_text(own: Written) -> None:
    name = os.fsencode(run_folder(own, "plain") / "params") + b"/\xff"
    with open(name, "wb") as file:
        file.write(b"\xff1")
    source = open_source(str(own.path))
    params = {(row["name"], row["value"]) for row in source.parameters(ids_of(source)).to_pylist()}
    assert ("\ufffd", "\ufffd1") in params


def test_paths_and_uris(filled: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "größe 100%"
    link.symlink_to(filled.path)
    monkeypatch.chdir(tmp_path)
    for uri in (str(link), link.as_uri(), "größe 100%", "./größe 100%", f"file:{link.as_uri()[7:]}"):
        source = open_source(uri)
        assert len(ids_of(source)) == 5
        assert (source.kind, source.name) == ("mlflow_files", link.as_uri())


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SourceError):
            open_source(str(place))
    assert list(tmp_path.iterdir()) == [tmp_path / "0"]


def test_a_store_of_deleted_experiments_only_is_one(own: Written, tmp_path: Path) -> None:
    for folder in own.path.iterdir():
        if folder.name != ".trash":
            shutil.rmtree(folder)
    source = open_source(str(own.path))
    assert (source.experiments(), len(ids_of(source))) == ([], 0)


def test_reading_needs_no_mlflow() -> None:
    script = "import sys, hpkb.sources.mlflow_files; assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
