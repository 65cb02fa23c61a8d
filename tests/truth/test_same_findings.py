"""The same runs say the same, byte for byte: whatever they are called, in whatever order, where and how often read."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import hpkb as package
from tests.stores import Hpkb

#: What stands in the store under a run's name, each with the name's column.
TABLES = {
    "runs": "run_uuid", "metrics": "run_uuid", "latest_metrics": "run_uuid", "params": "run_uuid", "tags": "run_uuid",
}  # fmt: skip


def renamed_and_shuffled(store: Path, path: Path) -> dict[str, str]:
    """Writes the store with other run names and its rows in another order; returns new names by old ones."""
    shutil.copy(store, path)
    rng = random.Random(5)
    with closing(sqlite3.connect(path)) as connection:
        old = [row[0] for row in connection.execute("SELECT run_uuid FROM runs ORDER BY run_uuid")]
        new = {name: f"{rng.getrandbits(128):032x}" for name in old}
        for table, column in TABLES.items():
            cursor = connection.execute(f"SELECT * FROM {table}")
            place = [d[0] for d in cursor.description].index(column)
            rows = [[new[x] if i == place else x for i, x in enumerate(row)] for row in cursor]
            rng.shuffle(rows)
            connection.execute(f"DELETE FROM {table}")
            connection.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
        connection.commit()
    return new


def said(kb: Path, names: dict[str, str]) -> list[tuple[str, str]]:
    """All findings with their figures as they are stored, the runs called by their new names."""
    with package.open(kb) as base:
        found = sorted(base.findings(), key=lambda finding: finding.id)
        rows = [(json.dumps(finding.to_json()), json.dumps(dict(finding.figure))) for finding in found]
        defaults = base.sql("SELECT task, document FROM defaults ORDER BY task").fetchall()
    return [(_called(a, names), _called(b, names)) for a, b in [*rows, *defaults]]


def _called(text: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text


@pytest.mark.timeout(600)
def test_names_order_time_zone_and_a_second_reading_change_nothing(
    planted_store: Path, hpkb: Hpkb, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    names = renamed_and_shuffled(planted_store, other)
    results = [
        hpkb("analyze", "--tracking-uri", f"sqlite:///{store}", "--kb", kb, "--handbook", tmp_path / f"{kb.stem}.pages",
             "--workers", workers, "--seed", 3, TZ=zone)
        for store, kb, zone, workers in (
            (planted_store, tmp_path / "one.duckdb", "UTC", 1),
            (other, tmp_path / "other.duckdb", "Pacific/Auckland", 2),
            (other, tmp_path / "other.duckdb", "America/Caracas", 1),
        )
    ]  # fmt: skip
    assert [r.returncode for r in results] == [0, 0, 0], [r.stderr for r in results]
    first, second = said(tmp_path / "one.duckdb", names), said(tmp_path / "other.duckdb", {})
    assert len(first) > 20
    assert first == second
