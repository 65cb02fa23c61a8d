"""SQLite stores in WAL mode whose writer was killed: what it committed is read, and nothing beside them changes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hpkb.errors import SourceError
from hpkb.sources import open_source, sqlite_file
from tests.kb.rawstore import RawStore

_KILLED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode = wal")
insert = "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('live', 1.0, 1, ?, ?, 0)"
for step in range(100):
    database.execute(insert, (sys.argv[2], step))
os._exit(9)
"""


@pytest.fixture
def left(store: RawStore, tmp_path: Path) -> Path:
    """A store with a `-wal` and a `-shm` that its writer left, alone in a folder."""
    folder = tmp_path / "left behind"
    folder.mkdir()
    path = shutil.copy(store.path, folder)
    run = RawStore(Path(path)).run("a", {"lr": 0.1}, {"val_loss": [0.5] * 10})
    subprocess.run([sys.executable, "-c", _KILLED, path, run], check=False)
    assert {file.name for file in folder.iterdir()} == {"mlflow.db", "mlflow.db-wal", "mlflow.db-shm"}
    return folder


def state(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    paths = [folder, *folder.iterdir()]
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in paths}


def number_of_points(folder: Path) -> int:
    with closing(open_source(str(folder / "mlflow.db"))) as source:
        ids = source.fingerprints()["run_id"].combine_chunks()
        return sum(batch.num_rows for batch in source.curves(ids))


@pytest.mark.parametrize("beside", ["wal and shm", "wal"])
@pytest.mark.parametrize("mode", [0o700, 0o500])
def test_what_a_killed_writer_left_is_read_and_stays(left: Path, beside: str, mode: int) -> None:
    if beside == "wal":  # as in a copy made with `cp mlflow.db mlflow.db-wal`
        (left / "mlflow.db-shm").unlink()
    for file in left.iterdir():
        file.chmod(mode & 0o600)
    left.chmod(mode)
    before = state(left)
    try:
        assert number_of_points(left) == 110
        assert state(left) == before
    finally:
        left.chmod(0o700)


def test_a_writer_beside_which_it_is_opened(left: Path) -> None:
    """It recovers the log and goes on; what it commits is seen."""
    store = RawStore(left / "mlflow.db")
    (run,) = store.execute("SELECT run_uuid FROM runs")[0]
    script = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('SELECT * FROM runs').fetchall()"
    command = [sys.executable, "-c", f"{script}; print('open', flush=True); sys.stdin.read()", str(store.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        insert = "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('late', 1.0, 1, ?, 1, 0)"
        other = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None); "
        other += f"d.execute({insert!r}, sys.argv[2:])"
        subprocess.run([sys.executable, "-c", other, str(store.path), str(run)], check=True)
        assert number_of_points(left) == 111
        writer.communicate(timeout=120)


def test_no_room_for_a_copy_is_a_clear_line(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (left / "mlflow.db-shm").unlink()

    def full(path: Path, folder: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sqlite_file, "copy_with_log", full)
    with pytest.raises(SourceError, match="no room to copy both"):
        open_source(str(left / "mlflow.db"))
