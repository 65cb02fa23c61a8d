"""A knowledge base in which every name and value is an attack on a page."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict

import duckdb

from hpkb.findings import Finding
from tests.pages import sample

#: What runs, or breaks a page, where one name is written without care.
STRINGS = (
    "<script>window.broken=1</script>", '"><img src=x onerror="window.broken=1">', "'onmouseover='window.broken=1",
    "</title><svg onload=window.broken=1>", "]]><script>window.broken=1</script>", "{{ 7*7 }}{% raw %}",
    "javascript:window.broken=1", "</style><script>window.broken=1</script>", "&lt;script&gt;", "\u202egnp.exe",
    "\x00\x07\x1b[31m", "../../../../etc/passwd", "a" * 100_000, "שלום עולם", "😀" * 300, "${7*7}`", "--><b>",
    "%3Cscript%3E", "con", "é\u0301", "\ud7ff\ue000", "line\nbreak\ttab",
)  # fmt: skip


def build() -> duckdb.DuckDBPyConnection:
    """Returns a connection to the knowledge base: one task a string, each with three runs and two findings."""
    connection = sample.empty()
    rows: sample.Rows = defaultdict(list)
    for text in STRINGS:
        _add_task(rows, text)
    sample.insert(connection, rows)
    for text in STRINGS:
        for finding in _findings(text):
            sample.insert_finding(connection, finding)
    return connection


def run_ids(text: str) -> list[str]:
    """Returns the ids of a task's runs."""
    return [f"{text}{number}" for number in range(3)]


def _add_task(rows: sample.Rows, text: str) -> None:
    rows["tasks"].append((text, text, text, "min"))
    rows["sources"].append((f"sqlite:///{text}", text, dt.datetime(2026, 1, 1)))
    for number, run_id in enumerate(run_ids(text)):
        done = number < 2
        value = number + 0.5 if done else None
        end = (text, number, value, value, not done, text, text, text)
        rows["runs"].append((run_id, text, f"sqlite:///{text}", text, text, "FAILED", None, None, *end))
        for name in ("learning_rate", text):
            rows["hyperparameters"].append((run_id, name, f"{text}{number}", None, "param", text))
        rows["splits"].append((run_id, text, text, 1))
        rows["hardware"].append((run_id, text, text))
        for step in range(3):
            rows["curves"].append((run_id, text, step, None, float(step)))


def _findings(text: str) -> list[Finding]:
    points = [
        {"x": text, "y": None if i == 2 else 0.5 + i, "run_id": run_id, "infeasible": i == 2}
        for i, run_id in enumerate(run_ids(text))
    ]
    x = {"label": text, "scale": "category", "levels": [text]}
    line = [{"x": text, "y": 1.0, "low": 0.5, "high": 1.5}]
    response = {
        "kind": "response", "x": x, "y": {"label": text, "scale": "linear"}, "points": points, "line": line,
        "plateau": [], "optimum": {"x": text, "low": None, "high": None},
    }  # fmt: skip
    row = {"label": text, "estimate": 1.0, "low": 0.0, "high": 2.0, "verdict": text}
    forest = {
        "kind": "forest",
        "x": {"label": text},
        "rows": [row],
        "references": [{"label": text, "value": 0.5}],
    }
    common = {"task": text, "claim": text, "unit": text, "caveats": (text,), "run_ids": tuple(run_ids(text))}
    return [
        Finding(miner="response", hyperparameters=(text,), quantity="optimum", verdict="supported", estimate=text,
                figure=response, **common),
        Finding(miner=text, hyperparameters=(text, text), quantity=text, verdict="insufficient", estimate=1.0, low=0.0,
                high=2.0, figure=forest, **common),
    ]  # fmt: skip
