"""Reading MLflow's MySQL and MariaDB store: the answers of MLflow's client, and of the same rows in a SQLite file."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hpkb.errors import SourceError
from hpkb.kb import ingest_into
from hpkb.sources import open_source
from tests.kb.database_store import (
    COPIED,
    assert_curves_as_mlflow_has_them,
    assert_runs_as_mlflow_finds_them,
    fill,
    ids_of,
    points_of,
    read_all,
)  # fmt: skip
from tests.kb.rawstore import RawStore
from tests.mysql import MysqlServer
from tests.postgres import free_port

pymysql = pytest.importorskip("pymysql")
from hpkb.sources import mlflow_mysql, mysql, mysql_rows  # noqa: E402 (they need pymysql)

GUARDED = "guarded"  # a user that needs a password


@dataclass(frozen=True)
class Store:
    """An MLflow store in a database."""

    server: MysqlServer
    uri: str

    def execute(self, sql: str, parameters: Any = None) -> Any:
        with self.server.connect(self.uri.rpartition("/")[2]) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()

    def points(self, run: str, metric: str, n: int, first: int = 0) -> None:
        self.execute(
            "INSERT INTO metrics (run_uuid, `key`, step, timestamp, value, is_nan)"
            f" SELECT %s, %s, seq, seq, seq, false FROM seq_{first}_to_{first + n - 1}",
            (run, metric),
        )

    def run(self, run: str, metrics: int = 0) -> str:
        experiment = self.execute("SELECT min(experiment_id) FROM experiments")[0][0]
        self.execute(
            "INSERT INTO runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, experiment_id)"
            " VALUES (%s, 'a', 'FINISHED', 1, 2, 'active', %s)",
            (run, experiment),
        )
        if metrics:
            self.points(run, "loss", metrics)
        return run


@pytest.fixture(scope="session")
def made_mysql(mysql_server: MysqlServer, mlflow_client_class: Any) -> str:
    """The name of a database with MLflow's tables and no run."""
    mlflow_client_class(mysql_server.create("made")).search_experiments()
    return "made"


@pytest.fixture
def mysql_store(mysql_server: MysqlServer, made_mysql: str, request: pytest.FixtureRequest) -> Store:
    """A store of this test's own."""
    return Store(mysql_server, mysql_server.copy(made_mysql, f"store-{request.node.name}"[:63]))


@pytest.fixture(scope="session")
def filled_mysql(
    mysql_server: MysqlServer, made_mysql: str, mlflow_client_class: Any
) -> tuple[Store, Any, dict[str, str]]:
    """A store that MLflow wrote, its client, and the ids of the runs by what is special about them."""
    store = Store(mysql_server, mysql_server.copy(made_mysql, "filled"))
    client = mlflow_client_class(store.uri)
    return store, client, fill(client)


