"""Many jobs: eight at once on a store that does not exist, 64 short ones in a row."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.conftest import NewPlace
from tests.faults.jobs import COUNTING, Witness
from tests.faults.place import Place
from tests.faults.truth import Truth, account
from tests.postgres import Database

STEPS = 100


def hold(place: Place, witnesses: list[Witness], uri: str) -> None:
    """Every run is FINISHED and whole, without anybody calling `hpkb sync`."""
    assert place.left() == []
    runs = Truth(uri).runs()
    told = account(runs, {witness.file.stem: witness for witness in witnesses})
    print(told)
    assert told.clean, told
    assert told.acknowledged == STEPS * len(witnesses)
    assert set(runs) == {witness.file.stem for witness in witnesses}
    assert {run.status for run in runs.values()} == {"FINISHED"}


def eight_at_once(place: Place, uri: str) -> None:
    """Runs eight jobs that begin together, and holds the store against them."""
    began = time.monotonic()
    witnesses = [Witness(place.folder / f"job-{i}.witness") for i in range(8)]
    jobs = [place.log(witness.file.stem, COUNTING, witness.file, 0.002, STEPS) for witness in witnesses]
    said = [job.communicate(timeout=200) for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 8
    assert said == [("", "")] * 8
    print(f"eight jobs in {time.monotonic() - began:.1f} s", end=", ")
    hold(place, witnesses, uri)


def test_eight_jobs_at_once_on_an_sqlite_store_that_does_not_exist(new_place: NewPlace, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    eight_at_once(new_place(uri=uri), uri)
    assert [file.name for file in (tmp_path / "new").iterdir() if file.name.startswith(".")] == []


def eight_users(new_place: NewPlace, uri: str) -> None:
    """Runs eight jobs, each with a spool and so a shipper of its own, and holds the store against them."""
    places = [new_place(f"user-{i}", uri) for i in range(8)]
    witnesses = [Witness(place.folder / f"{place.folder.name}.witness") for place in places]
    began = time.monotonic()
    jobs = [
        place.log(witness.file.stem, COUNTING, witness.file, 0.002, STEPS)
        for place, witness in zip(places, witnesses, strict=True)
    ]
    said = [job.communicate(timeout=200) for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 8
    assert said == [("", "")] * 8
    print(f"eight users in {time.monotonic() - began:.1f} s", end=", ")
    assert [place.left() for place in places] == [[]] * 8
    hold(places[0], witnesses, uri)


def test_eight_users_at_once_on_an_sqlite_store_that_does_not_exist(new_place: NewPlace, tmp_path: Path) -> None:
    """Nothing but the store's lock keeps them apart."""
    eight_users(new_place, f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}")


def test_eight_users_at_once_on_an_empty_postgresql_database(new_place: NewPlace, database: Database) -> None:
    """Nothing but a lock in the database keeps them apart: MLflow lets only one of them make its tables."""
    eight_users(new_place, database.create("eight-users"))


def test_eight_jobs_at_once_on_an_empty_postgresql_database(new_place: NewPlace, database: Database) -> None:
    uri = database.create("eight-at-once")
    eight_at_once(new_place(uri=uri), uri)


@pytest.mark.timeout(600)
def test_64_short_jobs_in_a_row(new_place: NewPlace) -> None:
    place, witnesses, took = new_place(), [], []
    for i in range(64):
        began = time.monotonic()
        supervisor, witness = place.count(f"job-{i}", 0.0, STEPS)
        assert supervisor.communicate(timeout=90) == ("", "")
        assert supervisor.returncode == 0
        took.append(time.monotonic() - began)
        witnesses.append(witness)
    print(f"64 jobs in {sum(took):.1f} s, median {sorted(took)[32]:.2f} s, the longest {max(took):.1f} s", end=", ")
    hold(place, witnesses, place.uri)
