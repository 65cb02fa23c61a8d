"""Reading Optuna's SQLite storages: the same answers as Optuna's, whatever its age, and not one byte changed."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hpkb.errors import SourceError
from hpkb.kb import connect, ingest_into, load_sweeps
from hpkb.sources import Source, open_source, sqlite_file
from hpkb.sources.mlflow_sqlite import MlflowSqlite
from hpkb.sources.objectives import Objective
from hpkb.sources.optuna_sqlite import OptunaSqlite
from tests.kb.rawstore import RawStore

STORES = next(
    (p / "shared" / "stores" / "optuna" for p in Path(__file__).parents if (p / "shared").is_dir()), None
)
OLD = sorted(STORES.glob("*.db")) if STORES else []
NASTY = "größe/2 – \"b\" 'c'; DROP"
LONG = "🦀é" * 3000


@pytest.fixture(scope="module")
def optuna() -> Any:
    """Optuna, quiet."""
    module = pytest.importorskip("optuna", reason="optuna is not installed (the extra `dev` has it)")
    module.logging.set_verbosity(module.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield module


def _objective(optuna: Any, trial: Any) -> float:
    """A trial of every kind, by its number: complete, pruned, failed, diverged, of infinite value."""
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    trial.suggest_int("layers", 1, 8)
    trial.suggest_int("width", 16, 256, log=True)
    trial.suggest_float("dropout", 0.0, 0.5, step=0.1)
    trial.suggest_categorical("optimizer", ["sgd", "adam", NASTY])
    trial.suggest_categorical("size", [16, 0.5, True, False, None])
    trial.set_user_attr("seed", trial.number)
    trial.set_user_attr("val_acc", 0.5 + trial.number / 100)
    trial.set_user_attr("note", LONG if trial.number == 0 else {"tags": ["a", None, 1]})
    kind = trial.number % 6
    for step in (3, 1, 0, 2**33):
        last = step == 2**33
        trial.report({3: math.nan, 4: math.inf}.get(kind, lr * 7) if last else lr / (step + 2), step)
        if kind == 1 and step == 0:
            raise optuna.TrialPruned
    if kind == 2:
        raise ArithmeticError("no")
    return {3: math.nan, 4: math.inf}.get(kind, lr + 1.0)


@pytest.fixture(scope="module")
def made(optuna: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies that Optuna wrote: of one and of two objectives, of named metrics, empty, with odd names, deleted."""
    path = tmp_path_factory.mktemp("optuna") / "studies of mine.db"
    storage = f"sqlite:///{path}"
    sampler = optuna.samplers.RandomSampler(seed=1)
    single = optuna.create_study(storage=storage, study_name=NASTY, direction="maximize", sampler=sampler)
    single.set_user_attr("data set", "digits")
    single.optimize(lambda trial: _objective(optuna, trial), n_trials=18, catch=(ArithmeticError,))
    single.enqueue_trial({"lr": 0.01})  # waiting
    running = optuna.create_study(storage=storage, study_name="running", sampler=sampler)
    trial = running.ask()
    trial.suggest_float("lr", 0, 1)
    trial.report(0.5, 1)
    named = optuna.create_study(
        storage=storage, study_name="named", directions=["minimize", "maximize"], sampler=sampler
    )
    named.set_metric_names(["val_loss", "speed / s"])
    named.optimize(lambda t: (t.suggest_float("x", -1, 1), t.number), n_trials=4)
    two = optuna.create_study(
        storage=storage, study_name="two", directions=["maximize", "minimize"], sampler=sampler
    )
    two.optimize(lambda t: (t.suggest_float("x", -1, 1), -math.inf), n_trials=3)
    optuna.create_study(storage=storage, study_name="empty")
    optuna.create_study(storage=storage, study_name="gone").optimize(lambda t: 1.0, n_trials=2)
    optuna.delete_study(storage=storage, study_name="gone")
    return path


@pytest.fixture
def source(made: Path) -> Iterator[Source]:
    opened = open_source(f"sqlite:///{made}")
    yield opened
    opened.close()


def ids_of(source: Source) -> pa.Array:
    return source.fingerprints()["run_id"].combine_chunks()


def read(source: Source) -> dict[tuple[str, int], dict[str, Any]]:
    """All that there is, by study and trial number; in one order, whatever that of the file."""
    ids = ids_of(source)
    runs: dict[str, Any] = {
        row["run_id"]: {**row, "params": {}, "tags": {}, "curves": {}} for row in source.runs(ids).to_pylist()
    }
    for row in sorted(source.parameters(ids).to_pylist(), key=lambda row: row["name"]):
        runs[row["run_id"]]["params" if row["origin"] == "param" else "tags"][row["name"]] = row["value"]
    points = [row for batch in source.curves(ids) for row in batch.to_pylist()]
    for row in sorted(points, key=lambda row: (row["metric"], row["step"])):
        runs[row["run_id"]]["curves"].setdefault(row["metric"], {})[row["step"]] = row["value"]
    return {(run["experiment"], int(run["run_name"].removeprefix("trial "))): run for run in runs.values()}


