"""Reading MLflow's PostgreSQL store: the answers of MLflow's client, and of the same rows in a SQLite file."""

from __future__ import annotations

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
from hpkb.ship.schema import ensure_store
from hpkb.sources import open_source, postgres
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
from tests.postgres import GUARDED, Database, free_port

psycopg = pytest.importorskip("psycopg")
pytest.importorskip("adbc_driver_postgresql")


@dataclass(frozen=True)
class Store:
    """An MLflow store in a database."""

    uri: str

    def execute(self, sql: str, parameters: Any = None) -> Any:
        with psycopg.connect(self.uri.replace("+psycopg", ""), autocommit=True) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else None

    def points(self, run: str, metric: str, n: int, first: int = 0) -> None:
        self.execute(
            "INSERT INTO metrics (run_uuid, key, step, timestamp, value, is_nan)"
            " SELECT %s, %s, i, i, i, false FROM generate_series(%s::bigint, %s::bigint) i",
            (run, metric, first, first + n - 1),
        )

    def run(self, run: str, metrics: int = 0) -> str:
        experiment = self.execute("SELECT min(experiment_id) FROM experiments")[0][0]
        self.execute(
            "INSERT INTO runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, experiment_id)"
            " VALUES (%s, 'a', 'FINISHED', 1, 2, 'active', %s)",
            (run, experiment),
        )
        self.points(run, "loss", metrics)
        return run


@pytest.fixture(scope="session")
def made_database(database: Database) -> str:
    """The name of a database with MLflow's tables and no run."""
    ensure_store(database.create("made"))
    return "made"


@pytest.fixture
def postgres_store(database: Database, made_database: str, request: pytest.FixtureRequest) -> Store:
    """A store of this test's own."""
    return Store(database.create(f"store-{request.node.name}"[:63], made_database))


@pytest.fixture(scope="session")
def filled(database: Database, made_database: str, mlflow_client_class: Any) -> tuple[Store, Any, dict[str, str]]:
    """A store that MLflow wrote, its client, and the ids of the runs by what is special about them."""
    store = Store(database.create("filled", made_database))
    client = mlflow_client_class(store.uri)
    return store, client, fill(client)


