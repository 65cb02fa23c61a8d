"""Prints how fast a store of runs is read, beside the plain ways to read it, and what memory that takes.

    python bench/ingest.py --sqlite [--postgres --mysql --http --memory --again] [--runs 2000] [--rounds 3]

The store has so many runs of 10 params and 5 metrics of 1,000 steps each, made by SQL in MLflow's own tables.

--sqlite    a plain `sqlite3` cursor into Arrow; hpkb's source; the whole ingest into a knowledge base; the features
            of its curves alone; and the size of the knowledge base
--client    MLflow's client, the histories of 40 runs one by one, and hpkb's source; both by the point
--postgres  `pandas.read_sql`, hpkb's source and the whole ingest, from a server made for the purpose
--mysql     the same from a MariaDB, read by pandas through PyMySQL
--http      a `mlflow server`: `get_metric_history` of 40 runs one by one, hpkb's source with one request at a time and
            with eight
--memory    the whole ingest of a tenth of the runs, of three tenths, and of all
--again     `hpkb analyze` for the first time, again, and after ten new runs; and the ingest alone after ten more

Every reading is a process of its own, its time taken from after the imports (but all of it where it is `hpkb analyze`);
the ways take turns, and the median over the rounds is shown. Memory is the most that the process has held, less what
it held before it read.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

N_STEPS, METRICS, N_PARAMS = 1_000, ("train_loss", "val_loss", "val_accuracy", "learning_rate", "grad_norm"), 10
SAMPLE = 40  # runs that are read one by one
RUN_COLUMNS = ("name, status, start_time, end_time, lifecycle_stage, source_type, user_id, artifact_uri, "
               "experiment_id")  # fmt: skip
POINTS = "SELECT m.run_uuid, m.key, m.step, m.timestamp, m.value, m.is_nan FROM metrics m"


def by_cursor(uri: str) -> Callable[[], int]:
    """A plain `sqlite3` cursor, 100,000 rows at a time into Arrow."""
    import pyarrow as pa

    def read() -> int:
        parts = []
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
            cursor = database.execute(POINTS)
            while rows := cursor.fetchmany(100_000):
                parts.append(pa.table([pa.array(column) for column in zip(*rows, strict=True)], list("rkstvn")))
        return sum(part.num_rows for part in parts)

    return read


def by_pandas(uri: str) -> Callable[[], int]:
    """`pandas.read_sql` through SQLAlchemy."""
    import pandas
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    return lambda: len(pandas.read_sql(POINTS, engine))


def by_source(uri: str) -> Callable[[], int]:
    """hpkb's source: fingerprints, then all points."""
    from hpkb.sources import open_source

    source = open_source(uri)
    return lambda: sum(b.num_rows for b in source.curves(source.fingerprints()["run_id"].combine_chunks()))


def into_knowledge_base(uri: str) -> Callable[[], int]:
    """The whole ingest of `hpkb analyze`, curve features and outcomes as well."""
    from hpkb.kb import ingest_into
    from hpkb.sources import open_source

    source = open_source(uri)

    def read() -> int:
        with tempfile.TemporaryDirectory() as folder:
            return ingest_into(Path(folder) / "kb.duckdb", source).points

    return read


def by_client(uri: str) -> Callable[[], int]:
    """MLflow's client: every metric of some runs, one request or query each."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=SAMPLE)
    ids = [run.info.run_id for run in runs]
    client.get_metric_history(ids[0], METRICS[0])  # the first costs more
    return lambda: sum(len(client.get_metric_history(run_id, metric)) for run_id in ids for metric in METRICS)


def by_source_one_request_at_a_time(uri: str) -> Callable[[], int]:
    """hpkb's source of a server, without anything in parallel."""
    from hpkb.sources.mlflow_http import MlflowHttp

    source = MlflowHttp(uri, threads=1)
    return lambda: sum(b.num_rows for b in source.curves(source.fingerprints()["run_id"].combine_chunks()))


def by_features(uri: str) -> Callable[[], int]:
    """The features of all curves, when their points are in the knowledge base and nothing else is going on."""
    from hpkb.kb.curve_features import add_features
    from hpkb.kb.curves import add_curves
    from hpkb.kb.store import connect
    from hpkb.sources import open_source

    source = open_source(uri)
    connection = connect(Path(tempfile.mkdtemp(dir=Path(uri.removeprefix("sqlite:///")).parent)) / "kb.duckdb", False)
    slices = list(add_curves(connection, source.curves(source.fingerprints()["run_id"].combine_chunks())))

    def read() -> int:
        for part in slices:
            add_features(connection, part)
        return sum(part.points for part in slices)

    return read


