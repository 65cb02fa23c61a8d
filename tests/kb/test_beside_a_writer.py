"""A reader and a writer in another process at work on one SQLite store: neither is disturbed in 1,000 rounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from hpkb.sources import Source, open_source, sqlite_file
from tests.kb.rawstore import RawStore

ANEW = 50  # every so many rounds the store is opened anew, and its runs compared
WINDOW = 400  # rows, so that a reading of this small store takes several

# What `MlflowClient.log_metric`, `log_batch` and `set_tag` do, until the file says that it is enough. Whatever goes
# wrong for the writer ("database is locked") ends it with a traceback.
MLFLOW = """
import json, os, sys, time
from mlflow import MlflowClient
from mlflow.entities import Metric
uri, run, enough = sys.argv[1:]
client, step = MlflowClient(uri), 0
client.log_metric(run, "live", 0.0, 1, step)
print("writing", flush=True)
while not os.path.exists(enough):
    if step % 10:
        step += 1
        client.log_metric(run, "live", 1.0, 1, step)
    else:
        client.log_batch(run, [Metric("live", 1.0, 1, step + i) for i in range(1, 12)])
        step += 11
        client.set_tag(run, "hpkb.hw.step", str(step))
print(json.dumps(step + 1))
"""

# The transaction of `log_metric` as SQLAlchemy sends it, with next to nothing between two of them: the lock is hardly
# ever free.
PLAIN = """
import json, os, sqlite3, sys, time
uri, run, enough = sys.argv[1:]
database = sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=20, isolation_level=None)
step = 0
while not os.path.exists(enough):
    database.execute("BEGIN")
    database.execute("SELECT * FROM runs WHERE run_uuid = ?", (run,)).fetchall()
    row = ("live", 1.0, 1, step, 0, run)
    database.execute("INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?,?,?,?,?,?)", row)
    database.execute("SELECT * FROM latest_metrics WHERE run_uuid = ? AND key = 'live'", (run,)).fetchall()
    latest = "INSERT OR REPLACE INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"
    database.execute(latest + " VALUES (?, ?, ?, ?, ?, ?)", row)
    database.execute("COMMIT")
    if not step:
        print("writing", flush=True)
    step += 1
    time.sleep(0.001)
print(json.dumps(step))
"""


class Writer:
    """A process that writes into a run. `written`, the number of its points, is known when it has ended."""

    written = 0

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process


@contextmanager
def writing(script: str, store: RawStore, run: str, enough: Path) -> Iterator[Writer]:
    """Lets the script write until the block ends; raises AssertionError where anything went wrong for it."""
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", script, store.uri, run, str(enough)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "writing\n"
            writer = Writer(process)
            yield writer
            assert process.poll() is None, "the writer gave up"
        finally:
            enough.touch()
            rest, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "locked" not in errors
    writer.written = json.loads(rest)


def steps_of(source: Source, ids: pa.Array) -> list[int]:
    batches = [batch.filter(pa.compute.field("metric") == "live") for batch in source.curves(ids)]
    return sorted(step for batch in batches for step in batch["step"].to_pylist())


@pytest.mark.parametrize(
    ("script", "journal", "rounds"), [(MLFLOW, "delete", 1_000), (MLFLOW, "wal", 1_000), (PLAIN, "delete", 100)],
    ids=["mlflow", "mlflow-wal", "plain"],
)
def test_neither_disturbs_the_other(
    store: RawStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, journal: str, rounds: int
) -> None:
    monkeypatch.setattr(sqlite_file, "WINDOW", WINDOW)
    store.run("a", {"lr": 0.1}, {"val_loss": [0.5] * 1_000})
    run = store.run("a", {"lr": 0.2}, status="RUNNING")
    store.execute(f"PRAGMA journal_mode = {journal}")
    seen: list[int] = []
    with writing(script, store, run, tmp_path / "enough") as writer:
        for number in range(rounds):
            if number % ANEW == 0:
                source = open_source(store.uri)
                ids = source.fingerprints()["run_id"].combine_chunks()
            steps = steps_of(source, ids)
            assert steps == list(range(len(steps))), "a point is missing or torn"
            seen.append(len(steps))
    assert seen == sorted(seen)
    assert seen[-1] > seen[0], "nothing was written while it was read"
    (kept,) = store.execute("SELECT count(*), count(DISTINCT step) FROM metrics WHERE key = 'live'")
    assert kept == (writer.written, writer.written)
    assert steps_of(open_source(store.uri), ids) == list(range(writer.written))
