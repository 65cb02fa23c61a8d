"""Whole curves in object storage and behind a server are read; where that is not possible, a note says so."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from hpkb.curve_file import FOLDER, NAME, TAG, CurveFileWriter
from hpkb.kb.ingest import IngestReport, ingest_into
from hpkb.sources import open_source, remote_files
from tests.faults.servers import Server
from tests.kb.rawstore import RawStore
from tests.postgres import free_port

N_RUNS, N_STEPS = 12, 50


def curve_file(path: Path, run: int) -> Path:
    """Writes a run's whole curve: `loss`, at every step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with CurveFileWriter(path) as writer:
        for step in range(N_STEPS):
            writer.add("loss", step, 1_700_000_000_000 + step, run + step / N_STEPS)
    return path


def thinned_runs(client: Any, location: str | None) -> list[Any]:
    """Runs of which MLflow has one point and the tag that says that the whole curve is among the artifacts."""
    experiment = client.create_experiment("e", artifact_location=location)
    runs = []
    for _ in range(N_RUNS):
        run = client.create_run(experiment)
        client.log_metric(run.info.run_id, "loss", 0.5, step=N_STEPS - 1)
        client.set_tag(run.info.run_id, TAG, f"{FOLDER}/{NAME}")
        client.set_terminated(run.info.run_id)
        runs.append(run)
    return runs


def n_points(kb: Path) -> int:
    with duckdb.connect(str(kb), read_only=True) as connection:
        return int(connection.sql("SELECT count(*) FROM curves").fetchall()[0][0])


def bring_in(uri: str, tmp_path: Path) -> tuple[IngestReport, int]:
    kb = tmp_path / "kb.duckdb"
    return ingest_into(kb, open_source(uri)), n_points(kb)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """boto3's client of a real S3-compatible server that has an empty bucket "group"."""
    boto3 = pytest.importorskip("boto3", reason="boto3 (moto's server) is not installed")
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://{host}:{port}")
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="group")
    yield client
    server.stop()


def test_files_in_a_bucket(s3: Any, tmp_path: Path, store: RawStore, mlflow_client_class: Any) -> None:
    for i, run in enumerate(thinned_runs(mlflow_client_class(store.uri), "s3://group/some folder")):
        file = curve_file(tmp_path / "curves.parquet", i)
        s3.upload_file(str(file), "group", f"{run.info.artifact_uri.removeprefix('s3://group/')}/{FOLDER}/{NAME}")
    report, points = bring_in(store.uri, tmp_path)
    assert (report.notes, points) == ((), N_RUNS * N_STEPS)


def test_files_that_are_not_in_the_bucket_and_a_bucket_that_is_not_there(
    s3: Any, tmp_path: Path, empty_store: Path, mlflow_client_class: Any
) -> None:
    for location in ("s3://group/a", "s3://nobody/a"):
        folder = tmp_path / location[5:8]
        folder.mkdir()
        uri = RawStore(Path(shutil.copy(empty_store, folder / "mlflow.db"))).uri
        thinned_runs(mlflow_client_class(uri), location)
        report, points = bring_in(uri, folder)
        assert points == N_RUNS
        assert len(report.notes) == 1
        assert report.notes[0].startswith(f"{N_RUNS} files of whole curves not read, their thinned metrics used: ")


def test_nobody_answers_at_the_endpoint(
    tmp_path: Path, store: RawStore, mlflow_client_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    thinned_runs(mlflow_client_class(store.uri), "s3://group/a")
    report, points = bring_in(store.uri, tmp_path)
    assert (points, len(report.notes)) == (N_RUNS, 1)
    assert "'s3:' does not answer as it should" in report.notes[0]


def test_any_file_system_of_fsspec(tmp_path: Path, store: RawStore, mlflow_client_class: Any) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    runs = thinned_runs(mlflow_client_class(store.uri), "memory://group/a")
    for i, run in enumerate(runs[:-2]):
        file = curve_file(tmp_path / "curves.parquet", i)
        memory.pipe(f"{run.info.artifact_uri}/{FOLDER}/{NAME}", file.read_bytes())
    memory.pipe(f"{runs[-1].info.artifact_uri}/{FOLDER}/{NAME}", b"no parquet")
    report, points = bring_in(store.uri, tmp_path)
    assert points == (N_RUNS - 2) * N_STEPS + 2
    assert sorted(report.notes) == [
        "1 damaged files of whole curves, their thinned metrics used",
        "1 files of whole curves not read, their thinned metrics used: the file is not there",
    ]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("gs://group/a", "'gs:' needs gcsfs: pip install 'hpkb[gcs]'"),
        ("wasbs://c@account.blob.core.windows.net/a", "'wasbs:' needs adlfs: pip install 'hpkb[azure]'"),
        ("dbfs:/a", "hpkb does not read 'dbfs:'"),
        ("mlflow-artifacts:/a", "they are behind an MLflow server; give its address instead of its database"),
    ],
)
def test_what_cannot_be_read_is_one_note(
    location: str, reason: str, tmp_path: Path, store: RawStore, mlflow_client_class: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for module in ("gcsfs", "adlfs"):
        monkeypatch.setitem(sys.modules, module, None)
    thinned_runs(mlflow_client_class(store.uri), location)
    report, points = bring_in(store.uri, tmp_path)
    assert points == N_RUNS
    assert report.notes == (f"{N_RUNS} files of whole curves not read, their thinned metrics used: {reason}",)


def test_azure_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("adlfs")
    monkeypatch.setenv("AZURE_STORAGE_ACCESS_KEY", "c2VjcmV0")
    for scheme, host in (("wasbs", "blob"), ("abfss", "dfs")):
        address = f"{scheme}://group@account.{host}.core.windows.net/a/b.parquet"
        system = remote_files.file_system(address)
        assert system.account_name == "account"
        assert system._strip_protocol(remote_files.for_fsspec(address)) == "group/a/b.parquet"


def test_files_behind_a_server(tmp_path: Path, mlflow_client_class: Any) -> None:
    server = Server(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, free_port())
    server.start()
    try:
        runs = thinned_runs(client := mlflow_client_class(server.address), None)
        assert runs[0].info.artifact_uri.startswith("mlflow-artifacts:/")
        for i, run in enumerate(runs[1:]):
            client.log_artifact(run.info.run_id, str(curve_file(tmp_path / NAME, i)), FOLDER)
        report, points = bring_in(server.address, tmp_path)
        assert points == (N_RUNS - 1) * N_STEPS + 1
        assert report.notes == ("1 files of whole curves not read, their thinned metrics used: the file is not there",)
    finally:
        server.kill()
