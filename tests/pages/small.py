"""A knowledge base so small that its pages can be read whole: one task, six runs, three findings, two editions."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict

import duckdb

from hpkb.findings import Finding
from hpkb.kb import editions
from hpkb.kb.knowledge import KnowledgeBase
from tests.pages import sample

START = dt.datetime(2026, 3, 2, 8, 0)
#: Learning rate, seed, objective; None: it diverged.
RUNS = ((0.001, 0, 0.31), (0.001, 1, 0.33), (0.01, 0, 0.22), (0.01, 1, 0.24), (0.1, 0, 0.27), (1.0, 0, None))
EVERYTHING = tuple(f"{number:032x}" for number in range(1, len(RUNS) + 1))


def build() -> duckdb.DuckDBPyConnection:
    """Returns a connection to it."""
    connection = sample.empty()
    rows: sample.Rows = defaultdict(list)
    rows["meta"] = [("analysis", "hpkb; seed 0; miners all"), ("schema", "4")]
    rows["sources"] = [("http://127.0.0.1:5000", "mlflow", START)]
    rows["tasks"] = [("digits", "digits", "val_loss", "min")]
    for number, (rate, seed, value) in enumerate(RUNS):
        _add_run(rows, number, rate, seed, value)
    sample.insert(connection, rows)
    base = KnowledgeBase(connection)
    _analyzed(base, 0.001, FOUND_BEFORE)
    _analyzed(base, 0.01, FOUND)
    base.save_suggestions([SUGGESTED])
    return connection


def _add_run(rows: sample.Rows, number: int, rate: float, seed: int, value: float | None) -> None:
    began = START + dt.timedelta(minutes=number)
    objective = float("nan") if value is None else value
    rows["runs"].append((
        EVERYTHING[number], "digits", "http://127.0.0.1:5000", "demo", f"digits-{number}", "FINISHED", began,
        began + dt.timedelta(seconds=30), f"c{rate:g}", seed, objective, value, value is None,
        None if value else "objective is NaN", "exit status 0", "-",
    ))  # fmt: skip
    for name, text in (("learning_rate", f"{rate:g}"), ("seed", str(seed))):
        rows["hyperparameters"].append((EVERYTHING[number], name, text, float(text), "param", name))
    rows["splits"].append((EVERYTHING[number], "validation", "5f3a90c1", 360))


def _analyzed(base: KnowledgeBase, rate: float, found: list[Finding]) -> None:
    before = editions.present(base.connection)
    base.save_findings(found)
    for task in (None, "digits"):
        base.save_default(task, "recommended", _default(task, rate, [f.id for f in found if f.verdict == "supported"]))
    editions.turn(base.connection, before)


def _default(task: str | None, rate: float, evidence: list[str]) -> dict[str, object]:
    regret = {"mean": 0.1, "low": 0.04, "high": 0.2, "worst": 0.3, "worst_task": "digits", "tasks": 1}
    first = {
        "rank": 1, "values": {"learning_rate": rate}, "plateau": {"learning_rate": [rate / 2, rate * 3]},
        "held_out_regret": regret, "worth_random_trials": 12, "finding_ids": evidence,
    }  # fmt: skip
    return {
        "task": task, "objective": "val_loss:min", "configurations": [first], "rules": [], "n_tasks": 1, "n_runs": 6,
        "verdict": "recommended", "reason": "",
    }  # fmt: skip


_ALL = {"n_runs": 6, "n_configurations": 4, "n_seeds": 2, "infeasible_share": 1 / 6, "run_ids": EVERYTHING}
_OPTIMUM = Finding(
    "response", "digits", ("learning_rate",), "optimum", "The best learning rate of digits is 0.01.", "supported", 0.01,
    0.004, 0.03, p_value=0.002, q_value=0.006, comparisons=3, **_ALL,
)  # fmt: skip
_NOISE = Finding(
    "noise_floor", "digits", (), "seed_sd", "Seeds alone move val_loss by 0.014.", "supported", 0.0141, 0.008, 0.06,
    p_value=0.01, q_value=0.02, comparisons=3, caveats=("Two configurations have two seeds each.",),
    n_runs=4, n_configurations=2, n_seeds=2, run_ids=EVERYTHING[:4],
)  # fmt: skip
_DIVERGENCE = Finding(
    "divergence", "digits", ("learning_rate",), "safe_upper_bound", "Where digits begins to diverge is not known.",
    "insufficient", 0.3, None, None, **_ALL,
)  # fmt: skip
FOUND = [_OPTIMUM, _NOISE, _DIVERGENCE]
FOUND_BEFORE = [
    Finding("response", "digits", ("learning_rate",), "optimum", "The best learning rate of digits is not known.",
            "insufficient", 0.001, n_runs=4, n_configurations=2, n_seeds=2, run_ids=EVERYTHING[:4]),
]  # fmt: skip
SUGGESTED = {
    "task": "digits", "objective": "val_loss:min", "design": "auto", "n_runs": 6, "n_configurations": 4,
    "reason": "4 configurations were run, 1 hyperparameter varied, up to 2 seeds of one.",
    "baseline": {"values": {"learning_rate": 0.01}, "origin": "the task's recommended default"},
    "experiments": [
        {"rank": 1, "values": {"learning_rate": 0.3}, "seed": None, "design": "boundary", "is_repeat": False,
         "settles": "Where digits begins to diverge: between 0.1 and 1.", "finding_id": _DIVERGENCE.id},
    ],
    "left_out": [], "fixed": {}, "space": {}, "options": {"learning_rate": "lr"},
}  # fmt: skip
