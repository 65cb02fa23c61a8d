"""Stores that MLflow 1.4 to 3.17 wrote, held against what each of these versions itself reports of them.

They lie in `old_stores/`, a SQLite store and a file store a version; `make old-stores` makes them anew. In them are
deleted, unfinished, failed, killed and nested runs, a deleted experiment, NaN and infinite values, steps negative, out
of order and twice, names with spaces, slashes and quotes, and a param as long as the version takes it.
"""

from __future__ import annotations

import json
import math
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hpkb.kb import connect, ingest_into
from hpkb.sources import Source, open_source
from tests.kb.rawstore import LARGEST

ARCHIVES = sorted(
    (Path(__file__).parent / "old_stores").glob("*.tar.xz"),
    key=lambda path: [int(part) for part in path.name.split(".tar")[0].split("_")[1].split(".")],
)
ASKED_FOR = {"1.20.2", "1.30.1", "2.0.1", "2.9.2", "2.16.2", "3.1.4", "3.17.2"}
HEADS = set(
    "a8c4a736bde6 c48cb773bb87 97727af70f4d acf3f17fdcc7 867495a8f9d4 5b0e9adcef9c 0584bdc529eb 1bd49d398cd23".split()
)
GIVEN = next((p / "shared" / "stores" for p in Path(__file__).parents if (p / "shared" / "stores").is_dir()), None)
GIVEN_STORES = [*sorted(GIVEN.glob("optuna/*.db")), *sorted(GIVEN.glob("*/mlruns"))] if GIVEN else []
FACTS = ("hpkb.hw.", "hpkb.code.", "hpkb.env.", "mlflow.source.git.commit")
ROLES = {"": "training", "val": "validation"}


@dataclass(frozen=True)
class OldStore:
    """A store, the folder it lies in, and what the MLflow that wrote it reports: of the active runs, by their ids."""

    uri: str
    folder: Path
    experiments: dict[str, str]
    runs: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def unpacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one version's stores; not to be changed."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(params=["sqlite", "files"])
def old(request: pytest.FixtureRequest, unpacked: Path) -> OldStore:
    reported = json.loads((unpacked / "expected.json").read_text())[request.param]
    experiments = {e["id"]: e["name"] for e in reported["experiments"] if e["stage"] == "active"}
    active = {
        run_id: run
        for run_id, run in reported["runs"].items()
        if run["stage"] == "active" and run["experiment"] in experiments
    }
    uri = f"sqlite:///{unpacked}/mlflow.db" if request.param == "sqlite" else (unpacked / "mlruns").as_uri()
    return OldStore(uri, unpacked, experiments, active)