def copy_into(store: Store, file: RawStore) -> None:
    """Copies the rows of the store into an empty one in a SQLite file."""
    with closing(store.server.connect("filled")) as source, source.cursor() as cursor:
        for table in COPIED:
            cursor.execute(f"SELECT * FROM {table}")
            columns = ", ".join(f'"{column[0]}"' for column in cursor.description)
            marks = ", ".join("?" for _ in cursor.description)
            for row in cursor.fetchall():
                file.execute(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", row)


def test_runs_and_parameters_are_those_that_mlflow_finds(filled_mysql: Any) -> None:
    store, client, ids = filled_mysql
    assert_runs_as_mlflow_finds_them(open_source(store.uri), client, ids)


def test_curves_are_those_that_mlflow_has(filled_mysql: Any) -> None:
    store, client, ids = filled_mysql
    assert_curves_as_mlflow_has_them(open_source(store.uri), client, ids)


def test_everything_is_as_in_a_sqlite_file_with_the_same_rows(filled_mysql: Any, store: RawStore) -> None:
    copy_into(filled_mysql[0], store)
    *tables, points = read_all(open_source(filled_mysql[0].uri))
    points = sorted(point.replace("-0.0", "0.0") for point in points)  # SQLite keeps no sign of a zero
    assert [*tables, points] == read_all(open_source(store.uri))


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mysql+mysqldb", "mariadb", "mariadb+mariadbconnector"])
def test_each_driver_of_a_uri_is_the_same_store(filled_mysql: Any, scheme: str) -> None:
    source = open_source(filled_mysql[0].uri.replace("mysql+pymysql", scheme))
    assert len(ids_of(source)) == 3
    assert source.name == filled_mysql[0].uri.replace("+pymysql", "")
    source.close()


def test_only_what_changed_is_read_again(mysql_store: Store, mlflow_client_class: Any, tmp_path: Path) -> None:
    store, kb = mysql_store, tmp_path / "kb.duckdb"
    client = mlflow_client_class(store.uri)
    ids = fill(client)
    reports = [ingest_into(kb, open_source(store.uri)) for _ in range(2)]
    assert [(r.new, r.changed, r.unchanged) for r in reports] == [(3, 0, 0), (0, 0, 3)]
    client.log_metric(ids["unfinished"], "val_loss", 0.5, step=9)
    store.points(ids["odd"], "val_loss", 1, first=2)  # not the latest: latest_metrics stays as it was
    client.restore_run(ids["deleted"])
    client.delete_run(ids["plain"])
    report = ingest_into(kb, open_source(store.uri))
    assert (report.new, report.changed, report.removed, report.unchanged) == (1, 2, 1, 0)
    assert report.points == 3 * 11 + 2


def test_some_runs_are_the_same_as_all(mysql_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "_BATCH_BYTES", 1_000)
    monkeypatch.setattr(mlflow_mysql, "_RUNS_AT_ONCE", 2)
    runs = [mysql_store.run(name, 50) for name in ("a'b", 'c"d', "e\\f", "g{,}h", "NULL", "100%s", "ordinary")]
    source = open_source(mysql_store.uri)
    everything = points_of(source)
    assert len(everything) == 350
    for run in runs:
        assert points_of(source, pa.array([run])) == [row for row in everything if repr(run) in row]
    assert len(points_of(source, pa.array(runs[:5]))) == 250
    assert points_of(source, pa.array([], pa.string())) == []


def test_one_snapshot_from_the_first_read_to_the_last(mysql_store: Store) -> None:
    run = mysql_store.run("a", 100)
    source = open_source(mysql_store.uri)
    mysql_store.points(run, "loss", 10, first=100)  # before the first read
    ids = ids_of(source)
    mysql_store.points(run, "loss", 10, first=200)
    mysql_store.run("b", 5)
    assert len(points_of(source, ids)) == 110
    assert len(ids_of(source)) == 1
    assert len(points_of(open_source(mysql_store.uri))) == 125


def test_a_writer_is_not_disturbed(mysql_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "_BATCH_BYTES", 1_000)
    run = mysql_store.run("a", 100_000)
    source = open_source(mysql_store.uri)
    batches = source.curves(ids_of(source))
    n = next(batches).num_rows
    rows_locked = "SELECT sum(trx_rows_locked) FROM information_schema.innodb_trx"
    assert mysql_store.execute(rows_locked)[0][0] in (0, None)
    mysql_store.execute("INSERT INTO tags (`key`, value, run_uuid) VALUES ('k', 'v', 'a')")
    writer = threading.Thread(target=mysql_store.points, args=(run, "live", 1_000))
    writer.start()
    writer.join(timeout=60)
    assert not writer.is_alive()
    assert n + sum(batch.num_rows for batch in batches) == 100_000
    source.close()


def test_an_iteration_that_is_given_up_leaves_the_source_usable(mysql_store: Store) -> None:
    mysql_store.run("a", 100_000)
    source = open_source(mysql_store.uri)
    batches = source.curves(ids_of(source))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(ids_of(source)) == 1


def test_nothing_can_be_written(mysql_store: Store) -> None:
    database = mysql.MysqlDatabase(mysql_store.uri)
    with pytest.raises(SourceError, match="READ ONLY transaction"):
        database.query("DELETE FROM metrics")
    with pytest.raises(SourceError, match="READ ONLY transaction"):
        database.query("DELETE FROM metrics RETURNING step")


def test_values_of_every_kind_and_length(mysql_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "_BATCH_BYTES", 1_000)
    database = mysql.MysqlDatabase(mysql_store.uri)
    lengths = (0, 1, 250, 251, 252, 65_535, 65_536, 3_000_000)
    rows = " UNION ALL ".join(f"SELECT {i} AS n, REPEAT('é', {n}) AS s, NULL AS b" for i, n in enumerate(lengths))
    found = database.query(f"SELECT * FROM ({rows} UNION ALL SELECT NULL, NULL, -1.5e0) AS t ORDER BY n IS NULL, n")
    assert found["n"].to_pylist() == [*range(len(lengths)), None]
    assert [None if s is None else len(s) for s in found["s"].to_pylist()] == [*lengths, None]
    assert found["b"].to_pylist() == [None] * len(lengths) + [-1.5]
    wide = database.query("SELECT " + ", ".join(f"NULLIF({i} % 3, 0) AS c{i}" for i in range(40)))
    assert list(wide.to_pylist()[0].values()) == [i % 3 or None for i in range(40)]
    assert database.query("SELECT 1 AS a FROM runs WHERE false").num_rows == 0
    with pytest.raises(SourceError, match=r"more than 16 MiB|max_allowed_packet"):
        database.query("SELECT REPEAT('x', 9000000) AS a, REPEAT('y', 9000000) AS b")


def test_bytes_that_are_no_rows_are_an_error() -> None:
    column = [mysql_rows.Column("a", 8)]
    row = struct.pack("<IBBq", 10, 0, 0, 7)
    end = struct.pack("<IBHH", 5, 0xFE, 0, 0)
    assert _rows_of(row + row + end, column) == [7, 7]
    odd = b"\x01\0\0\0\xfb" + row + end
    for content, message in {row: "lost", row + end[:-1]: "lost", odd: "out of order"}.items():
        with pytest.raises(mysql_rows.BrokenResult, match=message):
            _rows_of(content, column)


def _rows_of(content: bytes, columns: list[mysql_rows.Column]) -> list[int]:
    parts = iter([content[i : i + 3] for i in range(0, len(content), 3)])  # no packet comes in one piece
    stream = mysql_rows.RowStream(lambda n: next(parts, b"")[:n], columns, 64)
    return [value for batch in stream.batches() for value in batch["a"].to_pylist()]


def test_an_older_schema(mysql_store: Store) -> None:
    mysql_store.run("a", 3)
    for table in ("input_tags", "inputs", "datasets"):
        mysql_store.execute(f"DROP TABLE {table}")
    mysql_store.execute("ALTER TABLE params MODIFY value VARCHAR(250) NOT NULL")  # as MLflow 1 had it
    source = open_source(mysql_store.uri)
    assert [len(part) for part in read_all(source)] == [1, 0, 0, 0, 3]


@pytest.fixture
def guarded_mysql(filled_mysql: Any) -> Iterator[str]:
    """The URI of a store whose password is "s3cr'et/#?%:\\"."""
    store: Store = filled_mysql[0]
    store.execute(f"CREATE USER {GUARDED} IDENTIFIED BY %s", ("s3cr'et/#?%:\\",))
    for table in COPIED:
        store.execute(f"GRANT SELECT ON filled.{table} TO {GUARDED}")
    yield store.uri.replace("root@", f"{GUARDED}:s3cr'et/#?%25:\\@")
    store.execute(f"DROP USER {GUARDED}")


def test_a_password_opens_and_is_never_shown(guarded_mysql: str, filled_mysql: Any) -> None:
    source = open_source(guarded_mysql)
    assert len(ids_of(source)) == 3
    assert "s3cr" not in source.name
    source.close()
    in_query = open_source(guarded_mysql.replace(":s3cr'et/#?%25:\\@", "@") + "?password=s3cr'et/%23?%25:\\")
    assert "s3cr" not in in_query.name
    in_query.close()
    filled_mysql[0].execute(f"REVOKE SELECT ON filled.metrics FROM {GUARDED}")
    filled_mysql[0].execute(f"GRANT INSERT ON filled.metrics TO {GUARDED}")
    with pytest.raises(SourceError, match="SELECT command denied") as error:
        open_source(guarded_mysql).fingerprints()
    assert "s3cr" not in str(error.value)


def test_stores_that_cannot_be_read_are_one_clear_line_each(guarded_mysql: str, mysql_server: MysqlServer) -> None:
    port = free_port()
    cases = {
        guarded_mysql.replace("s3cr'et", "s3cr-wrong"): "Access denied for user 'guarded'",
        f"mysql://me:s3cret@127.0.0.1:{port}/db": "Cannot read runs .*Connection refused",
        "mysql://me:s3cret@127.0.0.1:port/db": "cannot be understood",
        "mysql://me:p@s3cret@127.0.0.1/db": "more than one @",
        "mariadb://me:p@a/s3cret@127.0.0.1/db": "more than one @",
        f"mysql://me:s3cret@127.0.0.1:{port}/db?foo=1": "unexpected keyword argument 'foo'",
        f"mysql://me:s3cret@127.0.0.1:{port}/db?connect_timeout=soon": "invalid literal for int",
        f"{mysql_server.create('mine').rpartition('/')[0]}/nowhere": "Unknown database 'nowhere'",
        mysql_server.create("empty"): "no MLflow store: it has no table experiments, latest_metrics",
    }
    for uri, message in cases.items():
        with pytest.raises(SourceError, match=message) as error:
            open_source(uri)
        assert "\n" not in str(error.value)
        assert "s3cr" not in str(error.value)
        assert error.value.__cause__ is None


def test_a_statement_that_the_server_ends_is_a_clear_error(mysql_store: Store) -> None:
    source = open_source(f"{mysql_store.uri}?init_command=SET lock_wait_timeout%3D1")
    with mysql_store.server.connect(mysql_store.uri.rpartition("/")[2]) as migration, migration.cursor() as cursor:
        cursor.execute("LOCK TABLE metrics WRITE")
        with pytest.raises(SourceError, match="Lock wait timeout exceeded"):
            source.fingerprints()
    source.close()


def test_a_connection_that_is_lost_is_a_clear_error(mysql_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "_BATCH_BYTES", 1_000)
    mysql_store.run("a", 200_000)
    source = open_source(mysql_store.uri)
    batches = source.curves(ids_of(source))
    next(batches)
    busy = "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
    for (connection,) in mysql_store.execute(busy):
        mysql_store.execute(f"KILL {connection}")
    with pytest.raises(SourceError, match=r"connection was (lost|killed)|Lost connection"):
        list(batches)
    source.close()


def test_without_the_package_it_says_what_to_install() -> None:
    script = """
import sys
sys.modules["pymysql"] = None
from hpkb.sources import open_source
try:
    open_source("mysql://h/d")
except Exception as error:
    print(type(error).__name__, error)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("SourceError Reading MySQL needs")
    assert "pip install 'hpkb[mysql]'" in ran.stdout


def test_memory_is_that_of_a_batch(mysql_store: Store) -> None:
    run = mysql_store.run("a", 200_000)
    once = _peak_mib(mysql_store)
    mysql_store.points(run, "loss", 400_000, first=200_000)
    assert _peak_mib(mysql_store) < once + 12  # the points more are 27 MiB in Arrow


def _peak_mib(store: Store) -> float:
    script = """
import sys
from hpkb.sources import open_source
source = open_source(sys.argv[1])
for batch in source.curves(source.fingerprints()["run_id"].combine_chunks()):
    pass
print(int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024)
"""  # not getrusage, which counts what the parent held
    ran = subprocess.run([sys.executable, "-c", script, store.uri], capture_output=True, text=True, check=True)
    return float(ran.stdout)