def same(found: Any, expected: Any) -> bool:
    return repr(found) == repr(expected)


_STATUS = {
    "COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED", "RUNNING": "RUNNING", "WAITING": "SCHEDULED"
}  # fmt: skip


def agrees_with_optuna(
    optuna: Any, found: dict[tuple[str, int], dict[str, Any]], storage: str, utc: bool = True
) -> int:
    """Compares with what Optuna says of each trial, and returns how many there are."""
    count = 0
    for study in optuna.study.get_all_study_summaries(storage):
        loaded = optuna.load_study(study_name=study.study_name, storage=storage)
        n = len(loaded.directions)
        metrics = loaded.metric_names or (["value"] if n == 1 else [f"values_{i}" for i in range(n)])
        for trial in loaded.trials:
            run = found[study.study_name, trial.number]
            assert run["task"] == study.study_name
            assert run["status"] == _STATUS[trial.state.name]
            assert run["params"] == {name: str(value) for name, value in trial.params.items()}
            intermediate = {
                step: trial.intermediate_values[step] for step in sorted(trial.intermediate_values)
            }
            curve = run["curves"].get("intermediate_value", {})
            assert same({step: curve[step] for step in sorted(curve)}, intermediate)
            values = {
                metric: list(run["curves"][metric].values()) for metric in metrics if metric in run["curves"]
            }
            complete = trial.state.name == "COMPLETE"
            assert same(
                values, {m: [v] for m, v in zip(metrics, trial.values, strict=True)} if complete else {}
            )
            if utc:
                assert run["started_at"] == _milliseconds(trial.datetime_start)
                assert run["ended_at"] == _milliseconds(trial.datetime_complete)
            count += 1
    assert count == len(found)
    return count


def _milliseconds(local: datetime | None) -> datetime | None:
    if local is None:
        return None
    moment = local.astimezone(UTC).replace(tzinfo=None)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_trials_are_those_that_optuna_has(optuna: Any, made: Path, source: Source) -> None:
    found = read(source)
    assert agrees_with_optuna(optuna, found, f"sqlite:///{made}") == 18 + 1 + 1 + 4 + 3
    assert source.experiments() == sorted([NASTY, "running", "named", "two", "empty"])
    assert source.notes() == {}
    assert source.fingerprints(["two", "empty"]).num_rows == 3
    assert len({run["run_id"] for run in found.values()}) == len(found)


def test_directions_are_the_objectives(source: Source) -> None:
    assert source.objectives() == {
        NASTY: (Objective("value", "max"),),
        "running": (Objective("value", "min"),),
        "named": (Objective("val_loss", "min"), Objective("speed / s", "max")),
        "two": (Objective("values_0", "max"), Objective("values_1", "min")),
        "empty": (Objective("value", "min"),),
    }


def test_pruned_is_stopped_early_and_diverged_is_infeasible(source: Source) -> None:
    found = read(source)
    reasons = {kind: found[NASTY, kind]["end_reason"] for kind in range(6)}
    assert reasons == {
        0: None,
        1: "pruned",
        2: None,
        3: "infeasible: intermediate_value is NaN",
        4: None,
        5: None,
    }
    assert found[NASTY, 4]["curves"]["value"] == {2**33: math.inf}


def test_attributes_are_what_they_are_named(source: Source) -> None:
    run = read(source)[NASTY, 6]
    assert run["curves"]["val_acc"] == {2**33: 0.56}
    assert run["tags"] == {
        "seed": "6",
        "hpkb.optuna.user.note": '{"tags": ["a", null, 1]}',
        "hpkb.optuna.study.data set": "digits",
    }
    assert read(source)[NASTY, 0]["tags"]["hpkb.optuna.user.note"] == LONG


