"""Prints how fast a store of runs is read, beside the plain ways to read it, and what memory that takes.

    python bench/ingest.py --sqlite --postgres --mysql [--runs 200] [--rounds 3]

The store has so many runs of 10 params and 5 metrics of 1,000 steps each, made by SQL in MLflow's own tables. SQLite is
read by a plain `sqlite3` cursor into Arrow, by hpkb's source, and brought into a knowledge base; PostgreSQL and MySQL,
servers made for the purpose (the latter a MariaDB, read by pandas through PyMySQL), by `pandas.read_sql`, by hpkb's
source, and brought into a knowledge base.

Every reading is a process of its own, its time taken from after the imports; the ways take turns, and the median over
the rounds is shown. Memory is the most that the process has held, less what it held before it read.
"""

from __future__ import annotations

import argparse
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


WAYS = {
    "cursor": ("sqlite3 cursor into Arrow", by_cursor), "pandas": ("pandas.read_sql", by_pandas),
    "source": ("hpkb's source", by_source), "ingest": ("hpkb's whole ingest", into_knowledge_base),
}  # fmt: skip


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--mysql", action="store_true")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)  # one reading, for a process of its own
    given = parser.parse_args()
    if given.read:
        print(*measured(*given.read))
        return
    if given.sqlite:
        with tempfile.TemporaryDirectory() as folder:
            show("SQLite", sqlite_store(Path(folder), given.runs), ("cursor", "source", "ingest"), given.rounds)
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
    """Prints a table of the ways, the first of them being what the others are compared with."""
    found: dict[str, list[list[float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            command = [sys.executable, __file__, "--read", way, uri]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            found[way].append([float(word) for word in ran.stdout.split()])
    first = statistics.median(seconds for _, seconds, _ in found[ways[0]])
    print(f"{kind}, {int(found[ways[0]][0][0]):,} points, median of {rounds}")
    for way in ways:
        points, seconds, memory = (statistics.median(column) for column in zip(*found[way], strict=True))
        slowest = max(s for _, s, _ in found[way])
        print(
            f"  {WAYS[way][0]:28}{seconds:8.2f} s (slowest {slowest:.2f}){first / seconds:8.1f} times as fast"
            f"{points / seconds:14,.0f} points/s{memory:8,.0f} MiB"
        )


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
        "experiments (name, lifecycle_stage)": "SELECT 'bench', 'active'",
        "runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, experiment_id)":
            f"SELECT {run_id}, 'run', 'FINISHED', 1, 2, 'active', (SELECT max(experiment_id) FROM experiments) FROM r",
        'params (run_uuid, "key", value)':
            f"SELECT {run_id}, 'param_' || p.i, CAST({noise} AS varchar(20)) FROM r CROSS JOIN p",
        f"metrics {columns}": points,
        f"latest_metrics {columns}": f"{points} WHERE s.i = {N_STEPS - 1}",
    }  # fmt: skip


if __name__ == "__main__":
    main()
