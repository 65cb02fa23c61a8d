"""Reading an MLflow server: the same answers as its own client gives and as its database holds, in few requests."""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hpkb.errors import SourceError
from hpkb.kb import connect, ingest_into
from hpkb.sources import Source, history_plan, mlflow_http, open_source
from hpkb.sources.mlflow_http import MlflowHttp
from tests.faults.conftest import free_port
from tests.faults.proxy import Proxy, authority
from tests.faults.servers import Server
from tests.kb.rawstore import LARGEST, RawStore

EMOJI = "".join(chr(0x1F600 + i % 64) for i in range(6_000))
CURVES: dict[str, list[tuple[int, float]]] = {
    "plain": [(step, 1.0 / step) for step in range(1, 400)],
    "nan": [(0, 1.0), (1, math.nan), (2, math.nan)],
    "infinite": [(0, math.inf), (1, -math.inf), (2, math.inf)],
    "duplicates": [(3, 1.0), (3, 2.0), (3, 1.5), (2**40, 0.5)],
    "disorder": [(5, 1.0), (-2, 2.0), (3, math.nan), (-7, 4.0), (4, 0.1)],
    "unfinished": [(0, 1e-300), (1, 5e-324)],
    "deleted": [(0, 1.0)],
}


def complete(store: RawStore) -> None:
    """Fills in what the server does not answer without."""
    store.execute("UPDATE experiments SET artifact_location = '/none' WHERE artifact_location IS NULL")
    store.execute("UPDATE runs SET artifact_uri = '/none', user_id = 'me' WHERE artifact_uri IS NULL")


class Served:
    """A store with every oddity, and the real server in front of it; both hold for the module."""

    def __init__(self, path: Path, server: Server, client_class: Any) -> None:
        self.store, self.server = RawStore(path), server
        self.client = client_class(server.address)
        self.ids: dict[str, str] = {}

    def add(self, experiment: str) -> str:
        """A new run of two points; returns its id."""
        run = self.store.run(experiment, {"lr": 1}, {"loss": [1.0, 0.5]})
        complete(self.store)
        return str(run)

    def open(self) -> tuple[Source, Source]:
        """The same runs over HTTP and from the file."""
        return open_source(self.server.address), open_source(self.store.uri)


