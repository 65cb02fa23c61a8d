"""What a store holds, asked without MLflow, and whether that is what the jobs have logged, and nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy

from hpkb import curve_file
from tests.faults.jobs import Witness


@dataclass
class Logged:
    """One run as the store has it. `points` are the (step, value) of train_loss, as often as they are there."""

    status: str
    tags: dict[str, str] = field(default_factory=dict)
    points: list[tuple[int, float]] = field(default_factory=list)

    @property
    def reason(self) -> str:
        """How the run ended."""
        return self.tags.get("hpkb.end.reason", "")


class Truth:
    """The database behind a store, SQLite or PostgreSQL."""

    def __init__(self, uri: str) -> None:
        self._engine = sqlalchemy.create_engine(uri)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database answers."""
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(query))]

    def n_points(self) -> int:
        """How many points of train_loss the store has in all; none while there is no store."""
        try:
            return int(self.rows("SELECT count(*) FROM metrics WHERE key = 'train_loss'")[0][0])
        except sqlalchemy.exc.OperationalError:
            return 0

    def runs(self) -> dict[str, Logged]:
        """The runs by their names; of several with one name, the later ones are called `NAME again`."""
        # One row per run: id, name, status, the place of its artifacts.
        found = self.rows("SELECT run_uuid, name, status, artifact_uri FROM runs ORDER BY start_time")
        runs = {run_id: Logged(status) for run_id, _, status, _ in found}
        # One row per tag of a run.
        for run_id, key, value in self.rows("SELECT run_uuid, key, value FROM tags"):
            runs[run_id].tags[key] = value
        # One row per point: MLflow's primary key lets none in that is the same in every column.
        for run_id, step, value in self.rows("SELECT run_uuid, step, value FROM metrics WHERE key = 'train_loss'"):
            runs[run_id].points.append((int(step), float(value)))
        for run_id, _, _, place in found:
            if curve_file.TAG in runs[run_id].tags:
                runs[run_id].points = _whole(place, runs[run_id].tags[curve_file.TAG]) or runs[run_id].points
        named: dict[str, Logged] = {}
        for run_id, name, _, _ in found:
            while name in named:
                name += " again"
            named[name] = runs[run_id]
        return named


@dataclass
class Account:
    """How many steps the jobs have logged, and of how many the store has no point, or more than one."""

    runs: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    def __str__(self) -> str:
        return f"{self.runs} runs, {self.acknowledged} acknowledged steps: {self.lost} lost, {self.doubled} doubled"

    def add(self, other: Account) -> None:
        """Takes in another account."""
        for name, number in vars(other).items():
            setattr(self, name, getattr(self, name) + number)

    @property
    def clean(self) -> bool:
        """Whether nothing is amiss."""
        return not (self.lost or self.doubled or self.wrong)


def account(runs: Mapping[str, Logged], witnesses: Mapping[str, Witness]) -> Account:
    """Holds the runs against what their jobs saw acknowledged.

    A job that was killed between the return of `log` and its own note may have logged one step more than it knows.
    """
    told = Account()
    for name, witness in witnesses.items():
        steps = witness.acknowledged()
        told.add(_one(runs[name], steps) if name in runs else Account(1, len(steps), len(steps)))
    return told


def _one(run: Logged, steps: set[int]) -> Account:
    found = {step for step, _ in run.points}
    beyond = found - steps - {len(steps) + 1}
    wrong = sum(value != step / 2 for step, value in run.points) + len(beyond)
    return Account(1, len(steps), len(steps - found), len(run.points) - len(found), wrong)


def _whole(place: str, path: str) -> list[tuple[int, float]]:
    folder = Path(urlsplit(place).path)
    if not (folder / path).exists():
        return []
    points = []
    for batch in curve_file.read(folder / path):
        columns = batch.select(["metric", "step", "value"]).to_pydict()
        rows = zip(columns["metric"], columns["step"], columns["value"], strict=True)
        points += [(step, value) for metric, step, value in rows if metric == "train_loss"]
    return points
