"""What is mined anew: the tasks whose runs changed, and all where something changed that concerns them all."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpkb.analysis
from hpkb.corrections import NO_CORRECTIONS, read
from hpkb.findings import Finding
from hpkb.kb import connect
from hpkb.kb.mined import Memory
from hpkb.kb.state import TaskState, task_states
from hpkb.pipeline import AnalysisSettings, analyze_store, import_table
from hpkb.sources.importing import open_import
from hpkb.sources.table import Layout

COLUMNS = ("run", "task", "lr", "weight_decay", "optimizer", "seed", "val_loss")
MINERS = ("design", "divergence", "noise_floor", "response")
TASKS = ("alpha", "beta", "gamma")
Rows = list[dict[str, Any]]


def rows() -> Rows:
    """Three tasks of 34 runs, of which the learning rate decides."""
    return [row for task in TASKS for row in of_task(task)]


def of_task(task: str) -> Iterator[dict[str, Any]]:
    design, noise = np.random.default_rng(3), np.random.default_rng(len(task))
    for i in range(34):
        rate, decay = math.exp(design.uniform(-9, 0)), math.exp(design.uniform(-12, -6))
        loss = 0.3 + 0.05 * (math.log(rate) + 5) ** 2 + noise.normal(0, 0.01)
        yield {
            "run": f"{task}-{i}", "task": task, "lr": f"{rate:.4g}", "weight_decay": f"{decay:.4g}", "seed": i % 2,
            "optimizer": ("AdamW", "SGD")[i % 3 == 0], "val_loss": math.nan if rate > 0.5 else loss,
        }  # fmt: skip


def bring_in(made: Rows, folder: Path, name: str = "sweep.csv", toml: str = "") -> None:
    """Brings the table into the folder's knowledge base in place of what it had from it."""
    with (folder / name).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(made)
    layout = Layout(task_column="task", run_column="run", seed_column="seed", objective="val_loss:min")
    found = open_import(str(folder / name), layout, None)
    corrections = NO_CORRECTIONS
    if toml:
        (folder / "hpkb.toml").write_text(toml)
        corrections = read(folder / "hpkb.toml")
    import_table(found.source, folder / "hpkb.duckdb", found.objective, corrections)


def analyze(folder: Path, **settings: Any) -> None:
    analyze_store(replace(AnalysisSettings(None, folder / "hpkb.duckdb", miners=MINERS), **settings))


def advice(sweeps: Any, task: str | None, **_: Any) -> dict[str, Any]:
    """A recommendation that takes no time."""
    n_runs = sum(sweep.n_runs for sweep in sweeps)
    return {"task": task, "n_runs": n_runs, "configurations": [], "rules": [], "verdict": "insufficient", "reason": ""}


@contextmanager
def quickly() -> Iterator[None]:
    """Choosing defaults and experiments takes most of an analysis, and is none of what is asked in most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpkb.analysis.recommend", advice)
        patch.setattr("hpkb.suggest.plan.suggest_each", lambda *_: iter(()))
        patch.setattr("hpkb.suggest.outline.keep_outlines", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a knowledge base that was analyzed."""
    folder = tmp_path_factory.mktemp("mined")
    bring_in(rows(), folder)
    with quickly():
        analyze(folder)
    return folder


