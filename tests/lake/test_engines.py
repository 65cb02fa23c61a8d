"""One result whatever the engine: processes, Ray on this machine, a Ray cluster; a store, a lake in a bucket."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hpkb.engine import Engine, engine_of
from hpkb.errors import HpkbError, SourceError, UsageError
from hpkb.kb.knowledge import KnowledgeBase
from hpkb.lake.compaction import compact
from hpkb.lake.sync import sync
from hpkb.pages import write_handbook
from hpkb.pipeline import AnalysisSettings, analyze_store
from hpkb.sources import open_source
from tests.kb.database_store import COPIED
from tests.kb.rawstore import RawStore
from tests.lake import jobs
from tests.lake.conftest import add_run, analyzed, found, known
from tests.postgres import Database

ENGINES = ("local", "local 2", "ray", "cluster")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of a prefix on a real S3-compatible server, which the processes of a cluster find as well."""
    boto3 = pytest.importorskip("boto3", reason="boto3 (moto's server) is not installed")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": f"http://{host}:{port}",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        boto3.client("s3", endpoint_url=settings["MLFLOW_S3_ENDPOINT_URL"]).create_bucket(Bucket="group")
        yield "s3://group/a lake"
        server.stop()


@pytest.fixture(scope="module")
def started(bucket: str) -> Iterator[Any]:
    """A cluster that is started once."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hpkb[ray]'")
    from tests.lake.cluster import RayCluster

    with RayCluster() as running:
        yield running


@pytest.fixture
def cluster(started: Any) -> Any:
    """A cluster of three nodes."""
    return started.whole()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    name, _, workers = request.param.partition(" ")
    if name != "local":
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'hpkb[ray]'")
    address = request.getfixturevalue("cluster").address if name == "cluster" else name
    with engine_of(address, int(workers or 1)) as running:
        yield running


def test_what_every_engine_does(engine: Engine) -> None:
    """Results in the order of the jobs, errors as they were raised, one thread, jobs made as they are needed."""
    assert list(engine.map(jobs.double, ((n,) for n in range(12)))) == [2 * n for n in range(12)]
    assert list(engine.map(jobs.double, [])) == []
    results = engine.map(jobs.fail, ((n,) for n in range(4)))
    assert next(results) == 0
    with pytest.raises(SourceError, match="no 1"):
        next(results)
    assert list(engine.map(jobs.threads, [(), ()])) == [{1}, {1}]
    made = []
    waiting = ((made.append(n) or n,) for n in range(1000))  # type: ignore[func-returns-value]
    assert next(engine.map(jobs.double, waiting)) == 0
    assert len(made) <= 31 * engine.parallel


def test_a_long_job_does_not_hold_up_the_others() -> None:
    made: list[float] = []

    def waiting() -> Iterator[tuple[int]]:
        for number in range(14):
            made.append(time.monotonic())
            yield (number,)

    with engine_of("local", 2) as engine:
        assert list(engine.map(jobs.double, [(5,), (5,)])) == [10, 10]  # the processes are there
        assert list(engine.map(jobs.slow_first, waiting())) == list(range(14))
    assert made[-1] - made[0] < 1.5  # all were begun while the first went on


def test_the_job_of_a_killed_process_is_done_again(tmp_path: Path) -> None:
    with engine_of("local", 2) as engine:
        assert list(engine.map(jobs.dies, ((str(tmp_path), n, 1) for n in range(8)))) == list(range(8))


def test_a_job_that_kills_each_process_is_given_up(tmp_path: Path) -> None:
    with engine_of("local", 2) as engine, pytest.raises(HpkbError, match="Try: --workers 1"):
        list(engine.map(jobs.dies, ((str(tmp_path), n, 99) for n in range(8))))


def test_the_job_of_a_lost_node_is_done_again(cluster: Any, tmp_path: Path) -> None:
    with engine_of(cluster.address) as engine:
        results = engine.map(jobs.told, ((str(tmp_path), n, 8.0) for n in range(3)))
        killer = threading.Thread(target=_kill_when, args=(cluster, tmp_path, 3))
        killer.start()
        assert list(results) == [0, 1, 2]
        killer.join()
    begun = Counter(file.name.partition("-")[0] for file in tmp_path.iterdir())
    assert sum(begun.values()) == 4, begun


def _kill_when(cluster: Any, folder: Path, begun: int) -> None:
    while len(list(folder.iterdir())) < begun:
        time.sleep(0.05)
    cluster.kill_one()


def test_unknown_engines() -> None:
    for address in ("spark", "ray://", "dask://host:1"):
        with pytest.raises(UsageError, match=f"No engine '{address}'"), engine_of(address):
            pass


def test_nobody_answers() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hpkb[ray]'")
    with (
        pytest.raises(UsageError, match=r"No Ray cluster at ray://127\.0\.0\.1:9"),
        engine_of("ray://127.0.0.1:9"),
    ):
        pass


@pytest.fixture
def in_postgresql(database: Database, swept: RawStore) -> str:
    """The store in a PostgreSQL server."""
    import psycopg

    from hpkb.ship.store import ensure_store

    uri = database.create("swept")
    ensure_store(uri)
    with psycopg.connect(uri.replace("+psycopg", ""), autocommit=True) as connection:
        kinds = dict(connection.execute(
            "SELECT table_name || '.' || column_name, data_type FROM information_schema.columns"
        ).fetchall())  # fmt: skip
        for table in COPIED:
            names = [str(row[1]) for row in swept.execute(f"PRAGMA table_info({table})")]
            marks = ", ".join(
                "CAST(CAST(%s AS integer) AS boolean)" if kinds.get(f"{table}.{name}") == "boolean" else "%s"
                for name in names
            )
            columns = ", ".join(f'"{name}"' for name in names)
            connection.cursor().executemany(
                f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING",
                [tuple(row) for row in swept.execute(f"SELECT {columns} FROM {table}")],
            )
    return uri


def test_a_cluster_finds_the_same_in_postgresql_and_in_a_bucket(
    bucket: str, cluster: Any, in_postgresql: str, direct: Path, tmp_path: Path
) -> None:
    analyzed(in_postgresql, tmp_path / "store.duckdb", engine=cluster.address)
    assert known(tmp_path / "store.duckdb") == known(direct)
    assert found(tmp_path / "store.duckdb") == found(direct)
    with engine_of(cluster.address) as engine:
        sync(bucket, partial(open_source, in_postgresql), engine)
    analyzed(bucket, tmp_path / "lake.duckdb", engine=cluster.address)
    assert known(tmp_path / "lake.duckdb") == known(direct)
    assert found(tmp_path / "lake.duckdb") == found(direct)
    assert pages(tmp_path / "lake.duckdb", tmp_path / "a") == pages(tmp_path / "store.duckdb", tmp_path / "b")


def pages(kb: Path, folder: Path) -> dict[str, bytes]:
    """The pages of the handbook, but for the one that lists what was read."""
    with KnowledgeBase.open(kb) as base:
        write_handbook(base.connection, folder)
    files = (file for file in sorted(folder.rglob("*.html")) if file.name != "about.html")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_bucket_that_is_compacted_and_changed(bucket: str, swept: RawStore, tmp_path: Path) -> None:
    lake = f"{bucket}, changed"
    opener = partial(open_source, swept.uri)
    with engine_of() as engine:
        sync(lake, opener, engine)
        import numpy as np

        add_run(swept, "alpha", 31, np.random.default_rng(4))
        assert sync(lake, opener, engine).new == 1
        assert compact(lake, engine, older_than=0).deleted > 0
    analyzed(lake, tmp_path / "over.duckdb")
    analyzed(swept.uri, tmp_path / "direct.duckdb")
    assert known(tmp_path / "over.duckdb") == known(tmp_path / "direct.duckdb")
    assert found(tmp_path / "over.duckdb") == found(tmp_path / "direct.duckdb")


def test_a_node_killed_in_the_middle_changes_nothing(
    cluster: Any, swept: RawStore, direct: Path, tmp_path: Path
) -> None:
    killed = threading.Event()

    def kill() -> None:
        cluster.kill_one()
        killed.set()

    def say(stage: str) -> None:
        if stage == "mining":  # three tasks on three nodes, of some seconds each
            threading.Timer(2.0, kill).start()

    analyze_store(AnalysisSettings(swept.uri, tmp_path / "hpkb.duckdb", engine=cluster.address), say)
    assert killed.is_set()
    assert found(tmp_path / "hpkb.duckdb") == found(direct)


def test_ray_is_imported_only_when_asked_for() -> None:
    import subprocess
    import sys

    script = (
        "import sys; from hpkb.cli import cli; import hpkb.pipeline, hpkb.engine.local, hpkb.sources.lake\n"
        "print([name for name in ('ray', 'fsspec', 's3fs', 'polars') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout == "[]\n", done.stderr
