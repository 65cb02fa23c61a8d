"""Recorded parameters under canonical names.

A store has what its programs wrote: `lr`, `learning_rate`, `cli.lr`. Of the names of one run that mean the same, the
canonical one goes first, then its aliases, then what the script called its arguments (`cli.`, `config.`); the value
of the first is stored under the canonical name. The script's own names stay beside it, and so does whatever lost.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from hpkb.names import lookup

_PREFIXES = ("cli", "config")

_NAMES = """-- One row per recorded name.
SELECT DISTINCT name FROM staged_parameters"""

# `rank` orders the names of a run that mean the same; `stays` says that the name is kept besides.
_ADD = """-- One row per run and parameter.
INSERT INTO hyperparameters
WITH candidates AS (
    SELECT p.run_id, p.name, n.canonical, n.rank, n.stays, p.value, p.origin
    FROM staged_parameters p JOIN recorded_names n USING (name)),
best AS (
    SELECT run_id, canonical, arg_min(name, rank) AS name, arg_min(value, rank) AS value,
        arg_min(origin, rank) AS origin
    FROM candidates WHERE canonical IS NOT NULL GROUP BY run_id, canonical),
named AS (
    SELECT run_id, canonical AS name, value, origin FROM best
    UNION ALL
    SELECT c.run_id, c.name, c.value, c.origin
    FROM candidates c LEFT JOIN best b USING (run_id, canonical)
    WHERE c.canonical IS NULL OR (c.name <> c.canonical AND (c.stays OR c.name <> b.name)))
SELECT run_id, name, value, CASE WHEN isfinite(TRY_CAST(value AS DOUBLE)) THEN TRY_CAST(value AS DOUBLE) END, origin
FROM named"""


def add(connection: duckdb.DuckDBPyConnection, staged: pa.Table) -> None:
    """Adds the parameters, rows of `sources.PARAMETERS`, to the table `hyperparameters`."""
    connection.register("staged_parameters", staged)
    try:
        names = [name for (name,) in connection.execute(_NAMES).fetchall()]
        connection.register("recorded_names", _recorded(names))
        connection.execute(_ADD)
    finally:
        connection.unregister("staged_parameters")
        connection.unregister("recorded_names")


def _recorded(names: list[str]) -> pa.Table:
    rows = [(name, *_meaning(name)) for name in sorted(names)]
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    types = (pa.string(), pa.string(), pa.int64(), pa.bool_())
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, types, strict=True)]
    return pa.Table.from_arrays(arrays, ["name", "canonical", "rank", "stays"])


def _meaning(name: str) -> tuple[str | None, int, bool]:
    """The canonical name or None, the rank among names of one meaning, and whether the name itself is kept."""
    prefix, _, rest = name.partition(".")
    prefixed = prefix in _PREFIXES and rest != ""
    found = lookup(rest if prefixed else name)
    if found is None:
        return None, 0, True
    spelling = (found.name, *found.aliases)
    plain = (rest if prefixed else name).strip().lower().lstrip("-").replace("-", "_").replace(" ", "_")
    exact = 0 if name == found.name else 1 + spelling.index(plain)
    return found.name, exact + (1000 * (1 + _PREFIXES.index(prefix)) if prefixed else 0), prefixed
