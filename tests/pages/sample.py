"""A small knowledge base with a known law behind it: what the tests of the pages render.

Five tasks, 72 runs each, with curves, splits, failed runs, findings of six miners and defaults. Everything is drawn
from one seed; run ids, names and times are fixed, so that the pages are the same bytes on every machine.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from hpkb.findings import Finding
from hpkb.kb.knowledge import KnowledgeBase
from hpkb.suggest.plan import suggest_each
from tests.pages.law import LAWS, Law, Trial, draw_trials, generator
from tests.pages.law import SERVER as SERVER
from tests.pages.law import identifier as identifier
from tests.pages.sample_findings import defaults, findings_of, findings_together

Rows = dict[str, list[tuple[Any, ...]]]
START = dt.datetime(2026, 3, 2, 8, 0)
#: The columns of the rows that are filed under a table, where they are not all that it has.
COLUMNS = {
    "tasks": ("task_id", "name", "metric", "direction"),
    "runs": (
        "run_id", "task_id", "source", "experiment", "run_name", "status", "started_at", "ended_at", "configuration_id",
        "seed", "objective", "objective_min", "infeasible", "infeasible_reason", "end_reason", "fingerprint",
    ),
}  # fmt: skip
CURVE_STEPS = tuple(range(0, 400, 20))


def build(path: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Returns a connection to a knowledge base filled with the sample, in memory where no path is given."""
    connection = empty(path)
    fill(connection)
    return connection


def empty(path: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Returns a connection to a knowledge base with its tables and no rows, in memory where no path is given."""
    connection = duckdb.connect(str(path) if path else ":memory:")
    connection.execute(resources.files("hpkb").joinpath("kb", "schema.sql").read_text(encoding="utf-8"))
    return connection


def bare() -> duckdb.DuckDBPyConnection:
    """Returns a connection to the sample's runs with no finding and no curve: pages that are quickly drawn."""
    connection = build()
    for table in ("findings", "finding_runs", "curve_points", "curve_names", "defaults"):
        connection.execute(f"DELETE FROM {table}")
    return connection


def fill(connection: duckdb.DuckDBPyConnection) -> None:
    """Puts the sample's rows into an empty knowledge base."""
    rows: Rows = defaultdict(list)
    trials = {law.name: list(draw_trials(law)) for law in LAWS}
    rows["meta"] = [("hpkb_version", "0.1.0"), ("schema", "1"), ("seed", "0"), ("objective", "")]
    rows["sources"] = [(s, "mlflow", START) for s in sorted({law.source for law in LAWS})]
    for law in LAWS:
        rows["tasks"].append((law.name, law.name, law.metric, "min"))
        for number, trial in enumerate(trials[law.name]):
            _add_run(rows, law, trial, number)
    findings = [f for law in LAWS for f in findings_of(law, trials[law.name])]
    for finding in [*findings, *findings_together(trials)]:
        _add_finding(rows, finding)
    rows["defaults"] = list(defaults(findings))
    insert(connection, rows)
    base = KnowledgeBase(connection)
    base.save_suggestions(suggest_each(base, 4))


def insert_finding(connection: duckdb.DuckDBPyConnection, finding: Finding) -> None:
    """Puts one finding and its runs into the knowledge base."""
    insert_findings(connection, [finding])


def insert_findings(connection: duckdb.DuckDBPyConnection, findings: Iterable[Finding]) -> None:
    """Puts findings and their runs into the knowledge base."""
    rows: Rows = defaultdict(list)
    for finding in findings:
        _add_finding(rows, finding)
    insert(connection, rows)


def insert(connection: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    """Puts rows into the tables they are filed under; `curves` is a view of two."""
    points = rows.pop("curves", [])
    numbers = {name: number for number, name in enumerate(dict.fromkeys(row[:2] for row in points))}
    if points:
        rows["curve_names"] = [(number, *name) for name, number in numbers.items()]
        rows["curve_points"] = [(numbers[row[:2]], *row[2:]) for row in points]
    for table, records in rows.items():
        columns = {f"c{i}": list(column) for i, column in enumerate(zip(*records, strict=True))}
        connection.register("incoming", pa.table(columns))
        named = f"({', '.join(COLUMNS[table])})" if table in COLUMNS else ""
        connection.execute(f"INSERT INTO {table} {named} SELECT * FROM incoming")
        connection.unregister("incoming")


def _add_finding(rows: Rows, finding: Finding) -> None:
    numbers = [v if isinstance(v, float) else None for v in (finding.estimate, finding.low, finding.high)]
    row = (
        finding.id, finding.miner, finding.task, finding.quantity, finding.verdict, finding.claim, *numbers,
        finding.p_value, finding.q_value, json.dumps(finding.to_json()), json.dumps(finding.figure),
    )  # fmt: skip
    rows["findings"].append(row)
    rows["finding_runs"].extend((finding.id, run) for run in finding.run_ids)


def _add_run(rows: Rows, law: Law, trial: Trial, number: int) -> None:
    began = START + dt.timedelta(minutes=2 * number)
    ended = None if trial.state == "running" else began + dt.timedelta(seconds=41 + number)
    status = {"finished": "FINISHED", "diverged": "FINISHED", "failed": "FAILED", "running": "RUNNING"}[
        trial.state
    ]
    diverged, done = trial.state == "diverged", trial.state == "finished"
    row = (
        trial.run_id, law.name, law.source, "demo", f"{law.name}-{number:03d}", status, began, ended,
        trial.configuration, trial.seed, trial.objective if done else (float("nan") if diverged else None),
        trial.objective if done else None, diverged, "objective is NaN" if diverged else None,
        "ValueError: the data set is not there" if trial.state == "failed" else "exit status 0", "-",
    )  # fmt: skip
    rows["runs"].append(row)
    parameters = {**trial.values, "seed": trial.seed, "steps": 400, "cli.lr": trial.values["learning_rate"]}
    for name, value in parameters.items():
        number_or_none = None if isinstance(value, str) else float(value)
        rows["hyperparameters"].append((trial.run_id, name, str(value), number_or_none, "param", name))
    for role, examples in (("training", 1437), ("validation", 360)):
        rows["splits"].append((trial.run_id, role, identifier(law.name, role, size=8), examples))
    rows["hardware"].append((trial.run_id, "hpkb.hw.cpu.model", "EPYC 7B13"))
    if trial.state != "failed":
        _add_curves(rows, trial, began)


def _add_curves(rows: Rows, trial: Trial, began: dt.datetime) -> None:
    draw = generator(trial.run_id)
    steps = np.array(CURVE_STEPS)
    for metric, scale in (("train_loss", 0.85), ("val_loss", 1.0)):
        start = trial.objective * 6 + 1.2
        wobble = np.exp(0.03 * draw.standard_normal(steps.size))
        values = scale * (trial.objective + (start - trial.objective) * np.exp(-steps / 70)) * wobble
        if trial.state == "diverged":
            values = values[0] * np.exp(steps / 60)
            values[12:] = np.nan
        rows["curves"].extend(
            (trial.run_id, metric, step, began + dt.timedelta(seconds=step / 10), float(value))
            for step, value in zip(CURVE_STEPS, values, strict=True)
        )
