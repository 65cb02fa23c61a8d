"""Sweeps of others, from Parquet and CSV tables."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from hpkb.errors import HpkbError, SourceError, UsageError
from hpkb.kb import connect, ingest_into, load_sweeps
from hpkb.sources.table import Layout, TableSource
from hpkb.sweep import Sweep

DATA = next((p / "shared" / "data" for p in Path(__file__).parents if (p / "shared" / "data").is_dir()), None)
REAL = pytest.mark.skipif(DATA is None, reason="the real sweeps (shared/data) are not on this machine")


def sweeps_of(source: TableSource, tmp_path: Path) -> dict[str, Sweep]:
    ingest_into(tmp_path / "kb.duckdb", source)
    with connect(tmp_path / "kb.duckdb", read_only=True) as connection:
        return {sweep.task: sweep for sweep in load_sweeps(connection)}


def table(tmp_path: Path, sql: str, name: str = "sweep.parquet") -> Path:
    path = tmp_path / name
    relation = duckdb.sql(sql)
    relation.write_csv(str(path)) if path.suffix == ".csv" else relation.write_parquet(str(path))
    return path


RUNS = """SELECT i AS id, 'task ' || i % 2 AS task, 10.0 ** -(i % 4) AS lr, i % 3 AS alpha, i % 2 AS random_seed,
    'x' AS note, CASE WHEN i = 5 THEN NULL ELSE i / 10.0 END AS val_loss FROM range(8) t(i)"""


@pytest.mark.parametrize("name", ["sweep.parquet", "sweep.csv"])
def test_a_table_becomes_sweeps(tmp_path: Path, name: str) -> None:
    layout = Layout(None, "id", None, "val_loss:min", {"weight_decay": "alpha"}, {"optimizer": "SGD"})
    source = TableSource(table(tmp_path, RUNS, name), layout)
    assert source.ignored == ("note",)
    sweeps = sweeps_of(source, tmp_path)
    assert sorted(sweeps) == ["task 0", "task 1"]
    odd = sweeps["task 1"]
    assert {h.name for h in odd.hyperparameters} == {"learning_rate", "weight_decay"}
    assert odd.fixed == {"optimizer": "SGD"}
    assert odd.infeasible.tolist() == np.isnan(odd.y).tolist()
    assert [run for run, bad in zip(odd.run_ids, odd.infeasible, strict=True) if bad] == ["sweep/5"]
    assert odd.seed.tolist() == [1.0] * 4


def test_what_an_export_of_mlflow_has(tmp_path: Path) -> None:
    sql = """SELECT 'r' || i AS run_id, i * 0.1 + 0.1 AS "params.lr", i AS "params.my own",
        1.0 / (i + 1) AS "metrics.val_acc", 'me' AS "tags.mlflow.user" FROM range(4) t(i)"""
    source = TableSource(table(tmp_path, sql))
    assert source.ignored == ("tags.mlflow.user",)
    sweep = sweeps_of(source, tmp_path)["sweep"]
    assert sweep.objective == "val_acc:max"
    assert {h.name for h in sweep.hyperparameters} == {"learning_rate", "my own"}


def test_curves_and_a_column_that_says_infeasible(tmp_path: Path) -> None:
    runs = table(tmp_path, "SELECT i AS id, 10.0 ** -i AS lr, i = 2 AS died, 0.5 AS val_loss FROM range(4) t(i)")
    sql = """SELECT id, metric, step, CASE WHEN id = 1 AND step = 9 THEN NULL ELSE 1.0 - step / 20.0 END AS value
        FROM range(5) t(id), range(10) s(step), (VALUES ('val_loss'), ('train_loss')) m(metric)"""
    curves = table(tmp_path, sql, "curves.parquet")
    source = TableSource(runs, Layout(run_column="id", mapping={"infeasible": "died"}), curves)
    sweep = sweeps_of(source, tmp_path)["sweep"]
    assert sweep.run_ids == ("sweep/3", "sweep/2", "sweep/1", "sweep/0")
    assert sweep.y.tolist()[0] == pytest.approx(1 - 9 / 20)  # the curve's last value, not the table's
    assert sweep.infeasible.tolist() == [False, True, True, False]
    assert source.notes() == {"curve points of runs that 'sweep.parquet' does not have": 20}
    with connect(tmp_path / "kb.duckdb", read_only=True) as connection:
        reasons = connection.execute("SELECT infeasible_reason FROM runs ORDER BY run_id").fetchall()
    assert reasons == [(None,), ("objective is NaN",), ("died",), (None,)]


def test_importing_again_reads_what_changed(tmp_path: Path) -> None:
    kb, layout = tmp_path / "kb.duckdb", Layout(run_column="id")
    assert ingest_into(kb, TableSource(table(tmp_path, RUNS), layout)).new == 8
    assert ingest_into(kb, TableSource(table(tmp_path, RUNS), layout)).unchanged == 8
    report = ingest_into(kb, TableSource(table(tmp_path, RUNS.replace("i % 3", "i % 3 + i // 7")), layout))
    assert (report.changed, report.unchanged) == (1, 7)
    deeper = Layout(run_column="id", fixed={"depth": "2"})
    assert ingest_into(kb, TableSource(table(tmp_path, RUNS), deeper)).changed == 8


def test_the_direction_can_be_a_column_and_the_objective_a_list(tmp_path: Path) -> None:
    sql = """SELECT 't' || i % 2 AS task, i % 2 = 0 AS higher, i * 1.0 AS best, 0.5 AS rate, 10.0 ** -i AS lr,
        CASE WHEN i % 2 = 0 THEN i * 1.0 END AS top FROM range(6) t(i)"""
    sweeps = sweeps_of(TableSource(table(tmp_path, sql), Layout(objective="best:higher")), tmp_path)
    assert {task: sweep.objective for task, sweep in sweeps.items()} == {"t0": "best:max", "t1": "best:min"}
    sweeps = sweeps_of(TableSource(table(tmp_path, sql), Layout(objective="top:max,rate:min")), tmp_path)
    assert {task: sweep.objective for task, sweep in sweeps.items()} == {"t0": "top:max", "t1": "rate:min"}
    mixed = table(tmp_path, sql.replace("i % 2 = 0 AS higher", "i > 2 AS higher"))
    with pytest.raises(UsageError, match="does not say one direction"):
        TableSource(mixed, Layout(objective="best:higher")).objectives()


def test_what_every_run_had_goes_before_a_column_that_says_the_same_and_against_no_other(tmp_path: Path) -> None:
    sql = """SELECT i AS id, 10.0 ** -i AS lr, CASE WHEN i > 1 THEN 0.90 END AS momentum, 0.5 AS val_loss
        FROM range(4) t(i)"""
    fixed = Layout(run_column="id", fixed={"momentum": "0.9"})
    assert sweeps_of(TableSource(table(tmp_path, sql), fixed), tmp_path)["sweep"].fixed["momentum"] == "0.9"
    with pytest.raises(UsageError, match=r"the column 'lr' has .*Leave --fixed learning_rate out"):
        TableSource(table(tmp_path, sql), Layout(run_column="id", fixed={"learning_rate": "0.1"}))


def test_bad_tables_are_one_clear_line_each(tmp_path: Path) -> None:
    good, text, cut = table(tmp_path, RUNS), tmp_path / "text.parquet", tmp_path / "cut.parquet"
    text.write_text("no table")
    cut.write_bytes(good.read_bytes()[:400])
    cases: list[tuple[type[HpkbError], str, Path, Layout]] = [
        (SourceError, "No table at", tmp_path / "missing.csv", Layout()),
        (SourceError, "Give a table", Path(__file__), Layout()),
        (SourceError, "damaged", text, Layout()),
        (SourceError, "damaged", cut, Layout()),
        (SourceError, "no rows", table(tmp_path, RUNS + " LIMIT 0", "none.parquet"), Layout()),
        (SourceError, "tell the runs apart", good, Layout(run_column="alpha")),
        (UsageError, "No column 'lrr'.*There are: id", good, Layout(mapping={"learning_rate": "lrr"})),
        (UsageError, "no direction", good, Layout(objective="val_loss")),
        (SourceError, "has the metric 'top1'", good, Layout(objective="top1:max")),
    ]
    for kind, message, path, layout in cases:
        with pytest.raises(kind, match=message) as error:
            ingest_into(tmp_path / "kb.duckdb", TableSource(path, layout))
        assert "\n" not in str(error.value)
    with pytest.raises(SourceError, match="has no column metric, step, value"):
        TableSource(good, Layout(run_column="id"), good)
    assert not (tmp_path / "kb.duckdb").exists()


def real(name: str, tmp_path: Path, layout: Layout, where: str = "true") -> dict[str, Sweep]:
    assert DATA is not None
    runs = table(tmp_path, f"FROM '{DATA / name}.parquet' WHERE {where}", f"{name}.parquet")
    curves = DATA / f"{name}.curves.parquet"
    return sweeps_of(TableSource(runs, layout, curves if curves.exists() else None), tmp_path)


@REAL
def test_hpobench(tmp_path: Path) -> None:
    layout = Layout(objective="val_acc:max", mapping={"weight_decay": "alpha"})
    sweeps = real("hpobench_mlp", tmp_path, layout, "hash(config_id) % 100 = 0")
    assert len(sweeps) == 8
    for sweep in sweeps.values():
        names = {h.name: h.scale for h in sweep.hyperparameters}
        assert names == dict.fromkeys(["learning_rate", "weight_decay", "batch_size", "depth", "width"], "log")
        assert (sweep.n_seeds, sweep.n_runs) == (5, 5 * sweep.n_configurations)


@REAL
def test_taskset(tmp_path: Path) -> None:
    mapping = {"l1": "l1", "linear_decay": "linear_decay", "exponential_decay": "exponential_decay"}
    sweeps = real("taskset_rnn", tmp_path, Layout(objective="valid_loss:min", mapping=mapping))
    assert [sweep.n_runs for sweep in sweeps.values()] == [1_000] * 12
    assert sum(int(sweep.infeasible.sum()) for sweep in sweeps.values()) >= 917
    assert {h.name for h in sweeps["imdb_patch128_LSTM128_bs64"].hyperparameters} == {
        "learning_rate", "weight_decay", "beta1", "beta2", "epsilon", "l1", "linear_decay", "exponential_decay",
    }  # fmt: skip


@REAL
def test_deepobs(tmp_path: Path) -> None:
    sweeps = real("deepobs_baselines", tmp_path, Layout(objective="final_test_accuracies:max,final_test_losses:min"))
    assert {task: sweep.objective.partition(":")[2] for task, sweep in sweeps.items()} == {
        "cifar100_allcnnc": "max", "cifar10_3c3d": "max", "fmnist_2c2d": "max", "fmnist_vae": "min", "mnist_vae": "min",
        "quadratic_deep": "min", "svhn_wrn164": "max", "tolstoi_char_rnn": "max",
    }  # fmt: skip
    assert {sweep.n_seeds for sweep in sweeps.values()} == {10}
    assert {h.name for h in sweeps["mnist_vae"].hyperparameters} == {"learning_rate", "optimizer"}


@REAL
def test_algoperf(tmp_path: Path) -> None:
    sweeps = real("algoperf", tmp_path, Layout(objective="best_val:higher_is_better"))
    assert len(sweeps) == 18
    assert sum(sweep.n_runs for sweep in sweeps.values()) == 4_359
    assert {sweep.objective for sweep in sweeps.values()} == {"best_val:min", "best_val:max"}


@REAL
def test_opda(tmp_path: Path) -> None:
    layout = Layout(objective="best_top1:max", mapping={"infeasible": "nan_train_loss", "peak_epoch": "lr_peak_epoch"})
    sweeps = real("opda_imagenet", tmp_path, layout)
    assert [sweep.n_runs for sweep in sweeps.values()] == [512, 512]
    assert sum(int(sweep.infeasible.sum()) for sweep in sweeps.values()) == 371
    assert {h.name: h.scale for h in sweeps["alexnet-imagenet"].hyperparameters} == {
        "learning_rate": "log", "momentum": "linear", "weight_decay": "log", "batch_size": "log", "epochs": "log",
        "label_smoothing": "linear", "peak_epoch": "linear",
    }  # fmt: skip