def of_versions(archives: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("unpacked", archives, ids=lambda path: path.name.split(".tar")[0], indirect=True)


every_version = of_versions(ARCHIVES)


def state(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Time of change and contents of all that is in a folder, itself too."""
    paths = [folder, *folder.rglob("*")] if folder.is_dir() else [folder]
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else None) for p in paths}


def ids_of(source: Source) -> pa.Array:
    return source.fingerprints()["run_id"].combine_chunks()


def milliseconds(moment: Any) -> int | None:
    return None if moment is None else int(pa.scalar(moment, pa.timestamp("ms")).value)


def text(value: float) -> str:
    """A value as it was logged: MLflow's SQL store writes, and reports, the largest double for infinity."""
    return repr(math.copysign(math.inf, value) if abs(value) == LARGEST else value)


def points(source: Source, ids: pa.Array) -> Counter[tuple[Any, ...]]:
    rows = (row for batch in source.curves(ids) for row in batch.to_pylist())
    return Counter(
        (row["run_id"], row["metric"], row["step"], milliseconds(row["timestamp"]), repr(row["value"])) for row in rows
    )


def reported_points(runs: dict[str, dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    return Counter(
        (run_id, metric, step, timestamp, text(float(value)))
        for run_id, run in runs.items()
        for metric, history in run["metrics"].items()
        for step, timestamp, value in history
    )


def reported_splits(run_id: str, run: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The data sets of the run, the tags of capture going before them."""
    tags = run["tags"]
    yield run_id, "training", tags["hpkb.split.training.digest"], int(tags["hpkb.split.training.n"])
    for context, digest, profile in run["datasets"]:
        if ROLES[context] != "training":
            yield run_id, ROLES[context], digest, json.loads(profile)["num_rows"]


def test_the_versions_and_schemas_that_were_asked_for_are_there() -> None:
    versions, heads = set(), set()
    for archive in ARCHIVES:
        assert archive.stat().st_size < 60_000
        with tarfile.open(archive) as tar:
            member = tar.extractfile("expected.json")
            assert member is not None
            written = json.load(member)
        versions.add(written["mlflow"])
        heads.add(written["head"])
    assert versions >= ASKED_FOR
    assert heads >= HEADS


@every_version
def test_it_is_what_that_version_reports(old: OldStore) -> None:
    source = open_source(old.uri)
    ids = ids_of(source)
    assert source.experiments() == sorted(old.experiments.values())
    assert set(ids.to_pylist()) == set(old.runs)
    assert {
        row["run_id"]: (row["run_name"], row["experiment"], row["status"], milliseconds(row["started_at"]),
                        milliseconds(row["ended_at"]), row["task"])
        for row in source.runs(ids).to_pylist()
    } == {
        run_id: (run["name"], old.experiments[run["experiment"]], run["status"], run["start_time"], run["end_time"],
                 run["tags"]["hpkb.task"])
        for run_id, run in old.runs.items()
    }  # fmt: skip
    assert points(source, ids) == reported_points(old.runs)
    assert source.notes() == {}
    source.close()


@every_version
def test_params_tags_and_data_sets_are_what_that_version_reports(old: OldStore) -> None:
    source = open_source(old.uri)
    ids = ids_of(source)
    assert {(row["run_id"], row["name"], row["value"]) for row in source.parameters(ids).to_pylist()} == {
        (run_id, name, value) for run_id, run in old.runs.items() for name, value in run["params"].items()
    }
    assert {(row["run_id"], row["name"], row["value"]) for row in source.hardware(ids).to_pylist()} == {
        (run_id, name, value)
        for run_id, run in old.runs.items()
        for name, value in run["tags"].items()
        if name.startswith(FACTS)
    }
    assert {tuple(row.values()) for row in source.splits(ids).to_pylist()} == {
        split for run_id, run in old.runs.items() for split in reported_splits(run_id, run)
    }
    source.close()


@every_version
def test_a_whole_ingest_brings_it_in_and_changes_nothing(old: OldStore, tmp_path: Path) -> None:
    before = state(old.folder)
    reports = []
    for _ in range(2):
        source = open_source(old.uri)
        reports.append(ingest_into(tmp_path / "kb.duckdb", source))
        source.close()
    assert state(old.folder) == before
    expected = reported_points(old.runs)
    assert [(report.new, report.unchanged, report.points) for report in reports] == [
        (len(old.runs), 0, expected.total()),
        (0, len(old.runs), 0),
    ]
    with connect(tmp_path / "kb.duckdb", read_only=True) as kb:
        counts = kb.sql("SELECT run_id, metric, count(*) FROM curves GROUP BY ALL").fetchall()
        assert Counter({row[:2]: row[2] for row in counts}) == Counter(point[:2] for point in expected.elements())
        statuses = dict(kb.sql("SELECT run_id, status FROM runs").fetchall())
        assert statuses == {run_id: run["status"] for run_id, run in old.runs.items()}
        recorded = set(kb.sql("SELECT run_id, recorded FROM hyperparameters WHERE origin = 'param'").fetchall())
        assert recorded == {(run_id, name) for run_id, run in old.runs.items() for name in run["params"]}


@of_versions([ARCHIVES[0], ARCHIVES[-1]])
def test_a_folder_and_files_that_may_only_be_read(old: OldStore, tmp_path: Path) -> None:
    paths = [old.folder, *old.folder.rglob("*")]
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    before = state(old.folder)
    try:
        assert ingest_into(tmp_path / "kb.duckdb", open_source(old.uri)).new == len(old.runs)
        assert state(old.folder) == before
    finally:
        for path in paths:
            path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("path", GIVEN_STORES or [None], ids=lambda path: "/".join(path.parts[-2:]) if path else "none")
def test_the_stores_made_by_others_are_brought_in_unchanged(path: Path | None, tmp_path: Path) -> None:
    """What is in them is held against MLflow in `test_mlflow_files.py`, against Optuna in `test_optuna_sqlite.py`."""
    if path is None:
        pytest.skip("the stores made by others (shared/stores) are not on this machine")
    before = state(path)
    runs = ids_of(open_source(str(path)))
    for expected in (len(runs), 0):
        assert ingest_into(tmp_path / "kb.duckdb", open_source(str(path))).new == expected
    assert state(path) == before
