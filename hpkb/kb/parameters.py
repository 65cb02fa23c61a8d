"""Recorded parameters under canonical names.

A store has what its programs wrote: `lr`, `optimizer.lr`, `cli.lr`. Of the names of one run that mean the same, the
canonical one goes first, then its aliases, then what the script called its settings (`cli.`, `config.`); the value of
the first is stored under the canonical name, and what the script called its settings stays beside it. Where two names
of which none is the canonical one have different values, and where `batch_size` may be a part of the batch or the whole
of it, nobody guesses: the values stay under `ambiguous.NAME`, and `questions` asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

import duckdb
import pyarrow as pa

from hpkb.corrections import Corrections, meaning
from hpkb.names import lookup
from hpkb.vocabulary import ABSENT, AMBIGUOUS, read_level, read_name, read_number, words

#: Names of a batch that can only mean all examples of an optimizer step.
WHOLE_BATCH = frozenset(["global_batch_size", "total_batch_size", "effective_batch_size"])
_OF_SCRIPT = ("cli", "config")
_BETAS = ("betas", "adam_betas")

_NAMES = """-- One row per recorded name.
SELECT DISTINCT name FROM staged_parameters ORDER BY name"""

_PARAMS_OF_RUNS = """-- One row per run to read: its experiment and its recorded parameters.
SELECT r.run_id, r.experiment, map_from_entries(list({'k': p.name, 'v': p.value}) FILTER (p.name IS NOT NULL)) AS params
FROM runs r JOIN changes c USING (run_id)
LEFT JOIN staged_parameters p ON p.run_id = r.run_id AND list_contains($names, p.name)
WHERE c.change IN ('new', 'changed') GROUP BY ALL"""

_TEXTS = """-- One row per value that is no plain number.
SELECT DISTINCT value FROM staged_parameters WHERE value IS NOT NULL AND TRY_CAST(value AS DOUBLE) IS NULL"""

_LEVELLED = """-- One row per recorded name and value that a canonical level may stand for.
SELECT DISTINCT name, value FROM staged_parameters WHERE list_contains($names, name) AND value IS NOT NULL"""

# `rank` orders the names that mean the same, `contested` says that there are several of them in this store, `stays`
# that the name is kept beside the canonical one, `part` that it may be a part of what the canonical name says.
_CANDIDATES = """-- One row per run and recorded parameter.
CREATE OR REPLACE TEMP TABLE candidates AS
SELECT p.run_id, p.name AS recorded, n.canonical, n.rank, n.contested, n.stays, n.part, n.of_script,
    coalesce(l.level, p.value) AS value, p.origin,
    coalesce(TRY_CAST(p.value AS DOUBLE), t.number) AS number,
    p.value IS NULL OR list_contains($absent, lower(trim(p.value))) AS absent
FROM staged_parameters p LEFT JOIN readings r USING (run_id)
JOIN recorded_names n ON n.name = p.name AND n.reading = coalesce(r.reading, 0)
LEFT JOIN levels l ON l.name = p.name AND l.value = p.value AND l.reading = n.reading
LEFT JOIN texts t ON t.value = p.value
WHERE n.canonical IS DISTINCT FROM ''"""

_PARTS = """-- One row per run in which a batch of the recorded size may be one of several that make a step.
CREATE OR REPLACE TEMP TABLE divided AS
SELECT run_id FROM candidates GROUP BY run_id
HAVING coalesce(max(number) FILTER (canonical IN ('accumulation_steps', 'world_size')), 1) > 1
    AND NOT coalesce(bool_or(canonical = 'micro_batch_size' AND NOT absent), false)"""

_ADD = """-- One row per run and parameter.
INSERT INTO hyperparameters (run_id, name, value_text, value_number, origin, recorded)
WITH judged AS (
    SELECT c.*, part AND d.run_id IS NOT NULL AS ambiguous
    FROM candidates c LEFT JOIN divided d USING (run_id)),
groups AS (
    SELECT run_id, canonical,
        arg_min({'recorded': recorded, 'value': value, 'number': number, 'origin': origin}, (absent, rank, recorded))
            AS first,
        min(rank) FILTER (NOT absent) > 0 AND bool_or(NOT of_script AND NOT absent) AND 1 < count(DISTINCT
            CASE WHEN of_script OR absent THEN NULL WHEN number IS NOT NULL THEN format('{:.7g}', number)
                 ELSE lower(trim(value)) END) AS conflict
    FROM judged WHERE contested AND NOT ambiguous GROUP BY run_id, canonical),
