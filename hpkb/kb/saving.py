"""Findings into their tables, all at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb

from hpkb.findings import Finding

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = (
    "finding_id", "miner", "task", "quantity", "verdict", "claim", "estimate", "low", "high", "p_value", "q_value",
    "document", "figure",
)  # fmt: skip
_NUMBERS = frozenset(["estimate", "low", "high", "p_value", "q_value"])
_FEW = 32  # runs whose ids a document holds itself
_TOGETHER = 2_000  # findings; their texts stand in memory twice

_ADD_FINDINGS = """-- One row per finding.
INSERT INTO findings BY NAME SELECT * FROM staged_findings"""

_ADD_LISTS = """-- One row per list of runs.
INSERT INTO run_lists BY NAME SELECT * FROM staged_lists"""

# Those of a finding stand together and in order, and so take little room; nothing has to be sorted for it.
_ADD_FINDING_RUNS = """-- One row per finding and run.
INSERT INTO finding_runs
WITH sorted AS MATERIALIZED (SELECT run_list, list_sort(list_distinct(run_ids)) AS run_ids FROM run_lists)
SELECT finding_id, unnest(run_ids) FROM staged_findings JOIN sorted USING (run_list)"""


def write_findings(connection: duckdb.DuckDBPyConnection, findings: Sequence[Finding]) -> None:
    """Replaces all findings by these; raises ValueError where a figure holds a NaN or two ask the same."""
    if len({finding.id for finding in findings}) < len(findings):
        raise ValueError("two findings ask the same question: miner, task, quantity and hyperparameters agree")
    for table in ("finding_runs", "run_lists", "findings"):
        connection.execute(f"DELETE FROM {table}")
    names = _names(findings)
    _insert(connection, "staged_lists", _ADD_LISTS, _lists(names))
    for start in range(0, len(findings), _TOGETHER):
        rows = [_row(finding, names[finding.run_ids]) for finding in findings[start : start + _TOGETHER]]
        _insert(connection, "staged_findings", _ADD_FINDINGS, _table(rows))
    placed = sorted((finding.id, names[finding.run_ids]) for finding in findings)
    _insert(connection, "staged_findings", _ADD_FINDING_RUNS, _texts(finding_id=0, run_list=1, rows=placed))


def _insert(connection: duckdb.DuckDBPyConnection, name: str, sql: str, rows: pa.Table) -> None:
    from hpkb.kb.staging import registered

    if rows.num_rows:
        with registered(connection, name, rows):
            connection.execute(sql)


def _names(findings: Iterable[Finding]) -> dict[tuple[str, ...], str]:
    """The name of each list of runs, the same for the same runs."""
    lists = dict.fromkeys(finding.run_ids for finding in findings)
    return {runs: hashlib.blake2b(json.dumps(runs).encode(), digest_size=12).hexdigest() for runs in lists}


def _lists(names: Mapping[tuple[str, ...], str]) -> pa.Table:
    import pyarrow as pa

    runs = pa.array([list(runs) for runs in names], pa.list_(pa.string()))
    return pa.table({"run_list": pa.array([*names.values()], pa.string()), "run_ids": runs})


def _row(finding: Finding, run_list: str) -> dict[str, Any]:
    document = finding.to_json(runs=len(finding.run_ids) <= _FEW)
    if len(finding.run_ids) > _FEW:
        del document["run_ids"]
        document["run_list"] = run_list
    document["claim_if_insufficient"] = finding.claim_if_insufficient
    return {
        "finding_id": finding.id,
        **{name: _plain(name, getattr(finding, name)) for name in _COLUMNS[1:-2]},
        "document": json.dumps(document, allow_nan=False, ensure_ascii=False),
        "figure": json.dumps(dict(finding.figure), allow_nan=False, ensure_ascii=False),
    }


def _plain(name: str, value: Any) -> Any:
    """A number of a finding, None where it is a word; a text as it is."""
    if name not in _NUMBERS:
        return value
    return None if value is None or isinstance(value, str) else float(value)


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    import pyarrow as pa

    types = {name: pa.float64() if name in _NUMBERS else pa.string() for name in _COLUMNS}
    return pa.table({name: pa.array([row[name] for row in rows], types[name]) for name in _COLUMNS})


def _texts(rows: Sequence[tuple[str, str]], **places: int) -> pa.Table:
    import pyarrow as pa

    return pa.table({name: pa.array([row[i] for row in rows], pa.string()) for name, i in places.items()})
