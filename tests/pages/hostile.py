"""A knowledge base in which every name and value is an attack on a page."""

from __future__ import annotations

import datetime as dt
import random
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


#: What attacks are put together from, in `many`.
_PIECES = (
    "<script>window.broken=1</script>", "<img src=x onerror=window.broken=1>", "<svg/onload=window.broken=1>",
    "</script>", "</style>", "</title>", "</textarea>", "-->", "<!--", "]]>", "<![CDATA[", "'", '"', "`", "&", "&#0;",
    "&lt;", "<", ">", "{{ 7*7 }}", "{% raw %}", "{% endblock %}", "{#", "${window.broken=1}", "data:text/html,x",
    "javascript:window.broken=1", "onmouseover=window.broken=1 ", "\\u003cscript\\u003e", "\\", "\\n", "\n", "\t", "\r",
    "\x00", "\x08", "\x1b[31m", "\x7f", "\u2028", "\u2029", "\u202e", "\u2066", "\u200f", "\ufeff", "\ufffe", "\ud800",
    "é\u0301", "שלום", "مرحبا", "😀", "漢字", "a" * 60, "../", "..\\", "%00", "%2e%2e/", "#", "?", ";", "|", " ", "con",
    "__proto__", "constructor", "toString", "0", "NaN", "1e999",
)  # fmt: skip


def many(n: int = 1000) -> list[str]:
    """Returns that many different attacks: those above, some of 100 kB, the others put together at random."""
    draw = random.Random(0)
    found = dict.fromkeys(map(storable, (*STRINGS, "<" * 100_000, "\u202e" * 100_000, "& " * 50_000)))
    while len(found) < n:
        found[storable("".join(draw.choices(_PIECES, k=draw.randint(1, 6))))] = None
    return list(found)


def storable(text: str) -> str:
    """Returns text as a store holds it: a lone surrogate is no character."""
    return text.encode("utf-8", "replace").decode("utf-8")


def crowd(n: int = 1000, tasks: int = 25) -> duckdb.DuckDBPyConnection:
    """Returns a connection to a knowledge base in which each of `n` attacks is a name or a value of every kind.

    Each stands for a run (its id, its name, its experiment, its errors), a hyperparameter and a value of it, an axis of
    a chart, a claim with unit and caveat, a split, a fact of hardware; tasks, miners, metrics and levels have some.
    """
    connection = sample.empty()
    rows: sample.Rows = defaultdict(list)
    findings: list[Finding] = []
    strings = many(n)
    for number in range(tasks):
        own = strings[number::tasks]
        task = own[0]
        rows["tasks"].append((task, task, own[1], "min"))
        rows["sources"].append((f"sqlite:///{own[2]}", own[2], dt.datetime(2026, 1, 1)))
        for i, text in enumerate(own):
            value = None if i % 7 == 6 else float(i)
            end = (text, i, value, value, value is None, text, text, text)
            run = f"{text}{number}"
            rows["runs"].append((run, task, f"sqlite:///{own[2]}", text, text, text, None, None, *end))
            for name, said in (("learning_rate", f"{i}"), (own[3], text), (text, "1")):
                rows["hyperparameters"].append((run, name, said, None, "param", text))
            rows["splits"].append((run, text, text, 1))
            rows["hardware"].append((run, text, text))
            rows["curves"].extend((run, own[1], step, None, float(step + i)) for step in range(3))
            findings.append(_crowded(task, text, own, number, text if i % 8 == 0 else "learning_rate"))
    sample.insert(connection, rows)
    sample.insert_findings(connection, findings)
    return connection


def _crowded(task: str, text: str, own: list[str], number: int, name: str) -> Finding:
    """A finding on the hyperparameter `name`: a response with attacks as its levels, or a forest of them."""
    runs = tuple(f"{one}{number}" for one in own)
    levels = own[:8]
    points = [{"x": level, "y": float(i), "run_id": runs[i], "infeasible": i == 7} for i, level in enumerate(levels)]
    figure = {
        "kind": "response", "x": {"label": text, "scale": "category", "levels": levels},
        "y": {"label": text, "scale": "linear"}, "points": points,
        "line": [{"x": level, "y": 1.0, "low": 0.5, "high": 1.5} for level in levels],
    } if len(text) % 2 else {
        "kind": "forest", "x": {"label": text}, "references": [{"label": text, "value": 0.5}],
        "rows": [{"label": one, "estimate": 1.0, "low": 0.0, "high": 2.0, "verdict": one} for one in (text, *own[:4])],
    }  # fmt: skip
    return Finding(
        miner=own[4] if len(text) % 3 == 0 else "response", task=task, hyperparameters=(name,), quantity=text,
        claim=text, verdict="supported" if len(text) % 5 else "insufficient", estimate=text, unit=text, caveats=(text,),
        run_ids=runs, figure=figure,
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
