"""The commands of docs/import.md bring in the sweeps as their files have them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from hpkb.cli import cli

DATA = next((p / "shared" / "data" for p in Path(__file__).parents if (p / "shared" / "data").is_dir()), None)
TEXT = (Path(__file__).parents[2] / "docs" / "import.md").read_text("utf-8")
COMMANDS = {found[2]: found[1] for found in re.finditer(r"^hpkb (import (\w+)\.parquet .*)$", TEXT, re.M)}
# What a whole run of 1.2 million takes is over a minute: every hundredth configuration, each with all its seeds.
SUBSETS = {"hpobench_mlp": "hash(config_id) % 100 = 0"}
OBJECTIVES = {
    "hpobench_mlp": "val_acc",
    "taskset_rnn": "valid_loss",
    "deepobs_baselines": "CASE WHEN task IN ('fmnist_vae', 'mnist_vae', 'quadratic_deep') THEN final_test_losses "
    "ELSE final_test_accuracies END",
    "algoperf": "best_val",
    "opda_imagenet": "best_top1",
}
HIGHER_IS_BETTER = {
    "hpobench_mlp": "true",
    "taskset_rnn": "false",
    "deepobs_baselines": "task NOT IN ('fmnist_vae', 'mnist_vae', 'quadratic_deep')",
    "algoperf": "higher_is_better",
    "opda_imagenet": "true",
}
INFEASIBLE = {"hpobench_mlp": 0, "taskset_rnn": 917}  # whose objective is not finite
RATES = {"hpobench_mlp": "learning_rate_init", "algoperf": "hp_learning_rate", "opda_imagenet": "lr"}

_DIFFERENT_RUNS = """-- One row: how many runs have another task, objective or feasibility than their row.
SELECT count(*) FROM given g FULL JOIN kb.runs r USING (run_id)
WHERE g.task IS DISTINCT FROM r.task_id
   OR (g.value IS NOT NULL AND isfinite(g.value) AND NOT r.infeasible AND r.objective IS DISTINCT FROM g.value)
   OR (NOT coalesce(isfinite(g.value), false) AND NOT r.infeasible)"""

_DIFFERENT_RATES = """-- One row: how many runs have another learning rate than their row.
SELECT count(*) FROM given g
LEFT JOIN (SELECT run_id, value_number FROM kb.hyperparameters WHERE name = 'learning_rate') h USING (run_id)
WHERE h.value_number IS DISTINCT FROM g.rate"""

_DIFFERENT_POINTS = """-- One row: how many points of the file the knowledge base has not, or has with another value.
SELECT count(*) FROM points p ANTI JOIN kb.curves c
ON c.run_id = p.run_id AND c.metric = p.metric AND c.step = p.step
AND (c.value = p.value OR (isnan(c.value) AND NOT coalesce(isfinite(p.value), false)))"""


@pytest.fixture
def bring_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], duckdb.DuckDBPyConnection]:
    """Runs a sweep's documented command beside its files and returns its file and the knowledge base, as `kb`."""
    if DATA is None:
        pytest.skip("the real sweeps (shared/data) are not on this machine")
    monkeypatch.chdir(tmp_path)

    def run(name: str) -> duckdb.DuckDBPyConnection:
        for file in DATA.glob(f"{name}*.parquet"):
            Path(file.name).symlink_to(file)
        if where := SUBSETS.get(name):
            Path(f"{name}.parquet").unlink()
            duckdb.sql(f"FROM '{DATA / name}.parquet' WHERE {where}").write_parquet(f"{name}.parquet")
        result = CliRunner().invoke(cli, shlex.split(COMMANDS[name]), catch_exceptions=False)
        assert result.exit_code == 0
        connection = duckdb.connect()
        connection.execute("ATTACH 'hpkb.duckdb' AS kb (READ_ONLY)")
        connection.execute(
            f"CREATE VIEW given AS SELECT run_id, task, {OBJECTIVES[name]} AS value, "
            f"if({HIGHER_IS_BETTER[name]}, 'max', 'min') AS direction, {RATES.get(name, 'learning_rate')} AS rate "
            f"FROM '{name}.parquet'"
        )
        return connection

    return run


def count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])


def test_every_sweep_has_a_command() -> None:
    assert COMMANDS.keys() == OBJECTIVES.keys()


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_what_came_in_is_what_the_files_have(
    name: str, bring_in: Callable[[str], duckdb.DuckDBPyConnection]
) -> None:
    connection = bring_in(name)
    assert count(connection, "SELECT count(*) FROM kb.runs") == count(connection, "SELECT count(*) FROM given") > 0
    assert count(connection, _DIFFERENT_RUNS) == 0
    assert count(connection, _DIFFERENT_RATES) == 0
    directions = "SELECT DISTINCT task, direction FROM given ORDER BY ALL"
    in_base = "SELECT task_id, direction FROM kb.tasks ORDER BY ALL"
    assert connection.execute(in_base).fetchall() == connection.execute(directions).fetchall()
    if name in INFEASIBLE:
        reasons = "SELECT count(*) FROM kb.runs WHERE infeasible_reason LIKE 'objective is %'"
        assert count(connection, reasons) == INFEASIBLE[name]
    doubled = "SELECT count(*) - count(DISTINCT (run_id, name)) FROM kb.hyperparameters"
    assert count(connection, doubled) == 0
    if Path(f"{name}.curves.parquet").exists():
        connection.execute(f"CREATE VIEW points AS FROM '{name}.curves.parquet'")
        assert count(connection, _DIFFERENT_POINTS) == 0
        in_file = "kb.curves SEMI JOIN (SELECT DISTINCT run_id, metric FROM points) p USING (run_id, metric)"
        n_points = count(connection, "SELECT count(*) FROM points")
        assert count(connection, f"SELECT count(*) FROM {in_file}") == n_points