named AS (
    SELECT run_id, coalesce(canonical, recorded) AS name, value, number, origin, recorded FROM judged
    WHERE NOT contested AND NOT ambiguous
    UNION ALL
    SELECT run_id, recorded, value, number, origin, recorded FROM judged
    WHERE NOT contested AND NOT ambiguous AND stays AND recorded <> canonical
    UNION ALL
    SELECT run_id, canonical, first.value, first.number, first.origin, first.recorded FROM groups WHERE NOT conflict
    UNION ALL
    SELECT j.run_id, CASE WHEN conflict AND NOT of_script THEN $ambiguous || recorded ELSE recorded END, value, number,
        origin, recorded
    FROM judged j JOIN groups g USING (run_id, canonical)
    WHERE NOT ambiguous AND j.recorded <> j.canonical AND (conflict OR stays OR j.recorded <> g.first.recorded)
    UNION ALL
    SELECT run_id, $ambiguous || recorded, value, number, origin, recorded FROM judged WHERE ambiguous)
SELECT run_id, name, value, CASE WHEN isfinite(number) THEN number END, origin, recorded FROM named"""

_ADD_BATCH_SIZE = """-- One row per run whose whole batch follows from its factors.
INSERT INTO hyperparameters (run_id, name, value_text, value_number, origin, recorded)
SELECT run_id, 'batch_size', format('{:.10g}', product), product, 'derived',
    'micro_batch_size × accumulation_steps × world_size'
FROM (
    SELECT run_id, product(value_number)
            FILTER (name IN ('micro_batch_size', 'accumulation_steps', 'world_size')) AS product FROM hyperparameters
    WHERE run_id IN (SELECT run_id FROM candidates)
    GROUP BY run_id
    HAVING count(*) FILTER (name = 'batch_size') = 0
       AND count(value_number) FILTER (name IN ('micro_batch_size', 'accumulation_steps', 'world_size')) = 3)"""

_ADD_BETAS = """-- One row per run and beta where both were recorded as one pair.
INSERT INTO hyperparameters (run_id, name, value_text, value_number, origin, recorded)
WITH pairs AS (
    SELECT run_id, recorded, regexp_extract_all(value, '[0-9][0-9.eE+-]*') AS pair FROM candidates
    WHERE list_contains($betas, recorded)),
named AS (
    SELECT run_id, 'beta' || i AS name, pair[i] AS value, recorded
    FROM pairs, (VALUES (1), (2)) AS numbers(i) WHERE len(pair) = 2)
