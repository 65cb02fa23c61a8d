"""Recorded parameters under canonical names.

A store has what its programs wrote: `lr`, `learning_rate`, `cli.lr`. Of the names of one run that mean the same, the
canonical one goes first, then its aliases, then what the script called its arguments (`cli.`, `config.`); the value
of the first is stored under the canonical name. The script's own names stay beside it, and so does whatever lost.
"""

from __future__ import annotations

from collections import Counter

import duckdb
import pyarrow as pa

from hpkb.corrections import Corrections
from hpkb.names import lookup

_PREFIXES = ("cli", "config")

_NAMES = """-- One row per recorded name.
SELECT DISTINCT name FROM staged_parameters"""

# `rank` orders the names that mean the same, `contested` says that there are several of them in this store, and
# `stays` that the name is kept beside the canonical one.
_ADD = """-- One row per run and parameter.
INSERT INTO hyperparameters
WITH candidates AS (
    SELECT p.run_id, p.name, n.canonical, n.rank, n.contested, n.stays, p.value, p.origin
    FROM staged_parameters p JOIN recorded_names n USING (name)),
best AS (
    SELECT run_id, canonical, arg_min({'name': name, 'value': value, 'origin': origin}, (rank, name)) AS first
    FROM candidates WHERE contested GROUP BY run_id, canonical),
named AS (
    SELECT run_id, coalesce(canonical, name) AS name, value, origin FROM candidates WHERE NOT contested
    UNION ALL
    SELECT run_id, name, value, origin FROM candidates
    WHERE NOT contested AND stays AND name <> canonical
    UNION ALL
    SELECT run_id, canonical, first.value, first.origin FROM best
    UNION ALL
    SELECT c.run_id, c.name, c.value, c.origin FROM candidates c JOIN best b USING (run_id, canonical)
    WHERE c.name <> c.canonical AND (c.stays OR c.name <> b.first.name)),
numbered AS (SELECT *, TRY_CAST(value AS DOUBLE) AS number FROM named)
SELECT run_id, name, value, CASE WHEN isfinite(number) THEN number END, origin FROM numbered"""


def add(connection: duckdb.DuckDBPyConnection, staged: pa.Table, corrections: Corrections) -> None:
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
    meanings = [_meaning(name) for name in names]
    meant = Counter(canonical for canonical, _, _ in meanings if canonical)
    return pa.table(
        {
            "name": pa.array(names, pa.string()),
            "canonical": pa.array([canonical for canonical, _, _ in meanings], pa.string()),
            "rank": pa.array([rank for _, rank, _ in meanings], pa.int64()),
            "stays": pa.array([stays for _, _, stays in meanings], pa.bool_()),
            "contested": pa.array([meant[canonical or ""] > 1 for canonical, _, _ in meanings], pa.bool_()),
        }
    )


def _meaning(name: str) -> tuple[str | None, int, bool]:
    """The canonical name or None, the rank among names of one meaning, and whether the name itself is kept."""
    prefix, _, rest = name.partition(".")
    prefixed = prefix in _PREFIXES and rest != ""
    bare = rest if prefixed else name
    found = lookup(bare)
    if found is None:
        return None, 0, True
    spellings = (found.name, *found.aliases)
    rank = spellings.index(bare) if bare in spellings else len(spellings)
    return found.name, rank + (1000 * (1 + _PREFIXES.index(prefix)) if prefixed else 0), prefixed
