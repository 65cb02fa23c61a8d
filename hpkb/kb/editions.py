"""Editions of what was found: the one before is kept beside the present one, so that the handbook can tell them apart.

An edition ends when an analysis gives other findings or other defaults. One that gives the same leaves both as they
are, so that the same runs give the same handbook however often they are analyzed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from hpkb.kb.staging import registered
from hpkb.kb.store import complete, has_table

#: The names in `meta` of the number of the present edition, and of how many runs with an outcome it was found in.
_NUMBER, _N_RUNS = "edition", "edition_runs"
_OF_FINDING = (
    "miner", "task", "hyperparameters", "quantity", "claim", "verdict", "estimate", "low", "high", "condition",
)  # fmt: skip

_FINDINGS = """-- One row per finding.
SELECT finding_id, document FROM findings ORDER BY finding_id"""

_DEFAULTS = """-- One row per recommendation.
SELECT task, document FROM defaults ORDER BY task"""

_RUNS = """-- One row: the runs that have an outcome.
SELECT count(*) FROM runs WHERE task_id IS NOT NULL AND (infeasible OR objective_min IS NOT NULL)"""

_LAST = """-- One row per part of the edition before this one.
SELECT kind, name, document FROM last_edition ORDER BY kind, name"""

_ADD = """-- One row per part of an edition.
INSERT INTO last_edition SELECT kind, name, document FROM staged_edition ORDER BY kind, name"""

_GET = "SELECT value FROM meta WHERE name = $name"
_SET = "INSERT OR REPLACE INTO meta VALUES ($name, $value)"


@dataclass(frozen=True)
class Edition:
    """What one analysis found, as far as another is compared with it.

    `findings` by id and `defaults` by task ('' for all tasks) hold JSON objects; a default has its `verdict` and the
    `values` of its first configuration. `number` counts from 1; 0 is no edition at all.
    """

    number: int
    n_runs: int
    findings: Mapping[str, Mapping[str, Any]]
    defaults: Mapping[str, Mapping[str, Any]]

    def says_the_same(self, other: Edition) -> bool:
        """Whether the other has the same findings and defaults."""
        return self.findings == other.findings and self.defaults == other.defaults


NOTHING = Edition(0, 0, {}, {})


def present(connection: duckdb.DuckDBPyConnection) -> Edition:
    """Returns the edition that the knowledge base holds now."""
    number, runs = _meta(connection, _NUMBER), _meta(connection, _N_RUNS)
    findings = {name: _finding(json.loads(text)) for name, text in connection.execute(_FINDINGS).fetchall()}
    defaults = {name: _default(json.loads(text)) for name, text in connection.execute(_DEFAULTS).fetchall()}
    number = int(bool(findings or defaults)) if number is None else number  # of a file from before there were editions
    return Edition(number, _counted(connection) if runs is None else runs, findings, defaults)


def last(connection: duckdb.DuckDBPyConnection) -> Edition:
    """Returns the edition before the present one, `NOTHING` where this is the first."""
    if not has_table(connection, "last_edition"):
        return NOTHING
    parts: dict[str, dict[str, Any]] = {"edition": {}, "finding": {}, "default": {}}
    for kind, name, text in connection.execute(_LAST).fetchall():
        parts[kind][name] = json.loads(text)
    facts = parts["edition"].get("", {"number": 0, "n_runs": 0})
    return Edition(facts["number"], facts["n_runs"], parts["finding"], parts["default"])


def turn(connection: duckdb.DuckDBPyConnection, before: Edition) -> None:
    """Makes what stands in the knowledge base a new edition, and `before` the last one, where they differ."""
    now = present(connection)
    if before.number and now.says_the_same(before):
        return
    connection.execute(_SET, {"name": _NUMBER, "value": str(before.number + 1)})
    connection.execute(_SET, {"name": _N_RUNS, "value": str(_counted(connection))})
    complete(connection)
    connection.execute("DELETE FROM last_edition")
    rows = _rows(before) if before.number else []
    if rows:
        table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(("kind", "name", "document"))})
        with registered(connection, "staged_edition", table):
            connection.execute(_ADD)


def _meta(connection: duckdb.DuckDBPyConnection, name: str) -> int | None:
    rows = connection.execute(_GET, {"name": name}).fetchall()
    return int(rows[0][0]) if rows else None


def _counted(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute(_RUNS).fetchall()[0][0])


def _rows(edition: Edition) -> list[tuple[str, str, str]]:
    facts = {"number": edition.number, "n_runs": edition.n_runs}
    parts = [("edition", "", facts)]
    parts += [("finding", name, dict(document)) for name, document in edition.findings.items()]
    parts += [("default", name, dict(document)) for name, document in edition.defaults.items()]
    return [(kind, name, json.dumps(document, ensure_ascii=False)) for kind, name, document in parts]


def _finding(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document.get(name) for name in _OF_FINDING}


def _default(document: Mapping[str, Any]) -> dict[str, Any]:
    configurations = document.get("configurations") or [{}]
    return {"verdict": document.get("verdict", "insufficient"), "values": configurations[0].get("values", {})}
