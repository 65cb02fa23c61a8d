"""deploy/compose.yaml: what it says holds together, and its commands run, hosts and ports replaced.

No Docker engine is at hand in the tests. So the commands of its services are taken from the file as Compose would read
them, and run beside a real PostgreSQL and a real S3-compatible server (moto's, in the place of MinIO).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from hpkb.curve_file import FOLDER, NAME
from tests.faults.servers import Server
from tests.faults.truth import Truth
from tests.postgres import GUARDED, Database, free_port
from tests.stores import Hpkb

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")
STEPS = 3000  # of a job: enough for MLflow to get them thinned
RATES = (0.1, 0.2)
JOB = f"""
import math, hpkb
for step in range(1, {STEPS} + 1):
    hpkb.log({{"train_loss": 1 / step, "val_loss": 2 / step}}, step)
"""


def example() -> dict[str, str]:
    """The settings of .env.example."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(value: Any, given: dict[str, str]) -> Any:
    """The document with its variables replaced, as Compose does it."""
    if isinstance(value, dict):
        return {name: filled(part, given) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, given) for part in value]

    def one(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if name is None:
            return "$"
        assert name in given or kind == "-", f"{name} is nowhere set: {rest}"
        return given.get(name) or rest

    return VARIABLE.sub(one, value) if isinstance(value, str) else value


def services(given: dict[str, str] | None = None) -> dict[str, Any]:
    """The services of the compose file."""
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return dict(filled(document, example() if given is None else given)["services"])


def elsewhere(value: Any, hosts: dict[str, str]) -> Any:
    """The command, or the environment, with its hosts and ports replaced by those of the test."""
    if isinstance(value, dict):
        return {name: elsewhere(part, hosts) for name, part in value.items()}
    if isinstance(value, list):
        return [elsewhere(part, hosts) for part in value]
    if not isinstance(value, str):
        return value
    return re.sub("|".join(map(re.escape, hosts)), lambda found: hosts[found[0]], value)


def python(command: list[str]) -> list[str]:
    """The same command with this environment's Python and MLflow."""
    start = {"python": [sys.executable], "mlflow": [sys.executable, "-m", "mlflow"]}[command[0]]
    return [*start, *command[1:]]


def test_what_it_says_holds_together() -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    found = services()
    assert set(found) == {"postgres", "s3", "bucket", "mlflow"}
    for name, service in found.items():
        assert service["logging"]["options"] == {"max-size": "20m", "max-file": "5"}
        assert service["restart"] == ("no" if name == "bucket" else "unless-stopped")
        assert re.fullmatch(r"[\w-]+(/[\w-]+)?:[\w.-]+", service["image"]), "a short name and a version"
        assert name == "bucket" or service["healthcheck"]["test"][0] == "CMD"
        for other in service.get("depends_on", {}):
            assert other in found
    mounted = [volume.partition(":")[0] for service in found.values() for volume in service.get("volumes", [])]
    assert sorted(mounted) == sorted(document["volumes"])


def test_nothing_starts_without_secrets_and_none_are_in_the_repository() -> None:
    for secret in ("POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"):
        assert example()[secret].startswith("replace-me")
        with pytest.raises(AssertionError, match=f"{secret} is nowhere set"):
            services({name: value for name, value in example().items() if name != secret})
    assert "deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()
    assert not any("replace-me" in part for part in services()["mlflow"]["command"])


def test_the_versions_are_those_that_the_tests_run_with() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    installed = re.findall(r'([\w-]+)(?:\[binary\])?==([\w.]+)', (DEPLOY / "Dockerfile").read_text())
    assert {name: pinned[name] for name, _ in installed} == dict(installed)
    assert {services()[name]["image"] for name in ("mlflow", "bucket")} == {f"hpkb-mlflow:{pinned['mlflow']}"}


def test_the_documentation_starts_the_server_with_the_same_options() -> None:
    told = (ROOT / "docs" / "clusters.md").read_text().replace("\\\n", " ")
    [line] = [line for line in told.splitlines() if line.startswith("mlflow server")]
    plain, composed = shlex.split(line), services()["mlflow"]["command"]
    assert [part for part in plain if part.startswith("--")] == [part for part in composed if part.startswith("--")]
    assert plain[-1] == composed[-1]
    pinned = re.search(r"pip install (mlflow==\S+)", told)
    assert pinned is not None
    assert pinned[1] in (DEPLOY / "Dockerfile").read_text()


@pytest.fixture
def s3() -> Iterator[str]:
    """The address of a real S3-compatible server without a bucket."""
    pytest.importorskip("boto3", reason="boto3 (moto's server) is not installed")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def composed(s3: str, database: Database, tmp_path: Path) -> Iterator[tuple[Server, str, dict[str, str]]]:
    """The bucket and the MLflow server as the compose file starts them; with the database's URI and S3's variables."""
    psycopg = pytest.importorskip("psycopg")
    uri, found, port = database.create("composed"), services(), free_port()
    own = uri.partition("@")[2]
    with psycopg.connect(uri.replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{example()['POSTGRES_PASSWORD']}'")
        admin.execute(f"ALTER DATABASE composed OWNER TO {GUARDED}")
    hosts = {"mlflow@postgres:5432/mlflow": f"{GUARDED}@{own}", "s3:9000": s3, "0.0.0.0": "127.0.0.1",
             "localhost:5000": f"127.0.0.1:{port}", "5000": str(port)}  # fmt: skip
    for _ in range(2):  # the second time the bucket is there
        bucket = elsewhere(found["bucket"], hosts)
        subprocess.run(python(bucket["command"]), env=os.environ | bucket["environment"], check=True, timeout=60)
    mlflow = elsewhere(found["mlflow"], hosts)
    server = Server(uri, tmp_path, port, command=python(mlflow["command"]), environment=mlflow["environment"])
    server.start()
    try:
        subprocess.run(python(mlflow["healthcheck"]["test"][1:]), check=True, timeout=30)
        yield server, uri, bucket["environment"]
    finally:
        server.kill()
        with psycopg.connect(uri.replace("+psycopg", ""), autocommit=True) as admin:
            admin.execute("ALTER DATABASE composed OWNER TO hpkb")
            admin.execute(f"REASSIGN OWNED BY {GUARDED} TO hpkb; DROP OWNED BY {GUARDED}; DROP ROLE {GUARDED}")


def test_runs_through_the_composed_server_and_back(
    composed: tuple[Server, str, dict[str, str]], hpkb: Hpkb, tmp_path: Path
) -> None:
    """`hpkb log` through the server, the whole curves in S3, and `hpkb analyze` through the server."""
    server, uri, keys = composed
    for rate in RATES:
        options = ["--tracking-uri", server.address, "--task", "planted", "--param", f"learning_rate={rate}"]
        done = hpkb("log", *options, "--", sys.executable, "-c", JOB)
        assert (done.returncode, done.stderr) == (0, "")
    for run in Truth(uri).runs().values():
        assert run.status == "FINISHED"
        assert 0 < len(run.points) < STEPS, "MLflow has the curve thinned"
    assert whole_curves(keys) == len(RATES)
    done = hpkb("analyze", "--tracking-uri", server.address, "--kb", tmp_path / "kb.duckdb")
    assert done.returncode == 0, done.stderr
    with duckdb.connect(str(tmp_path / "kb.duckdb"), read_only=True) as kb:
        points = kb.sql("SELECT count(*), sum(value) FROM curves WHERE metric = 'train_loss'").fetchall()[0]
    assert points[0] == len(RATES) * STEPS
    assert points[1] == pytest.approx(len(RATES) * sum(1 / step for step in range(1, STEPS + 1)))


def whole_curves(keys: dict[str, str]) -> int:
    """How many files of whole curves lie in the bucket."""
    import boto3

    session = boto3.Session(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    s3 = session.client("s3", endpoint_url=keys["MLFLOW_S3_ENDPOINT_URL"], region_name=keys["AWS_DEFAULT_REGION"])
    listed = s3.list_objects_v2(Bucket="mlflow", Prefix="artifacts/").get("Contents", [])
    return sum(one["Key"].endswith(f"{FOLDER}/{NAME}") for one in listed)