def test_what_was_searched_goes_before_what_was_noted(optuna: Any, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/a.db"
    study = optuna.create_study(storage=storage)
    study.set_user_attr("batch_size", 32)
    study.set_user_attr("epochs", 9)

    def objective(trial: Any) -> float:
        trial.suggest_float("lr", 0.5, 0.5)
        for name, value in {"learning_rate": 7, "epochs": 3, "value": 5, "val_loss": 1}.items():
            trial.set_user_attr(name, value)
        return 1.0

    study.optimize(objective, n_trials=1)
    (run,) = read(open_source(storage)).values()
    assert run["params"] == {"lr": "0.5"}
    assert run["tags"] == {
        "epochs": "3", "batch_size": "32", "hpkb.optuna.user.learning_rate": "7", "hpkb.optuna.study.epochs": "9",
        "hpkb.optuna.user.value": "5",
    }  # fmt: skip
    assert run["curves"] == {"value": {0: 1.0}, "val_loss": {0: 1.0}}
    ingest_into(tmp_path / "kb.duckdb", open_source(storage))


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_not_one_byte_is_changed_and_no_file_is_left(made: Path, tmp_path: Path, journal: str) -> None:
    copy = Path(shutil.copy(made, tmp_path / "optuna.db"))
    with closing(sqlite3.connect(copy)) as database:
        database.execute(f"PRAGMA journal_mode = {journal}")
    before = _state(tmp_path)
    source = open_source(str(copy))
    assert read(source)
    source.close()
    assert _state(tmp_path) == before


def _state(folder: Path) -> dict[str, tuple[str, int]]:
    files = sorted(folder.iterdir())
    return {f.name: (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files}


def test_few_trials_by_index_are_the_same_as_by_windows(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read(source)
    monkeypatch.setattr(sqlite_file, "WINDOW", 3)
    assert same(sorted(map(str, read(source).values())), sorted(map(str, expected.values())))
    run = expected[NASTY, 0]
    curve = [row for batch in source.curves(pa.array([run["run_id"]])) for row in batch.to_pylist()]
    by_index = {row["step"]: row["value"] for row in curve if row["metric"] == "intermediate_value"}
    assert by_index == run["curves"]["intermediate_value"]
    assert len(curve) == 6


def test_the_knowledge_base_judges_by_the_direction(made: Path, tmp_path: Path) -> None:
    kb = tmp_path / "kb.duckdb"
    report = ingest_into(kb, open_source(str(made)))
    assert (report.new, report.notes) == (27, ())
    with connect(kb, read_only=True) as connection:
        sweep = load_sweeps(connection, NASTY)[0]
        tasks = dict(connection.execute("SELECT task_id, metric || ':' || direction FROM tasks").fetchall())
        pruned = "SELECT count(*), count(objective_min), sum(infeasible::INT) FROM runs WHERE end_reason = 'pruned'"
        assert connection.execute(pruned).fetchall() == [(3, 0, 0)]
    assert tasks == {NASTY: "value:max", "named": "val_loss:min", "two": "values_0:max"}
    # Of eighteen, three are pruned and three failed with nothing that says why; three each are NaN and infinite.
    assert (sweep.n_runs, int(sweep.infeasible.sum())) == (12, 6)
    assert {h.name for h in sweep.hyperparameters} >= {
        "learning_rate",
        "depth",
        "width",
        "dropout",
        "optimizer",
    }


def test_only_what_changed_is_read_again(optuna: Any, tmp_path: Path) -> None:
    path, kb = tmp_path / "optuna.db", tmp_path / "kb.duckdb"
    storage = f"sqlite:///{path}"
    study = optuna.create_study(storage=storage, study_name="s")
    study.optimize(lambda t: t.suggest_float("lr", 0, 1), n_trials=5)
    trial = study.ask()
    trial.report(1.0, 0)
    counts = [_counts(kb, storage)]
    counts.append(_counts(kb, storage))
    for change in (
        lambda: trial.report(1.0, 5),
        lambda: trial.report(2.0, 3),  # not the last step
        lambda: trial.suggest_int("n", 1, 3),
        lambda: trial.set_user_attr("a", 1),
        lambda: trial.set_user_attr("a", 2),
        lambda: study.tell(trial, 0.5),
    ):
        change()
        counts.append(_counts(kb, storage))
    study.optimize(lambda t: 0.5, n_trials=1)
    counts.append(_counts(kb, storage))
    moved = Path(shutil.copy(path, tmp_path / "moved.db"))
    counts.append(_counts(kb, str(moved)))
    optuna.delete_study(study_name="s", storage=str(f"sqlite:///{moved}"))
    optuna.create_study(study_name="s", storage=f"sqlite:///{moved}").optimize(lambda t: 1.0, n_trials=1)
    counts.append(_counts(kb, str(moved)))
    assert counts == [
        (6, 0, 0, 0), (0, 0, 0, 6), *[(0, 1, 0, 5)] * 6, (1, 0, 0, 6), (0, 0, 0, 7), (1, 0, 7, 0)
    ]  # fmt: skip


def _counts(kb: Path, uri: str) -> tuple[int, int, int, int]:
    source = open_source(uri)
    report = ingest_into(kb, source)
    source.close()
    return report.new, report.changed, report.removed, report.unchanged


def test_a_file_that_grew_equals_one_read_at_once(optuna: Any, tmp_path: Path) -> None:
    storage, grown, anew = f"sqlite:///{tmp_path}/o.db", tmp_path / "grown.duckdb", tmp_path / "anew.duckdb"
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=3))
    for _ in range(3):
        study.optimize(lambda t: _objective(optuna, t), n_trials=5, catch=(ArithmeticError,))
        study.enqueue_trial({"lr": 0.1})
        _counts(grown, storage)
    _counts(anew, storage)
    assert _contents(grown) == _contents(anew)


def _contents(kb: Path) -> dict[str, list[str]]:
    tables = ("tasks", "runs", "hyperparameters", "curves", "curve_features", "run_matrix")
    with connect(kb, read_only=True) as connection:
        return {t: sorted(map(repr, connection.execute(f"FROM {t}").fetchall())) for t in tables}


@pytest.mark.parametrize("path", OLD or [None], ids=[path.name for path in OLD] or ["none"])
def test_older_schemas_are_what_optuna_makes_of_them(optuna: Any, tmp_path: Path, path: Path | None) -> None:
    """Optuna reads an old storage only after it has upgraded it, so it is given a copy."""
    if path is None:
        pytest.skip("the storages of older versions (shared/stores) are not on this machine")
    before = path.stat().st_mtime_ns, path.read_bytes()
    source = open_source(str(path))
    found = read(source)
    assert source.objectives()["single"] == (Objective("value", "min"),)
    source.close()
    copy = shutil.copyfile(path, tmp_path / "copy.db")
    optuna.storages.RDBStorage(
        f"sqlite:///{copy}", skip_compatibility_check=True, skip_table_creation=True
    ).upgrade()
    assert agrees_with_optuna(optuna, found, f"sqlite:///{copy}", utc=False) >= 1
    upgraded = read(open_source(str(copy)))
    assert same(sorted(map(str, found.values())), sorted(map(str, upgraded.values())))
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


@pytest.mark.skipif(not OLD, reason="the storages of older versions (shared/stores) are not on this machine")
def test_infinite_and_absent_values_of_an_older_schema(tmp_path: Path) -> None:
    found = []
    for name, value in [
        ("1.3.0.a.db", "UPDATE trials SET value = ?"),
        ("2.6.0.a.db", "UPDATE trial_values SET value = ?"),
    ]:
        for number in (3.4028234663852886e38, -3.4028234663852886e38, math.inf, 3.3e38):
            copy = shutil.copyfile(OLD[0].parent / name, tmp_path / name)
            with closing(sqlite3.connect(copy)) as database, database:
                database.execute(value, (number,))
            found.append(read(open_source(str(copy)))["single", 0]["curves"]["value"][0])
    assert found == [math.inf, -math.inf, math.inf, 3.3e38] * 2
    copy = shutil.copyfile(OLD[0].parent / "0.9.0.a.db", tmp_path / "none.db")
    with closing(sqlite3.connect(copy)) as database, database:
        database.execute("UPDATE trials SET value = NULL")
    assert math.isnan(read(open_source(str(copy)))["single", 0]["curves"]["value"][0])


def test_a_parameter_that_cannot_be_decoded_is_kept_and_counted(made: Path, tmp_path: Path) -> None:
    copy = shutil.copy(made, tmp_path / "o.db")
    odd = ["", "{", "[]", json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": []}})]
    with closing(sqlite3.connect(copy)) as database, database:
        rows = database.execute(
            "SELECT param_id FROM trial_params WHERE param_name = 'lr' LIMIT 4"
        ).fetchall()
        for (row,), text in zip(rows, odd, strict=True):
            database.execute(
                "UPDATE trial_params SET param_value = 2.0, distribution_json = ? WHERE param_id = ?",
                (text, row),
            )
    source = open_source(str(copy))
    found = read(source)
    assert [found[NASTY, i]["params"]["lr"] for i in range(4)] == ["2.0"] * 4
    assert source.notes() == {"parameters that their distribution does not explain": 4}


def test_optuna_and_mlflow_are_told_apart(made: Path, store: RawStore) -> None:
    store.run("a")
    assert isinstance(open_source(str(made)), OptunaSqlite)
    assert isinstance(open_source(store.uri), MlflowSqlite)
    with pytest.raises(SourceError, match="no Optuna storage"):
        OptunaSqlite(store.path)


def test_reading_needs_no_optuna() -> None:
    script = "import sys, hpkb.sources.optuna_sqlite; assert not {'optuna', 'sqlalchemy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_file_rewritten_while_it_is_read_is_an_error(made: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(made, tmp_path / "o.db"))
    source = open_source(str(copy))
    batches = source.curves(ids_of(source))
    next(batches)
    with closing(sqlite3.connect(copy, isolation_level=None)) as database:
        database.execute("VACUUM")
    with pytest.raises(SourceError, match="rewritten"):
        list(batches)
