"""Values that break readers, from the store to the knowledge base: all come through as they are."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hpkb.kb import connect, ingest_into
from hpkb.sources import Source, open_source
from hpkb.sources.table import Layout, TableSource
from tests.kb.rawstore import RawStore

RUN = "ab" * 16
START = 1_700_000_000_000
EMOJI = "".join(chr(0x1F600 + i % 64) for i in range(6_000))
PARAMS = {
    "lr": "1e400", "select": "None", "quoted": "it's \"so\"", "lines": "a\n\tb\r\nc", "emoji": EMOJI, "empty": "",
    "nan": "nan", "Größe / a.b-c:d": "';DROP TABLE runs;--",
}  # fmt: skip
# Metrics named like words of SQL; step, value as text. A step comes twice, with other values and with the same.
POINTS = {
    "select": [(5, "1.0"), (-2, "nan"), (3, "inf"), (-7, "-inf"), (3, "0.1"), (2**40, "5e-324")],
    "order": [(3, "1.0"), (3, "2.0"), (3, "1.5")],
    "group by": [(0, "1e400"), (1, "-1e400"), (2, "1e308")],
    "table/ä b": [(1, "-1e-300")],
    "val_loss": [(0, "1.0"), (1, "0.5")],
}


def rows() -> list[tuple[str, int, int, float]]:
    """The points as the knowledge base has them; each has a time of its own."""
    numbered = ((metric, i, point) for metric, points in POINTS.items() for i, point in enumerate(points))
    return [(metric, step, START + i, float(text)) for metric, i, (step, text) in numbered]


def sqlite(store: RawStore, folder: Path) -> Source:
    run = store.run("hostile", PARAMS)
    for table in ("runs", "params"):
        store.execute(f"UPDATE {table} SET run_uuid = ? WHERE run_uuid = ?", (RUN, run))
    for metric, step, time, value in rows():
        store.log(RUN, metric, [value], step, time)
    # As text, the way a program without a driver's types would write it.
    for text in ("1e400", "-1e400"):
        sql = "UPDATE metrics SET value = ? WHERE key = 'group by' AND step = ?"
        store.execute(sql, (text, int(text.startswith("-"))))
    return open_source(store.uri)


def files(_: RawStore, folder: Path) -> Source:
    run = folder / "mlruns" / "1" / RUN
    for name in ("params", "metrics/table", "tags"):
        (run / name).mkdir(parents=True)
    (run.parent / "meta.yaml").write_text("experiment_id: '1'\nname: hostile\nlifecycle_stage: active\n")
    status = "status: 3\nstart_time: 1\nend_time: 2\nlifecycle_stage: active\nrun_name: a\n"
    (run / "meta.yaml").write_text(f"run_id: {RUN}\nrun_uuid: {RUN}\nexperiment_id: '1'\n{status}")
    for name, value in PARAMS.items():
        (run / "params" / name).parent.mkdir(parents=True, exist_ok=True)
        (run / "params" / name).write_text(value, "utf-8", newline="")
    for metric, points in POINTS.items():
        lines = [f"{START + i} {text} {step}\n" for i, (step, text) in enumerate(points)]
        (run / "metrics" / metric).write_text("".join(lines), "utf-8")
    return open_source(str(folder / "mlruns"))


def table(_: RawStore, folder: Path) -> Source:
    _write(folder / "runs.csv", [["run_id", *(f"params.{name}" for name in PARAMS)], [RUN, *PARAMS.values()]])
    points = [[RUN, metric, step, text] for metric, found in POINTS.items() for step, text in found]
    _write(folder / "curves.csv", [["run_id", "metric", "step", "value"], *points])
    return TableSource(str(folder / "runs.csv"), Layout(objective="val_loss:min"), folder / "curves.csv")


def _write(file: Path, lines: Sequence[Sequence[Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(lines)


@pytest.mark.parametrize("make", [sqlite, files, table])
def test_all_come_through_as_they_are(make: Any, store: RawStore, tmp_path: Path) -> None:
    ingest_into(tmp_path / "kb.duckdb", make(store, tmp_path))
    with connect(tmp_path / "kb.duckdb", read_only=True) as kb:
        points = kb.sql("SELECT metric, step, epoch_ms(timestamp), value FROM curves").fetchall()
        params = dict(
            kb.sql("SELECT recorded, value_text FROM hyperparameters WHERE origin <> 'derived'").fetchall()
        )
        numbers = kb.sql("SELECT value_number FROM hyperparameters WHERE recorded LIKE '%lr'").fetchall()
    timed = make is not table
    expected = [(m, step, time if timed else None, value) for m, step, time, value in rows()]
    assert sorted(map(repr, points)) == sorted(map(repr, expected))
    found = {name.removeprefix("params."): value for name, value in params.items()}
    # In a table, empty and NaN are the same as nothing, and what is a number has no other text than that.
    in_table = {name: value for name, value in PARAMS.items() if value not in ("", "nan")} | {"lr": "inf"}
    assert found == (PARAMS if timed else in_table)
    assert numbers == [(None,)], "a number that is not finite has its text alone"


@pytest.mark.parametrize("make", [sqlite, files])
def test_a_run_of_them_is_judged_all_the_same(make: Any, store: RawStore, tmp_path: Path) -> None:
    report = ingest_into(tmp_path / "kb.duckdb", make(store, tmp_path))
    assert report.tasks_shown[0].objective == "val_loss:min"
    with connect(tmp_path / "kb.duckdb", read_only=True) as kb:
        last = dict(kb.sql("SELECT metric, last_value FROM curve_features").fetchall())
        objective = kb.sql("SELECT objective_min, infeasible FROM runs").fetchall()
    assert objective == [(0.5, False)]
    assert last["select"] == 5e-324
    assert last["group by"] == 1e308
    assert last["table/ä b"] == -1e-300