WAYS = {
    "cursor": ("sqlite3 cursor into Arrow", by_cursor), "pandas": ("pandas.read_sql", by_pandas),
    "source": ("hpkb's source", by_source), "ingest": ("hpkb's whole ingest", into_knowledge_base),
    "features": ("curve features alone", by_features), "client": (f"MLflow's client, {SAMPLE} runs", by_client),
    "alone": ("hpkb's source, 1 request", by_source_one_request_at_a_time),
}  # fmt: skip


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sqlite", "client", "postgres", "mysql", "http", "memory", "again"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)  # one reading, for a process of its own
    given = parser.parse_args()
    if given.read:
        print(*measured(*given.read))
        return
    if given.sqlite or given.client or given.http or given.again:
        with tempfile.TemporaryDirectory() as folder:
            uri = sqlite_store(Path(folder), given.runs)
            if given.sqlite:
                show("SQLite", uri, ("cursor", "source", "ingest", "features"), given.rounds)
                show_size(Path(folder))
            if given.client:
                show("SQLite", uri, ("client", "source"), given.rounds)
            if given.http:
                show_http(uri, Path(folder), given.rounds)
            if given.again:
                show_again(Path(folder))
    if given.memory:
        for share in (10, 3, 1):
            with tempfile.TemporaryDirectory() as folder:
                show("SQLite", sqlite_store(Path(folder), given.runs // share), ("ingest",), given.rounds)
    if given.postgres:
        with ExitStack() as stack:
            show("PostgreSQL", postgres_store(stack, given.runs), ("pandas", "source", "ingest"), given.rounds)
    if given.mysql:
        with ExitStack() as stack:
            show("MySQL", mysql_store(stack, given.runs), ("pandas", "source", "ingest"), given.rounds)


def measured(way: str, uri: str) -> tuple[int, float, float]:
    """Returns the points that were read, the seconds it took and the MiB it took."""
    read = WAYS[way][1](uri)
    before, start = peak_mib(), time.perf_counter()
    n = read()
    seconds = time.perf_counter() - start
    return n, seconds, peak_mib() - before


def peak_mib() -> float:
    """The most memory that this process has held; getrusage would count what its parent held as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def show(kind: str, uri: str, ways: tuple[str, ...], rounds: int) -> None:
    """Prints a table of the ways, the first of them being what the others are compared with, by the point."""
    found: dict[str, list[list[float]]] = {way: [] for way in ways}
    # what the shipper sets for its own requests, once a store has been made by it
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_HTTP_")}
    for _ in range(rounds):
        for way in ways:
            command = [sys.executable, __file__, "--read", way, uri]
            ran = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
            found[way].append([float(word) for word in ran.stdout.split()])
    print(f"{kind}, {max(int(rows[0][0]) for rows in found.values()):,} points, median of {rounds}")
    first = None
    for way in ways:
        points, seconds, memory = (statistics.median(column) for column in zip(*found[way], strict=True))
        slowest = max(s for _, s, _ in found[way])
        first = first or points / seconds
        print(
            f"  {WAYS[way][0]:28}{seconds:8.2f} s (slowest {slowest:.2f}){points / seconds / first:8.1f} times as fast"
            f"{points / seconds:14,.0f} points/s{memory:8,.0f} MiB",
            flush=True,
        )


def show_size(folder: Path) -> None:
    """Prints the sizes of the store and of the knowledge base made of it."""
    from hpkb.kb import ingest_into
    from hpkb.sources import open_source

    store, kb = folder / "mlflow.db", folder / "size.duckdb"
    ingest_into(kb, open_source(f"sqlite:///{store}"))
    mb, kb_mb = store.stat().st_size / 1e6, kb.stat().st_size / 1e6
    print(f"  store {mb:,.0f} MB, knowledge base {kb_mb:,.0f} MB: 1/{mb / kb_mb:.0f}", flush=True)


def show_http(uri: str, folder: Path, rounds: int) -> None:
    """Serves the store, and prints how fast that is read."""
    from tests.faults.servers import Server
    from tests.postgres import free_port

    server = Server(uri, folder, free_port())
    server.start()
    try:
        show("mlflow server", server.address, ("client", "alone", "source"), rounds)
    finally:
        server.kill()


def show_again(folder: Path) -> None:
    """Prints the time of one analysis after the other of a store that grows."""
    from hpkb.kb import ingest_into
    from hpkb.sources import open_source

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    analyze = [sys.executable, "-m", "hpkb", "analyze", "--tracking-uri", uri, "--kb", "again.duckdb"]

    def timed(what: str, read: Callable[[], object]) -> None:
        start = time.perf_counter()
        read()
        print(f"  {what:42}{time.perf_counter() - start:8.2f} s", flush=True)

    def command() -> object:
        return subprocess.run(analyze, cwd=folder, check=True, capture_output=True)

    print("hpkb analyze", flush=True)
    timed("for the first time", command)
    for _ in range(3):
        timed("again, nothing having changed", command)
    add_runs(folder / "mlflow.db")
    timed("after 10 new runs, mining them included", command)
    for _ in range(3):
        add_runs(folder / "mlflow.db")
        timed("the ingest alone after 10 new runs", lambda: ingest_into(folder / "again.duckdb", open_source(uri)))


def add_runs(file: Path, n: int = 10) -> None:
    """Adds runs that are copies of the first ones but for their names, a param and their points' values."""
    with closing(sqlite3.connect(file)) as database, database:
        (known,) = database.execute("SELECT count(*) FROM runs").fetchone()
        for i in range(n):
            old, new = f"{i:032x}", f"{known + i:032x}"
            database.execute(f"INSERT INTO runs (run_uuid, {RUN_COLUMNS}) SELECT ?, {RUN_COLUMNS} FROM runs "
                             "WHERE run_uuid = ?", (new, old))  # fmt: skip
            database.execute(f"INSERT INTO params SELECT \"key\", value || '{i % 9 + 1}', ? FROM params "
                             "WHERE run_uuid = ?", (new, old))  # fmt: skip
            for table in ("metrics", "latest_metrics"):
                columns = '"key", step, timestamp, is_nan'
                database.execute(f"INSERT INTO {table} (run_uuid, value, {columns}) SELECT ?, value * 0.99, {columns} "
                                 f"FROM {table} WHERE run_uuid = ?", (new, old))  # fmt: skip


def sqlite_store(folder: Path, runs: int) -> str:
    """Makes the store in a SQLite file; returns its URI."""
    from hpkb.ship.schema import ensure_store

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    ensure_store(uri)
    series = "WITH RECURSIVE {0}(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM {0} WHERE i < {1} - 1) "
    noise = "(abs(random()) % 1000000) / 1e6"
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        for table, sql in _rows(noise, "printf('%032x', r.i)").items():
            names = series.format("r", runs).rstrip()
            names += series.format(", s", N_STEPS).replace("WITH RECURSIVE ", "").replace("FROM , s", "FROM s")
            names += series.format(", p", N_PARAMS).replace("WITH RECURSIVE ", "").replace("FROM , p", "FROM p")
            names += f", k(i, key) AS (VALUES {_metrics()}) "
            database.execute(f"{names} INSERT INTO {table} {sql}")
    return uri


def postgres_store(stack: ExitStack, runs: int) -> str:
    """Makes a server with the store; returns its URI."""
    import psycopg

    from hpkb.ship.schema import ensure_store
    from tests.postgres import Database, free_port

    uri = stack.enter_context(Database(free_port())).create("bench")
    ensure_store(uri)
    series = "{0}(i) AS MATERIALIZED (SELECT generate_series(0, {1} - 1))"
    names = ", ".join(series.format(*pair) for pair in (("r", runs), ("s", N_STEPS), ("p", N_PARAMS)))
    with psycopg.connect(uri.replace("+psycopg", ""), autocommit=True) as database:
        for table, sql in _rows("random()", "lpad(to_hex(r.i), 32, '0')").items():
            database.execute(f"WITH {names}, k(i, key) AS (VALUES {_metrics()}) INSERT INTO {table} {sql}")
            database.execute(f"VACUUM ANALYZE {table.partition(' ')[0]}")  # or the server does it meanwhile
    return uri


def mysql_store(stack: ExitStack, runs: int) -> str:
    """Makes a server with the store; returns its URI."""
    from hpkb.ship.client import MlflowClient
    from tests.mysql import MysqlServer
    from tests.postgres import free_port

    server = stack.enter_context(MysqlServer(free_port()))
    uri = server.create("bench")
    MlflowClient(uri).search_experiments()
    names = ", ".join(f"{name}(i) AS (SELECT seq FROM seq_0_to_{n - 1})" for name, n in
                      (("r", runs), ("s", N_STEPS), ("p", N_PARAMS)))  # fmt: skip
    with server.connect("bench") as database, database.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ANSI'")  # "a name", and || for texts
        for table, sql in _rows("rand()", "lpad(hex(r.i), 32, '0')").items():
            sql = sql.replace("varchar", "char")
            cursor.execute(f'INSERT INTO {table} WITH {names}, k(i, "key") AS (VALUES {_metrics()}) {sql}')
            cursor.execute(f"ANALYZE TABLE {table.partition(' ')[0]}")
    return uri


def _metrics() -> str:
    return ", ".join(f"({i}, '{name}')" for i, name in enumerate(METRICS))


def _rows(noise: str, run_id: str) -> dict[str, str]:
    """What goes into each table, in SQL that all databases understand; r are the runs, s the steps, k the metrics."""
    value = f"exp(-s.i / 500.0) + 0.1 * {noise}"
    time_ = "1700000000000 + r.i * 1000000 + s.i * 100"
    points = f"SELECT {run_id}, k.key, s.i, {time_}, {value}, false FROM r CROSS JOIN s CROSS JOIN k"
    columns = '(run_uuid, "key", step, timestamp, value, is_nan)'
    return {
        "experiments (name, artifact_location, lifecycle_stage)": "SELECT 'bench', 'mlflow-artifacts:/bench', 'active'",
        f"runs (run_uuid, {RUN_COLUMNS})":
            f"SELECT {run_id}, 'run', 'FINISHED', 1, 2, 'active', 'LOCAL', 'me', 'mlflow-artifacts:/bench/run', "
            "(SELECT max(experiment_id) FROM experiments) FROM r",
        'params (run_uuid, "key", value)':
            f"SELECT {run_id}, 'param_' || p.i, CAST({noise} AS varchar(20)) FROM r CROSS JOIN p",
        f"metrics {columns}": points,
        f"latest_metrics {columns}": f"{points} WHERE s.i = {N_STEPS - 1}",
    }  # fmt: skip


if __name__ == "__main__":
    main()