@pytest.fixture
def folder(before: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, of this test's own, with its runs from a table of its own."""
    shutil.copy(before / "hpkb.duckdb", tmp_path / "hpkb.duckdb")
    bring_in(rows(), tmp_path)
    with quickly():
        yield tmp_path


@pytest.fixture
def mined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that are mined, as they are."""
    found: list[str] = []
    real = hpkb.analysis.mine_task

    def counting(sweep: Any, *rest: Any) -> list[Finding]:
        found.append(sweep.task)
        return real(sweep, *rest)

    monkeypatch.setattr(hpkb.analysis, "mine_task", counting)
    return found


def test_runs_that_came_from_elsewhere_are_the_same(folder: Path, mined: list[str]) -> None:
    analyze(folder)
    assert mined == []


def added(made: Rows) -> None:
    made.append({**made[50], "run": "beta-new", "lr": "0.0123"})


def removed(made: Rows) -> None:
    del made[50]


def changed(made: Rows) -> None:
    made[50]["weight_decay"] = "0.00077"


def diverged(made: Rows) -> None:
    made[50]["val_loss"] = math.nan


def renamed(made: Rows) -> None:
    made[50]["run"] = "beta-other"


@pytest.mark.parametrize("change", [added, removed, changed, diverged, renamed])
def test_a_task_is_mined_anew_where_its_runs_changed(
    folder: Path, mined: list[str], change: Callable[[Rows], None]
) -> None:
    made = rows()
    change(made)
    bring_in(made, folder)
    analyze(folder)
    assert mined == ["beta"]
    analyze(folder)
    assert mined == ["beta"]


@pytest.mark.parametrize("other", [{"seed": 1}, {"objective": "val_loss:max"}, {"miners": MINERS[:-1]}])
def test_all_tasks_are_mined_anew_with_other_settings(folder: Path, mined: list[str], other: dict[str, Any]) -> None:
    analyze(folder, **other)
    assert mined == list(TASKS)


def test_all_tasks_are_mined_anew_where_their_names_mean_something_else(folder: Path, mined: list[str]) -> None:
    bring_in(rows(), folder, toml='[[runs]]\nhyperparameters = { lr = "momentum" }\n')
    analyze(folder)
    assert mined == list(TASKS)


@pytest.mark.parametrize("name", ["code_digest", "libraries"])
def test_all_tasks_are_mined_anew_by_other_code(
    folder: Path, mined: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in ("hpkb.kb.mined", "hpkb.pipeline"):
        monkeypatch.setattr(f"{module}.{name}", lambda: "another")
    analyze(folder)
    assert mined == list(TASKS)


def test_a_task_that_is_gone_is_forgotten(folder: Path, mined: list[str]) -> None:
    bring_in([row for row in rows() if row["task"] != "beta"], folder)
    analyze(folder)
    assert mined == []
    with connect(folder / "hpkb.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT DISTINCT task FROM mined ORDER BY 1").fetchall() == [("alpha",), ("gamma",)]


def test_findings_come_back_with_infinities_and_all(tmp_path: Path) -> None:
    finding = Finding(
        "m", "t", ("a",), "q", "“Quoted” — ½", "supported", 1 / 3, -math.inf, math.inf, p_value=0.1, n_runs=2,
        caveats=("x",), run_ids=("r1", "r2"), figure={"points": [{"x": 1, "y": None, "z": 1e-300}]},
    )  # fmt: skip
    document = {"configurations": [{"values": {"learning_rate": 1 / 3, "n": 1}}]}
    with connect(tmp_path / "kb.duckdb") as connection:
        memory = Memory(connection, {"t": TaskState(2, "state")}, (), 0)
        assert memory.with_findings({"t": [finding]}) == {"t": [finding]}
        assert memory.with_defaults({"t": document}) == {"t": document}
        assert (memory.findings(), memory.defaults()) == ({"t": [finding]}, {"t": document})
        other = Memory(connection, {"t": TaskState(2, "state")}, ("importance",), 0)
        assert (other.findings(), other.defaults()) == ({}, {"t": document})


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runs SET objective_min = 7 WHERE run_id = 'beta-3'",
        "UPDATE runs SET infeasible = true WHERE run_id = 'beta-3'",
        "UPDATE runs SET seed = 9 WHERE run_id = 'beta-3'",
        "UPDATE hyperparameters SET value_number = 9 WHERE run_id = 'beta-3' AND name = 'weight_decay'",
        "DELETE FROM hyperparameters WHERE run_id = 'beta-3' AND name = 'weight_decay'",
        "UPDATE curve_features SET tail_mean = 9 WHERE run_id = 'beta-3'",
        "INSERT INTO splits VALUES ('beta-3', 'training', 'd', 7)",
        "INSERT INTO hardware VALUES ('beta-3', 'hpkb.hw.cpu.model', 'another')",
        "UPDATE runs SET task_id = 'beta' WHERE run_id = 'alpha-3'",
    ],
)
def test_the_state_of_a_task_is_all_that_it_is_mined_from(folder: Path, change: str) -> None:
    with connect(folder / "hpkb.duckdb") as connection:
        states = task_states(connection)
        connection.execute("UPDATE runs SET source = 'moved', run_name = 'x'")
        assert task_states(connection) == states
        connection.execute(change)
        after = task_states(connection)
    differ = {task for task in TASKS if states[task] != after[task]}
    assert differ == ({"alpha", "beta"} if "alpha-3" in change else {"beta"})


def everything(path: Path) -> dict[str, list[Any]]:
    """The rows that an analysis leaves, but for what numbers the editions."""
    tables = ("findings", "run_lists", "finding_runs", "defaults", "suggestions", "outlines")
    with connect(path, read_only=True) as connection:
        found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
        found["mined"] = connection.execute("SELECT * FROM mined ORDER BY task, part").fetchall()
        found["meta"] = connection.execute("SELECT * FROM meta WHERE name NOT LIKE 'edition%'").fetchall()
    return {name: sorted(rows, key=str) if name in ("meta", "finding_runs", "outlines") else rows
            for name, rows in found.items()}  # fmt: skip


def test_what_is_remembered_gives_what_mining_anew_gives(tmp_path: Path, mined: list[str]) -> None:
    folder, fresh, made = tmp_path / "again", tmp_path / "fresh", rows()
    for place in (folder, fresh):
        place.mkdir()
    bring_in(made, folder)
    analyze(folder)
    added(made)
    bring_in(made, folder)
    analyze(folder)
    assert mined == [*TASKS, "beta"]
    bring_in(made, fresh)
    analyze(fresh)
    assert mined == [*TASKS, "beta", *TASKS]
    again, anew = everything(folder / "hpkb.duckdb"), everything(fresh / "hpkb.duckdb")
    for name, found in anew.items():
        assert again[name] == found, name
    assert anew["run_lists"]
