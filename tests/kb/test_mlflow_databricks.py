"""A Databricks workspace, read through MLflow's client: a real `mlflow server` stands in for it behind a token."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpkb.errors import SourceError
from hpkb.kb import ingest_into
from hpkb.sources import Source, mlflow_http, open_source
from tests.faults.proxy import Proxy
from tests.faults.servers import Server
from tests.kb.rawstore import RawStore
from tests.kb.test_mlflow_http import complete, everything, ids_of, points_of
from tests.postgres import free_port

TOKEN = "dapi-s3cr3t"


@pytest.fixture(scope="module")
def workspace(
    empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RawStore, Proxy]]:
    """A store, and the address that asks for the token before it lets anybody to its server."""
    folder = tmp_path_factory.mktemp("workspace")
    store = RawStore(Path(shutil.copy(empty_store, folder / "mlflow.db")))
    for i in range(4):
        curves = {
            "select": [1.0, float("nan"), float("-inf")],
            "val_loss": [1.0 / (i + k + 1) for k in range(50)],
        }
        store.run("größe/2", {"lr": 0.1 * i}, curves, {"hpkb.hw.cpu.model": "a CPU"})
    complete(store)
    server = Server(store.uri, folder, free_port())
    server.start()
    with Proxy(free_port(), server.port) as proxy:
        yield store, proxy
    server.kill()


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own; MLflow's first pause is two seconds."""
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CONFIG_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")


@pytest.fixture
def proxy(workspace: tuple[RawStore, Proxy], monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """The address, with host and token in the environment."""
    found = workspace[1]
    found.demand, found.mode = None, "pass"
    monkeypatch.setenv("DATABRICKS_HOST", found.address)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    return found


def in_profile(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABRICKS_HOST")
    monkeypatch.delenv("DATABRICKS_TOKEN")
    (tmp_path / "databrickscfg").write_text(f"[team]\nhost = {proxy.address}\ntoken = {TOKEN}\n")


@pytest.mark.parametrize("uri", ["databricks", "databricks://team"])
def test_all_is_as_in_the_file(
    workspace: tuple[RawStore, Proxy], proxy: Proxy, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = workspace
    if uri != "databricks":
        in_profile(proxy, tmp_path, monkeypatch)
    proxy.demand = lambda given: given == f"Bearer {TOKEN}"
    source = open_source(uri)
    assert source.name == proxy.address
    assert everything(source) == everything(open_source(store.uri))
    for expected in (4, 0):
        assert ingest_into(tmp_path / "kb.duckdb", open_source(uri)).new == expected


def test_a_workspace_without_the_bulk_endpoint(
    workspace: tuple[RawStore, Proxy], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_http, "_BULK", "ajax-api/2.0/mlflow/metrics/nowhere")
    source: Any = open_source("databricks")
    assert points_of(source, ids_of(source)) == points_of(open_source(workspace[0].uri), ids_of(source))
    assert not source._has_bulk


def test_trouble_that_passes(workspace: tuple[RawStore, Proxy], proxy: Proxy) -> None:
    source: Source = open_source("databricks")
    ids = ids_of(source)
    proxy.mode = "503"

    def recover() -> None:
        while not proxy.requests["503"]:
            time.sleep(0.01)
        proxy.mode = "pass"

    thread = threading.Thread(target=recover)
    thread.start()
    assert points_of(source, ids) == points_of(open_source(workspace[0].uri), ids)
    thread.join()


def test_what_is_wrong_is_one_line_without_the_token(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.demand = lambda given: False
    with pytest.raises(SourceError, match=r"refuses access\. Set DATABRICKS_HOST") as refused:
        open_source("databricks")
    monkeypatch.setenv("DATABRICKS_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(SourceError, match="nothing answers there") as away:
        open_source("databricks")
    for error in (refused, away):
        assert "\n" not in str(error.value)
        assert TOKEN not in str(error.value) + caplog.text


def test_without_credentials_it_says_what_to_set() -> None:
    for uri in ("databricks", "databricks://team"):
        with pytest.raises(SourceError, match=f"No credentials for '{uri}'. Set DATABRICKS_HOST"):
            open_source(uri)