SELECT run_id, name, value, TRY_CAST(value AS DOUBLE), 'derived', recorded
FROM named ANTI JOIN hyperparameters USING (run_id, name) WHERE TRY_CAST(value AS DOUBLE) IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY run_id, name ORDER BY recorded) = 1"""


def add(connection: duckdb.DuckDBPyConnection, staged: pa.Table, corrections: Corrections) -> None:
    """Adds the parameters, rows of `sources.PARAMETERS`, of the runs in `changes` to the table `hyperparameters`."""
    connection.register("staged_parameters", staged)
    names = [name for (name,) in connection.execute(_NAMES).fetchall()]
    readings, tables = _readings(connection, corrections)
    registered = {
        "readings": readings,
        "recorded_names": _recorded(names, tables),
        "levels": _levels(connection, names, tables),
        "texts": _texts(connection),
    }
    for name, table in registered.items():
        connection.register(name, table)
    try:
        connection.execute(_CANDIDATES, {"absent": sorted(ABSENT)})
        connection.execute(_PARTS)
        connection.execute(_ADD, {"ambiguous": AMBIGUOUS})
        connection.execute(_ADD_BATCH_SIZE)
        connection.execute(_ADD_BETAS, {"betas": [name for name in names if words(name)[-1] in _BETAS]})
        connection.execute("DROP TABLE candidates")
    finally:
        for name in ("staged_parameters", *registered):
            connection.unregister(name)


Table = dict[str, str]  # pattern of a recorded name: what it means


def _readings(
    connection: duckdb.DuckDBPyConnection, corrections: Corrections
) -> tuple[pa.Table, list[list[Table]]]:
    """Which corrections hold for which runs: the number of each run's reading, and the tables of each reading.

    Reading 0 is that of all runs that are not named; it has the corrections that hold for all.
    """
    general = [dict(corrections.hyperparameters)]
    rules = [rule for rule in corrections.runs if rule.hyperparameters]
    numbers: dict[tuple[int, ...], int] = {(): 0}
    of_run: dict[str, int] = {}
    if rules:
        names = sorted({name for rule in rules for name in rule.params})
        for run_id, experiment, params in connection.execute(_PARAMS_OF_RUNS, {"names": names}).fetchall():
            fitting = tuple(i for i, rule in enumerate(rules) if rule.fits(experiment, params or {}))
            of_run[run_id] = numbers.setdefault(fitting, len(numbers))
    tables = [[dict(rules[i].hyperparameters) for i in fitting] + general for fitting in numbers]
    ids = pa.array(of_run.keys(), pa.string()), pa.array(of_run.values(), pa.int64())
    return pa.table({"run_id": ids[0], "reading": ids[1]}), tables


def _recorded(names: Sequence[str], tables: Sequence[Sequence[Table]]) -> pa.Table:
    rows = []
    for reading, corrections in enumerate(tables):
        stated = {name: meaning(name, corrections) for name in names}
        # What a person calls by a name that the store has already is the same as what has that name.
        own = {name: name for name in names if name in stated.values() and read_name(name) is None}
        meanings = {name: _meaning(name, stated[name] or own.get(name, stated[name])) for name in names}
        meant = Counter(found[0] for found in meanings.values() if found[0])
        for name, (canonical, rank, of_script, part) in meanings.items():
            contested = meant[canonical or ""] > 1
            stays = of_script and canonical != name
            rows.append((reading, name, canonical, rank, contested, stays, part, of_script))
    columns = ("reading", "name", "canonical", "rank", "contested", "stays", "part", "of_script")
    types = (pa.int64(), pa.string(), pa.string(), pa.int64(), *[pa.bool_()] * 4)
    values = zip(*rows, strict=True) if rows else [[]] * len(columns)
    return pa.table({c: pa.array(list(v), t) for c, t, v in zip(columns, types, values, strict=True)})


def _meaning(name: str, stated: str | None) -> tuple[str | None, int, bool, bool]:
    """The canonical name or None, the rank among names of one meaning, whether it is the script's word for it, and
    whether it may be a part of the batch only. What a person has `stated` goes before everything, and is no question.
    """
    if stated is not None:
        return stated, -1, False, False
    *owners, last = words(name)
    of_script = bool(owners) and owners[0] in _OF_SCRIPT
    found = read_name(name)
    if found is None:
        return None, 0, of_script, False
    spellings = (found.name, *found.aliases)
    rank = spellings.index(last) if last in spellings else len(spellings)
    rank += 100 * (name != found.name) + 1000 * of_script * (1 + _OF_SCRIPT.index(owners[0]) if of_script else 0)
    return found.name, rank, of_script, found.name == "batch_size" and last not in WHOLE_BATCH


def _levels(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str], tables: Sequence[Sequence[Table]]
) -> pa.Table:
    """The values that have another word in common: reading, name, value, level."""
    rows: list[tuple[int, str, str, str]] = []
    for reading, corrections in enumerate(tables):
        meant = {name: _meaning(name, meaning(name, corrections))[0] for name in names}
        wanted = [name for name in names if _is_category(meant[name])]
        for name, value in connection.execute(_LEVELLED, {"names": wanted}).fetchall():
            level = read_level(meant[name] or "", value)
            if level != value:
                rows.append((reading, name, value, level))
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * 4
    types = {"reading": pa.int64(), "name": pa.string(), "value": pa.string(), "level": pa.string()}
    return pa.table({n: pa.array(column, t) for (n, t), column in zip(types.items(), columns, strict=True)})


@cache
def _is_category(canonical: str | None) -> bool:
    found = lookup(canonical) if canonical else None
    return found is not None and found.scale == "category"


def _texts(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The numbers that are written as `1/1000` or `2**14`: value, number."""
    texts = [text for (text,) in connection.execute(_TEXTS).fetchall() if len(text) < 40]
    numbers = {text: number for text in texts if (number := read_number(text)) is not None}
    return pa.table({"value": pa.array(numbers, pa.string()), "number": pa.array(numbers.values(), pa.float64())})