def copy_into(store: Store, file: RawStore) -> None:
    """Copies the rows of the store into an empty one in a SQLite file."""
    with closing(psycopg.connect(store.uri.replace("+psycopg", ""))) as source:
        for table in COPIED:
            rows = source.execute(f"SELECT * FROM {table}")
            columns = ", ".join(f'"{column.name}"' for column in rows.description)
            marks = ", ".join("?" for _ in rows.description)
            for row in rows:
                file.execute(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", row)


def test_runs_and_parameters_are_those_that_mlflow_finds(filled: Any) -> None:
    store, client, ids = filled
    assert_runs_as_mlflow_finds_them(open_source(store.uri), client, ids)


def test_curves_are_those_that_mlflow_has(filled: Any) -> None:
    store, client, ids = filled
    assert_curves_as_mlflow_has_them(open_source(store.uri), client, ids)


def test_everything_is_as_in_a_sqlite_file_with_the_same_rows(filled: Any, store: RawStore) -> None:
    copy_into(filled[0], store)
    *tables, points = read_all(open_source(filled[0].uri))
    points = sorted(point.replace("-0.0", "0.0") for point in points)  # SQLite keeps no sign of a zero
    assert [*tables, points] == read_all(open_source(store.uri))


@pytest.mark.parametrize("driver", ["", "+psycopg2", "+psycopg"])
def test_each_driver_of_a_uri_is_the_same_store(filled: Any, driver: str) -> None:
    uri = filled[0].uri.replace("+psycopg", driver)
    source = open_source(uri)
    assert len(ids_of(source)) == 3
    assert source.name == filled[0].uri.replace("+psycopg", "")
    source.close()


def test_only_what_changed_is_read_again(postgres_store: Store, mlflow_client_class: Any, tmp_path: Path) -> None:
    store, kb = postgres_store, tmp_path / "kb.duckdb"
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


def test_some_runs_are_the_same_as_all(postgres_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_BATCH_BYTES", 1_000)
    runs = [postgres_store.run(name, 50) for name in ("a'b", 'c"d', "e\\f", "g{,}h", "NULL", "ordinary")]
    source = open_source(postgres_store.uri)
    everything = points_of(source)
    assert len(everything) == 300
    for run in runs:
        assert points_of(source, pa.array([run])) == [row for row in everything if repr(run) in row]
    assert points_of(source, pa.array([], pa.string())) == []


def test_one_snapshot_from_the_first_read_to_the_last(postgres_store: Store) -> None:
    run = postgres_store.run("a", 100)
    source = open_source(postgres_store.uri)
    postgres_store.points(run, "loss", 10, first=100)  # before the first read
    ids = ids_of(source)
    postgres_store.points(run, "loss", 10, first=200)
    postgres_store.run("b", 5)
    assert len(points_of(source, ids)) == 110
    assert len(ids_of(source)) == 1
    assert len(points_of(open_source(postgres_store.uri))) == 125


def test_a_writer_is_not_disturbed(postgres_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_BATCH_BYTES", 1_000)
    run = postgres_store.run("a", 100_000)
    source = open_source(postgres_store.uri)
    batches = source.curves(ids_of(source))
    n = next(batches).num_rows
    locks = "SELECT DISTINCT mode FROM pg_locks WHERE relation = 'metrics'::regclass"
    assert postgres_store.execute(locks) == [("AccessShareLock",)]
    postgres_store.execute("SET lock_timeout = 500; INSERT INTO tags (key, value, run_uuid) VALUES ('k', 'v', 'a')")
    writer = threading.Thread(target=postgres_store.points, args=(run, "live", 1_000))
    writer.start()
    writer.join(timeout=20)
    assert not writer.is_alive()
    assert n + sum(batch.num_rows for batch in batches) == 100_000
    source.close()
    assert postgres_store.execute(locks) == []


def test_an_iteration_that_is_given_up_leaves_the_source_usable(postgres_store: Store) -> None:
    postgres_store.run("a", 100_000)
    source = open_source(postgres_store.uri)
    batches = source.curves(ids_of(source))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(ids_of(source)) == 1


def test_nothing_can_be_written(postgres_store: Store) -> None:
    database = postgres.PostgresDatabase(postgres_store.uri)
    with pytest.raises(SourceError, match="read-only transaction"):
        database.query("DELETE FROM metrics RETURNING key")


def test_an_older_schema_in_a_schema_of_another_name(postgres_store: Store) -> None:
    postgres_store.run("a", 3)
    for table in ("input_tags", "inputs", "datasets"):
        postgres_store.execute(f"DROP TABLE {table} CASCADE")
    postgres_store.execute("ALTER SCHEMA public RENAME TO mlflow")
    with pytest.raises(SourceError, match="no MLflow store: it has no table experiments, latest_metrics"):
        open_source(postgres_store.uri)
    source = open_source(f"{postgres_store.uri}?options=-csearch_path%3Dmlflow")
    assert [len(part) for part in read_all(source)] == [1, 0, 0, 0, 3]


@pytest.fixture
def guarded(filled: Any) -> Iterator[str]:
    """The URI of a store whose password is "s3cr'et/#?%:\\"."""
    store: Store = filled[0]
    store.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD 's3cr''et/#?%:\\'")
    store.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {GUARDED}")
    yield store.uri.replace("hpkb@", f"{GUARDED}:s3cr'et/#?%25:\\@")
    store.execute(f"DROP OWNED BY {GUARDED}")
    store.execute(f"DROP ROLE {GUARDED}")


def test_a_password_opens_and_is_never_shown(guarded: str, filled: Any) -> None:
    source = open_source(guarded)
    assert len(ids_of(source)) == 3
    assert "s3cr" not in source.name
    source.close()
    in_query = open_source(guarded.replace(":s3cr'et/#?%25:\\@", "@") + "?password=s3cr'et/%23?%25:\\")
    assert "s3cr" not in in_query.name
    in_query.close()
    filled[0].execute(f"REVOKE SELECT ON metrics FROM {GUARDED}")
    with pytest.raises(SourceError, match="permission denied for table metrics") as error:
        open_source(guarded).fingerprints()
    assert "s3cr" not in str(error.value)


def test_stores_that_cannot_be_read_are_one_clear_line_each(guarded: str, database: Database) -> None:
    port = free_port()
    cases = {
        guarded.replace("s3cr'et", "s3cr-wrong"): "password authentication failed",
        f"postgresql://me:s3cret@127.0.0.1:{port}/db": "Cannot read runs .*Connection refused",
        "postgresql://me:s3cret@127.0.0.1:port/db": "cannot be understood",
        "postgresql://me:p@s3cret@127.0.0.1/db": "more than one @",
        "postgresql://me:p@a/s3cret@127.0.0.1/db": "more than one @",
        "postgresql://me:s3cret@127.0.0.1/db?foo=1": "invalid connection option",
        guarded.replace("/filled", "/nowhere"): 'database "nowhere" does not exist',
        database.create("empty"): "no MLflow store",
    }
    for uri, message in cases.items():
        with pytest.raises(SourceError, match=message) as error:
            open_source(uri)
        assert "\n" not in str(error.value)
        assert "s3cr" not in str(error.value)
        assert error.value.__cause__ is None


def test_a_statement_that_the_server_ends_is_a_clear_error(postgres_store: Store) -> None:
    source = open_source(f"{postgres_store.uri}?options=-clock_timeout%3D100")
    with psycopg.connect(postgres_store.uri.replace("+psycopg", "")) as migration:
        migration.execute("LOCK TABLE metrics")
        with pytest.raises(SourceError, match="canceling statement due to lock timeout"):
            source.fingerprints()
    source.close()


def test_without_the_package_it_says_what_to_install() -> None:
    script = """
import sys
sys.modules["adbc_driver_postgresql"] = None
from hpkb.sources import open_source
try:
    open_source("postgresql://h/d")
except Exception as error:
    print(type(error).__name__, error)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("SourceError Reading PostgreSQL needs")
    assert "pip install 'hpkb[postgres]'" in ran.stdout


def test_memory_is_that_of_a_batch(postgres_store: Store) -> None:
    run = postgres_store.run("a", 200_000)
    once = _peak_mib(postgres_store)
    postgres_store.points(run, "loss", 400_000, first=200_000)
    assert _peak_mib(postgres_store) < once + 12  # the points more are 27 MiB in Arrow


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
