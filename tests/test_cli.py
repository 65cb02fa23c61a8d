"""The command line as its user meets it: help, formats, exit statuses, and one clear line for bad input."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
from pathlib import Path

import click
import pytest

from hpkb.cli import cli
from tests.stores import Hpkb, write_store

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_with_an_example_and_stands_in_the_readme(name: str) -> None:
    command = cli.commands[name]
    assert command.help
    assert "Example: " in command.help
    assert f"hpkb {name}" in command.help
    assert f"hpkb {name}" in README.read_text()
    assert all(p.help for p in command.params if isinstance(p, click.Option)), "an option without help"


def command_table() -> str:
    """The README's table of commands, from their help."""
    rows = [
        f"| `hpkb {name}` | {command.get_short_help_str(120)} |"
        for name, command in sorted(cli.commands.items())
    ]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows])


def test_the_readme_lists_the_commands_as_their_help_does() -> None:
    assert command_table() in README.read_text(), f"put this into README.md:\n{command_table()}"


def test_a_command_that_is_not_there(hpkb: Hpkb) -> None:
    result = hpkb("anlyze")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def analyzed(planted_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a knowledge base and a handbook made from the planted store."""
    from hpkb.pipeline import AnalysisSettings, analyze_store

    folder = tmp_path_factory.mktemp("analyzed")
    analyze_store(
        AnalysisSettings(
            f"sqlite:///{planted_store}", folder / "hpkb.duckdb", handbook=folder / "handbook", workers=2
        )
    )
    return folder


def test_analyze_from_store_to_pages(analyzed: Path, hpkb: Hpkb) -> None:
    assert (analyzed / "handbook" / "index.html").exists()
    found = json.loads(hpkb("findings", "--format", "json", cwd=analyzed).stdout)
    optimum = [f for f in found if f["quantity"] == "optimum" and f["hyperparameters"] == ["learning_rate"]]
    assert {f["task"] for f in optimum} == {None, "alpha", "beta", "gamma"}, "each task, and all of them together"
    assert {f["verdict"] for f in optimum if f["task"]} == {"supported"}
    tested = [f for f in found if f["p_value"]]  # 0 is a recorded fact and no test
    assert {f["comparisons"] for f in tested} == {len(tested)}


def test_a_diverged_run_is_infeasible_and_never_the_best(analyzed: Path) -> None:
    import hpkb as package

    with package.open(analyzed / "hpkb.duckdb") as base:
        query = "SELECT count(*), count(objective_min), max(learning_rate) FILTER (NOT infeasible) FROM run_matrix"
        [infeasible] = base.sql(query + " WHERE infeasible").fetchall()
        best = base.sql(
            "SELECT infeasible FROM run_matrix ORDER BY objective_min NULLS LAST LIMIT 1"
        ).fetchall()
    assert infeasible[0] > 0
    assert infeasible[1] == 0
    assert best == [(False,)]


def test_a_second_analysis_reads_only_what_is_new(analyzed: Path, planted_store: Path, hpkb: Hpkb) -> None:
    before = (analyzed / "handbook" / "index.html").read_bytes()
    result = hpkb("analyze", "--tracking-uri", f"sqlite:///{planted_store}", "--format", "json", cwd=analyzed)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["points"] == 0
    assert (analyzed / "handbook" / "index.html").read_bytes() == before


def test_recommendations_in_every_format(analyzed: Path, hpkb: Hpkb) -> None:
    document = json.loads(hpkb("recommend", "--task", "alpha", "--format", "json", cwd=analyzed).stdout)
    assert document["verdict"] == "recommended"
    rate = document["configurations"][0]["values"]["learning_rate"]
    assert 0.0008 < rate < 0.06
    assert hpkb("recommend", "--task", "alpha", "--format", "args", cwd=analyzed).stdout.startswith(
        "--lr 0.0"
    )
    assert "learning_rate" in hpkb("recommend", "--k", "2", cwd=analyzed).stdout
    assert "learning_rate:" in hpkb("recommend", "--format", "yaml", cwd=analyzed).stdout
    unknown = hpkb("recommend", "--task", "delta", cwd=analyzed)
    assert unknown.returncode == 1
    assert "alpha" in unknown.stderr


def test_findings_as_csv(analyzed: Path, hpkb: Hpkb) -> None:
    rows = list(csv.DictReader(io.StringIO(hpkb("findings", "--format", "csv", cwd=analyzed).stdout)))
    assert rows
    assert {row["verdict"] for row in rows} <= {"supported", "rejected", "insufficient"}


def test_explain_and_doctor(analyzed: Path, hpkb: Hpkb) -> None:
    assert "When it misleads" in hpkb("explain", "lr_weight_decay").stdout
    assert hpkb("explain", "lr_weight").returncode == 2
    result = hpkb("doctor", cwd=analyzed)
    assert result.returncode == 0, result.stdout
    assert "a child process is captured" in result.stdout


def test_doctor_leaves_nothing_beside_a_store_in_wal_mode(hpkb: Hpkb, empty_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "here" / "mlflow.db"
    shutil.copy(empty_store, store)
    with sqlite3.connect(store) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    before = store.read_bytes()
    assert "mlflow.db holds 0 runs" in hpkb("doctor").stdout
    assert [path.name for path in store.parent.iterdir()] == ["mlflow.db"]
    assert store.read_bytes() == before


def bad_store(folder: Path, kind: str, empty_store: Path) -> list[str]:
    """Prepares one kind of bad input in `folder` and returns the arguments of `hpkb analyze`."""
    if kind == "not there":
        return ["--tracking-uri", "sqlite:///absent.db"]
    if kind == "corrupted":
        (folder / "mlflow.db").write_bytes(b"SQLite format 3\x00" + b"\x07" * 5000)
    elif kind == "no SQLite":
        (folder / "mlflow.db").write_text("run_id,loss\n")
    elif kind == "another database":
        with sqlite3.connect(folder / "mlflow.db") as connection:
            connection.execute("CREATE TABLE runs (id)")
    else:
        shutil.copy(empty_store, folder / "mlflow.db")
        write_store(folder / "mlflow.db", {"alpha": -5.0}, n_runs={"no runs": 0, "one run": 1}.get(kind, 3))
    extra = {"unknown experiment": ["--experiment", "nope"], "unknown objective": ["--objective", "nope:min"]}
    return extra.get(kind, [])


@pytest.mark.parametrize(
    "kind",
    [
        *("not there", "corrupted", "no SQLite", "another database", "no runs", "one run"),
        *("unknown experiment", "unknown objective"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    kind: str, hpkb: Hpkb, tmp_path: Path, empty_store: Path
) -> None:
    folder = tmp_path / "here"
    arguments = bad_store(folder, kind, empty_store)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = hpkb("analyze", *arguments)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("hpkb: ")
    assert "Traceback" not in result.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_dry_run_writes_nothing(planted_store: Path, hpkb: Hpkb, tmp_path: Path) -> None:
    result = hpkb("analyze", "--dry-run", "--tracking-uri", f"sqlite:///{planted_store}")
    assert result.returncode == 0, result.stderr
    assert "120" in result.stdout
    assert list((tmp_path / "here").iterdir()) == []


def test_dry_run_shows_the_names_and_asks(hpkb: Hpkb, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    (folder / "sweep.csv").write_text(
        "optim.lr,batch_size,gradient_accumulation_steps,my_knob,val_loss\n0.1,12,40,1,0.5\n0.2,12,40,2,0.4\n"
    )
    mapped = [f"--map={name}={name}" for name in ("optim.lr", "batch_size", "gradient_accumulation_steps", "my_knob")]
    imported = hpkb("import", "sweep.csv", "--objective", "val_loss:min", *mapped)
    assert imported.returncode == 0, imported.stderr
    shown = hpkb("analyze", "--dry-run").stdout
    assert "learning_rate" in shown
    assert "optim.lr (2 runs)" in shown
    assert "Kept under their own names: my_knob" in shown
    assert "'batch_size' (2 runs of 'sweep') is what one forward pass sees, or what an optimizer step does?" in shown
    assert 'hyperparameters = { "batch_size" = "micro_batch_size" }' in shown
    assert "1 question about names" in hpkb("analyze", "--handbook", "pages").stdout
    assert len(json.loads(hpkb("analyze", "--dry-run", "--format", "json").stdout)["questions"]) == 1


def test_import_then_analyze(hpkb: Hpkb, tmp_path: Path) -> None:
    table = tmp_path / "here" / "sweep.csv"
    rows = [f"{10 ** (-i / 10):.4g},{i % 2},{0.1 + abs(i - 20) / 40 + 0.01 * (i % 2)}" for i in range(40)]
    table.write_text("lr,seed,val_loss\n" + "\n".join(rows) + "\n")
    imported = hpkb("import", "sweep.csv", "--objective", "val_loss:min", "--seed-column", "seed")
    assert imported.returncode == 0, imported.stderr
    result = hpkb("analyze", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["runs"] == 40


@pytest.mark.parametrize("group", [(), ("lake",)])
def test_a_group_alone_shows_its_help(hpkb: Hpkb, group: tuple[str, ...]) -> None:
    result = hpkb(*group)
    assert result.returncode == 2
    assert result.stderr.startswith(f"Usage: {' '.join(['hpkb', *group])} [OPTIONS] COMMAND")
    assert "Commands:\n" in result.stderr
