"""Optuna's journals and databases: the same trials as in a SQLite file, and nothing written to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpkb.errors import SourceError
from hpkb.kb import connect, ingest_into
from hpkb.sources import open_source
from hpkb.sources.importing import open_import
from hpkb.sources.table import Layout
from tests.postgres import Database

Named = tuple[str, Callable[[], Any]]


def fill(storage: Any) -> None:
    """A study with trials of every state, one of two objectives, and one without a trial."""

    def objective(trial: Any) -> float:
        rate = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        trial.suggest_categorical("optimizer", ["sgd", "adam"])
        trial.set_user_attr("seed", trial.number)
        for step in range(4):
            trial.report(math.nan if trial.number == 1 else rate + step, step)
        if trial.number == 2:
            raise optuna.TrialPruned
        if trial.number == 3:
            raise ZeroDivisionError
        return float(rate)

    study = optuna.create_study(storage=storage, study_name="größe / 2")
    study.optimize(objective, n_trials=6, catch=ZeroDivisionError)
    study.enqueue_trial({"lr": 0.01})
    two = optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])
    two.optimize(lambda trial: (trial.suggest_int("depth", 1, 8), 1.0), n_trials=3)
    optuna.create_study(storage=storage, study_name="empty")


@pytest.fixture(params=["journal", "postgres", "mysql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Named:
    """What hpkb is given, and what opens the storage with Optuna."""
    if request.param == "journal":
        file = tmp_path / "journal.log"
        backend = optuna.storages.journal.JournalFileBackend(str(file))
        return str(file), lambda: optuna.storages.JournalStorage(backend)
    server: Any = request.getfixturevalue("database" if request.param == "postgres" else "mysql_server")
    uri = server.create("optuna_storage")
    return uri, lambda: optuna.storages.RDBStorage(uri)


def trials(path: Path) -> dict[str, list[str]]:
    queries = {
        "runs": "SELECT run_id, task_id, run_name, status, end_reason, objective, infeasible_reason FROM runs",
        "hyperparameters": "SELECT run_id, name, value_text, value_number FROM hyperparameters",
        "curves": "SELECT run_id, metric, step, value FROM curves",
    }
    with connect(path, read_only=True) as kb:
        return {name: sorted(map(repr, kb.sql(query).fetchall())) for name, query in queries.items()}


def test_it_is_as_in_a_sqlite_file_and_read_once(storage: Named, tmp_path: Path) -> None:
    uri, open_storage = storage
    fill(open_storage())
    as_file = f"sqlite:///{tmp_path / 'studies.db'}"
    for name in optuna.get_all_study_names(open_storage()):
        optuna.copy_study(from_study_name=name, from_storage=open_storage(), to_storage=as_file)
    source = open_source(as_file)
    expected = ingest_into(tmp_path / "file.duckdb", source)
    for new in (expected.new, 0):
        imported = open_import(uri, Layout(), None).source
        report = ingest_into(tmp_path / "kb.duckdb", imported)
        imported.close()
        assert (report.new, report.changed, report.tasks) == (new, 0, expected.tasks)
    assert trials(tmp_path / "kb.duckdb") == trials(tmp_path / "file.duckdb")
    assert expected.new == 10


def test_a_journal_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    fill(optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file))))
    file.chmod(0o400)
    before = file.read_bytes(), file.stat().st_mtime_ns, sorted(tmp_path.iterdir())
    open_source(str(file)).close()
    assert (file.read_bytes(), file.stat().st_mtime_ns, sorted(tmp_path.iterdir())) == before


def test_a_database_of_another_kind_is_no_store_and_gets_no_table(database: Database) -> None:
    import psycopg

    uri = database.create("neither")
    with pytest.raises(SourceError, match="is no MLflow store: it has no table experiments"):
        open_source(uri)
    with psycopg.connect(uri.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM pg_stat_user_tables").fetchall() == [(0,)]


def test_what_is_damaged_is_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "broken.log").write_text('{"op_code": 0\n{"op_code": 99}\n')
    (tmp_path / "empty.log").write_text('{"op_code": 7, "worker_id": "a", "study_id": 0}\n')
    for name in ("broken", "empty"):
        with pytest.raises(SourceError, match=r"as an Optuna storage|No study in") as error:
            open_source(str(tmp_path / f"{name}.log"))
        assert "\n" not in str(error.value)