@pytest.fixture(scope="module")
def served(
    empty_store: Path, tmp_path_factory: pytest.TempPathFactory, mlflow_client_class: Any
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    path = Path(shutil.copy(empty_store, folder / "mlflow.db"))
    ids = _write(mlflow_client_class(f"sqlite:///{path}"))
    server = Server(f"sqlite:///{path}", folder, free_port())
    server.start()
    made = Served(path, server, mlflow_client_class)
    made.ids = ids
    yield made
    server.kill()


def _write(client: Any) -> dict[str, str]:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

    first, gone = client.create_experiment("größe/2 – 'b' \"c\" 50%"), client.create_experiment("gone")
    ids = {}
    for kind, points in CURVES.items():
        ids[kind] = run = client.create_run(first, run_name=f"{kind} 'run' \"1\"").info.run_id
        client.log_param(run, "learning_rate", 0.001)
        client.log_param(run, "Größe / a.b-c:d", EMOJI)
        client.log_param(run, "quoted", 'it\'s "so"\n\tand so; -- DROP')
        for metric in ("select", "Größe / a b", "loss"):
            client.log_batch(
                run, [Metric(metric, v, 1_700_000_000_000 + i, s) for i, (s, v) in enumerate(points)]
            )
        if kind != "unfinished":
            client.set_terminated(run, "FAILED" if kind == "nan" else "FINISHED")
    client.set_tag(ids["plain"], "hpkb.task", "digits-cnn")
    client.set_tag(ids["plain"], "hpkb.hw.cpu.model", "a CPU")
    client.set_tag(ids["plain"], "hpkb.split.training.digest", "0123456789abcdef")
    dataset = Dataset("zeros", "0a1b2c3d", "local", "{}", profile='{"num_rows": 7}')
    client.log_inputs(ids["nan"], [DatasetInput(dataset, [InputTag("mlflow.data.context", "val")])])
    client.delete_run(ids["deleted"])
    client.log_metric(client.create_run(gone).info.run_id, "loss", 1.0)
    client.delete_experiment(gone)
    return ids


def ids_of(source: Source) -> pa.Array:
    return source.fingerprints()["run_id"].combine_chunks()


def points_of(source: Source, ids: pa.Array) -> list[str]:
    """All points as text, because NaN equals nothing; sorted."""
    return sorted(repr(tuple(row.values())) for batch in source.curves(ids) for row in batch.to_pylist())


def everything(source: Source) -> dict[str, list[str]]:
    ids = pa.array(sorted(ids_of(source).to_pylist()))
    tables = {name: getattr(source, name)(ids) for name in ("runs", "parameters", "hardware", "splits")}
    rows = {name: sorted(map(repr, table.to_pylist())) for name, table in tables.items()}
    return rows | {"points": points_of(source, ids), "experiments": source.experiments()}


def test_all_is_as_in_the_file(served: Served) -> None:
    over_http, from_file = served.open()
    found = everything(over_http)
    assert found == everything(from_file)
    assert len(found["runs"]) == len(CURVES) - 1
    assert len(found["points"]) == 3 * sum(
        len(points) for kind, points in CURVES.items() if kind != "deleted"
    )
    assert any(EMOJI in row for row in found["parameters"])
    assert (over_http.kind, over_http.name) == ("mlflow_http", served.server.address)


def test_the_points_are_those_of_the_servers_own_client(served: Served) -> None:
    source, expected = open_source(served.server.address), []
    for kind in CURVES.keys() - {"deleted"}:
        for metric in ("select", "Größe / a b", "loss"):
            for point in served.client.get_metric_history(served.ids[kind], metric):
                value = math.copysign(math.inf, point.value) if abs(point.value) == LARGEST else point.value
                expected.append(repr((served.ids[kind], metric, point.step, point.timestamp, value)))
    found = [
        repr((row["run_id"], row["metric"], row["step"], int(row["time"]), row["value"]))
        for batch in source.curves(ids_of(source))
        for row in pa.table(batch).append_column("time", batch["timestamp"].cast(pa.int64())).to_pylist()
    ]
    assert sorted(found) == sorted(expected)


@pytest.fixture
def small_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if an answer held seven points at most, and nobody knew beforehand how many a run has."""
    monkeypatch.setattr(mlflow_http, "LIMIT", 7)
    monkeypatch.setattr(history_plan, "_AIM", 10_000)
    monkeypatch.setattr(mlflow_http, "_PAGE", 2)


@pytest.mark.usefixtures("small_answers")
def test_answers_that_are_cut_lose_nothing(served: Served) -> None:
    over_http, from_file = served.open()
    assert everything(over_http) == everything(from_file)


@pytest.mark.parametrize("bulk", ["ajax-api/2.0/mlflow/metrics/not-there", "health"])
def test_a_server_without_the_bulk_endpoint(
    served: Served, bulk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_http, "_BULK", bulk)
    monkeypatch.setattr(mlflow_http, "LIMIT", 50)  # pages
    over_http, from_file = served.open()
    assert everything(over_http) == everything(from_file)


def test_a_bulk_answer_that_is_cut_elsewhere_is_made_good(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server's limit may be lower than the one that is known."""
    whole = MlflowHttp._group

    def some(self: MlflowHttp, group: history_plan.Group) -> Any:
        answer = whole(self, group)
        return type(answer)(answer.points.slice(0, 200))

    monkeypatch.setattr(MlflowHttp, "_group", some)
    over_http, from_file = served.open()
    assert everything(over_http) == everything(from_file)


def test_many_runs_take_few_requests(empty_store: Path, tmp_path: Path) -> None:
    store = RawStore(Path(shutil.copy(empty_store, tmp_path / "mlflow.db")))
    for i in range(150):
        store.run(f"exp {i % 3}", {"lr": i}, {"loss": [0.5] * 30, "acc": [0.5] * 3})
    complete(store)
    server = Server(store.uri, tmp_path, free_port())
    server.start()
    try:
        with Proxy(free_port(), server.port) as proxy:
            source = open_source(proxy.address)
            assert len(points_of(source, ids_of(source))) == 150 * 33
            assert proxy.requests["pass"] <= 12
    finally:
        server.kill()


def test_a_second_ingest_reads_what_changed(served: Served, tmp_path: Path) -> None:
    kb, address = tmp_path / "kb.duckdb", served.server.address
    first = ingest_into(kb, open_source(address))
    assert (first.new, first.points) == (len(CURVES) - 1, 3 * (sum(map(len, CURVES.values())) - 1))
    again = ingest_into(kb, open_source(address))
    assert (again.new, again.changed, again.removed, again.unchanged, again.points) == (0, 0, 0, first.new, 0)
    served.client.log_metric(served.ids["unfinished"], "loss", 0.25, step=9)
    served.client.set_tag(served.ids["nan"], "hpkb.task", "other")
    added = served.add("new")
    served.client.delete_run(served.ids["infinite"])
    third = ingest_into(kb, open_source(address))
    assert (third.new, third.changed, third.removed, third.points) == (1, 2, 1, 2 + 7 + 9)
    served.client.restore_run(served.ids["infinite"])
    served.client.delete_run(added)
    fourth = ingest_into(kb, open_source(address))
    assert (fourth.new, fourth.changed, fourth.removed) == (1, 0, 1)
    with connect(kb, read_only=True) as connection:
        count = connection.execute("SELECT count(*), count(DISTINCT run_id) FROM curves").fetchone()
    assert count == (first.points + 1, first.new)


def test_experiments_filter_the_fingerprints_and_the_requests(served: Served) -> None:
    run = served.add("another")
    source = open_source(served.server.address)
    assert source.fingerprints(["another"])["run_id"].to_pylist() == [run]
    # A run of another experiment is not unknown to the store.
    assert source.runs(pa.array([served.ids["plain"]]))["task"].to_pylist() == ["digits-cnn"]
    assert len(points_of(source, pa.array([served.ids["nan"]]))) == 9
    served.client.delete_run(run)


@pytest.fixture
def proxy(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    # The shipper's client, where other tests have imported it, has set this to none for its whole process.
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with Proxy(free_port(), served.server.port) as made:
        yield made


def _quick(source: Any) -> Any:
    source._server._backoff = 0.01
    return source


def test_half_of_the_answers_are_lost(served: Served, proxy: Proxy) -> None:
    source = _quick(open_source(proxy.address))
    proxy.mode = "deaf"
    assert everything(source) == everything(open_source(served.store.uri))
    assert proxy.requests["deaf"] > 10


@pytest.mark.parametrize("mode", ["429", "503", "hang"])
def test_trouble_that_passes(served: Served, proxy: Proxy, mode: str) -> None:
    source = _quick(open_source(proxy.address))
    ids = ids_of(source)
    proxy.mode = mode

    def recover() -> None:
        while not proxy.requests[mode]:
            time.sleep(0.01)
        proxy.mode = "pass"

    thread = threading.Thread(target=recover)
    thread.start()
    found = points_of(source, ids)
    thread.join()
    assert proxy.requests[mode] > 0
    assert found == points_of(open_source(served.store.uri), ids)


@pytest.mark.parametrize("mode", ["429", "500", "404", "hang", "closed"])
def test_trouble_that_stays_is_one_clear_error(
    proxy: Proxy, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "0.3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    source = _quick(open_source(proxy.address))
    ids = ids_of(source)
    if mode == "closed":
        proxy.close()
    else:
        proxy.mode = mode
    with pytest.raises(SourceError, match="Cannot read 'http://127") as error:
        points_of(source, ids)
    assert "\n" not in str(error.value)


def test_credentials_are_used_and_shown_nowhere(
    served: Served, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    basic = "Basic bWU6czNjcjN0"  # me:s3cr3t
    proxy.demand = lambda given: given == basic
    secret = "s3cr3t"
    inside = proxy.address.replace("://", f"://me:{secret}@")
    assert open_source(inside).name == proxy.address
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", secret)
    with pytest.raises(SourceError, match="refuses access") as error:
        open_source(inside)
    proxy.demand = lambda given: given == f"Bearer {secret}"
    source = open_source(proxy.address)
    assert len(ids_of(source)) >= 5
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secret)
    proxy.demand = lambda given: given == basic
    assert open_source(proxy.address).experiments()
    proxy.close()
    with pytest.raises(SourceError, match="server running") as down:
        open_source(inside)
    assert secret not in source.name + str(error.value) + str(down.value) + caplog.text


def test_a_netrc_file_is_not_asked(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    proxy.demand = lambda given: given is None
    assert open_source(proxy.address).experiments()


def test_certificates(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, chain = authority(tmp_path)
    proxy = Proxy(free_port(), served.server.port)
    proxy.certificate = chain
    with proxy:
        with pytest.raises(SourceError, match="MLFLOW_TRACKING_SERVER_CERT_PATH"):
            open_source(proxy.address)
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted.with_name("missing")))
        assert open_source(proxy.address).experiments()
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(trusted))
        with pytest.raises(SourceError, match="exclude each other"):
            open_source(proxy.address)
        monkeypatch.delenv("MLFLOW_TRACKING_INSECURE_TLS")
        assert open_source(proxy.address).experiments()


@contextmanager
def _listening(answer: bytes) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(10)
                    connection.recv(65536)
                    connection.sendall(answer)
                    # a close with the rest of the request unread resets the connection, and the
                    # answer may be lost with it: read until the client hangs up
                    connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(0.5)  # one that keeps the connection has read the answer
                    with suppress(TimeoutError):
                        while connection.recv(65536):
                            pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "not as an MLflow server"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>", "not as an MLflow server"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "another address"),
        (b"not HTTP at all\r\n\r\n", "the connection fails"),
    ],
)
def test_what_is_no_mlflow_server(answer: bytes, message: str) -> None:
    # without this a client may send its next request on a connection that is about to be closed
    answer = answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with _listening(answer) as address, pytest.raises(SourceError, match=message):
        open_source(address)


def test_an_address_without_a_server() -> None:
    for uri in ("http://", "https:///path", "http://127.0.0.1:99999", "http://[::1"):
        with pytest.raises(SourceError, match="names no server"):
            open_source(uri)
    with pytest.raises(SourceError, match="server running") as error:
        open_source("http://me:hidden@127.0.0.1:1")
    assert "hidden" not in str(error.value)


def test_reading_over_http_needs_no_mlflow(served: Served) -> None:
    script = (
        "import sys; from hpkb.sources import open_source as o; print(len(o(sys.argv[1]).fingerprints())); "
        "assert 'mlflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, served.server.address], capture_output=True, text=True
    )
    assert (done.returncode, int(done.stdout)) == (0, len(ids_of(open_source(served.store.uri)))), done.stderr
