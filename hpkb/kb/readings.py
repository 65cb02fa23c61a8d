"""What the names of a source were read as, and what only a person can say of them.

Everything is told from the rows of the knowledge base, so that it is true of what stands there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from hpkb.corrections import FILE
from hpkb.names import rank_of
from hpkb.vocabulary import AMBIGUOUS, read_name, words

_EXAMPLES = 3  # experiments that a question names


@dataclass(frozen=True)
class Reading:
    """A name of the knowledge base, the recorded name that its values come from, and in how many runs."""

    name: str
    recorded: str
    n_runs: int


@dataclass(frozen=True)
class Question:
    """What cannot be decided from the store; `answer` are lines for `hpkb.toml` that would decide it."""

    asks: str
    answer: str


_READINGS = """-- One row per name, and recorded name that its values come from.
SELECT h.name, h.recorded, count(*) FROM hyperparameters h JOIN runs r USING (run_id)
WHERE $source IS NULL OR r.source = $source GROUP BY ALL"""

_AMBIGUOUS = """-- One row per experiment and combination of names that can be read in two ways.
WITH open AS (
    SELECT h.run_id, r.experiment, m.canonical, list(h.recorded ORDER BY h.recorded) AS recorded
    FROM hyperparameters h JOIN runs r USING (run_id) JOIN meanings m USING (recorded)
    WHERE starts_with(h.name, $ambiguous) AND ($source IS NULL OR r.source = $source) GROUP BY ALL)
SELECT canonical, recorded, list(DISTINCT experiment ORDER BY experiment), count(*) FROM open
GROUP BY canonical, recorded ORDER BY ALL"""

# What the script called it (cli., config.) may well differ: the optimizer's own value is the one that was used.
_OVERRULED = """-- One row per canonical name and another name of it that says something else.
SELECT m.canonical, c.recorded, h.recorded, count(*), list(DISTINCT r.experiment ORDER BY r.experiment)
FROM hyperparameters h JOIN meanings m USING (recorded)
JOIN hyperparameters c ON c.run_id = h.run_id AND c.name = m.canonical JOIN runs r ON r.run_id = h.run_id
WHERE h.name = h.recorded AND h.name <> m.canonical AND NOT m.of_script
  AND coalesce(format('{:.7g}', h.value_number), lower(trim(h.value_text)))
   <> coalesce(format('{:.7g}', c.value_number), lower(trim(c.value_text)))
  AND lower(trim(h.value_text)) NOT IN ('', 'none', 'null', 'nan')
  AND ($source IS NULL OR r.source = $source)
GROUP BY ALL ORDER BY ALL"""

_PRODUCTS = """-- One row per experiment: its runs in which the batch is not what its factors make.
WITH factors AS (
    SELECT run_id, max(value_number) FILTER (name = 'batch_size') AS whole,
        product(value_number) FILTER (name IN ('micro_batch_size', 'accumulation_steps', 'world_size')) AS product,
        count(*) FILTER (name IN ('micro_batch_size', 'accumulation_steps', 'world_size')) AS n
    FROM hyperparameters GROUP BY run_id)
SELECT r.experiment, count(*), min(whole), min(product) FROM factors JOIN runs r USING (run_id)
WHERE n = 3 AND whole <> product AND ($source IS NULL OR r.source = $source) GROUP BY ALL ORDER BY ALL"""


def readings(connection: duckdb.DuckDBPyConnection, source: str | None = None) -> list[Reading]:
    """Returns what every name was read from, known hyperparameters first; of one source, or of all."""
    rows = [Reading(*row) for row in connection.execute(_READINGS, {"source": source}).fetchall()]
    return sorted(rows, key=lambda r: (rank_of(r.name), -r.n_runs, r.recorded))


def questions(connection: duckdb.DuckDBPyConnection, source: str | None = None) -> list[Question]:
    """Returns what a person has to say of the names of one source, or of all; each with the answer's form."""
    names = {r.recorded for r in readings(connection, source)}
    meanings = [(n, found.name, words(n)[0] in ("cli", "config")) for n in sorted(names) if (found := read_name(n))]
    columns = list(zip(*meanings, strict=True)) or [(), (), ()]
    types = {"recorded": pa.string(), "canonical": pa.string(), "of_script": pa.bool_()}
    table = {name: pa.array(column, type_) for (name, type_), column in zip(types.items(), columns, strict=True)}
    connection.register("meanings", pa.table(table))
    try:
        ambiguous = connection.execute(_AMBIGUOUS, {"source": source, "ambiguous": AMBIGUOUS}).fetchall()
        overruled = connection.execute(_OVERRULED, {"source": source}).fetchall()
    finally:
        connection.unregister("meanings")
    products = connection.execute(_PRODUCTS, {"source": source}).fetchall()
    return [*_asked(ambiguous), *(_overruled(*row) for row in overruled), *(_product(*row) for row in products)]


def _asked(rows: Iterable[tuple[str, list[str], list[str | None], int]]) -> list[Question]:
    found: dict[tuple[str, tuple[str, ...]], list[tuple[list[str | None], int]]] = defaultdict(list)
    for canonical, recorded, experiments, n_runs in rows:
        found[canonical, tuple(recorded)].append((experiments, n_runs))
    return [
        _ambiguous(canonical, recorded, [e for es, _ in parts for e in es], sum(n for _, n in parts))
        for (canonical, recorded), parts in found.items()
    ]


def _ambiguous(
    canonical: str, recorded: Sequence[str], experiments: Sequence[str | None], n_runs: int
) -> Question:
    where = _where(experiments, n_runs)
    if len(recorded) == 1:
        asks = (
            f"'{recorded[0]}' {where} is what one forward pass sees, or what an optimizer step does? "
            "Several passes or processes make a step there."
        )
        return Question(asks, _lines(experiments, {recorded[0]: "micro_batch_size"}))
    listed = ", ".join(f"'{name}'" for name in recorded)
    asks = f"{listed} {where} disagree: which of them is the {canonical}?"
    return Question(asks, _lines(experiments, {recorded[0]: canonical} | dict.fromkeys(recorded[1:], "")))


def _overruled(canonical: str, used: str, other: str, n_runs: int, experiments: Sequence[str | None]) -> Question:
    asks = f"'{other}' and '{used}' {_where(experiments, n_runs)} disagree; '{used}' is taken as the {canonical}."
    return Question(asks, _lines(experiments, {other: canonical}))


def _product(experiment: str | None, n_runs: int, whole: float, product: float) -> Question:
    asks = (
        f"The batch_size {_where([experiment], n_runs)} is not micro_batch_size × accumulation_steps × world_size "
        f"({whole:g} and {product:g}, for one); it is taken as it is recorded."
    )
    return Question(asks, _lines([experiment], {"batch_size": "micro_batch_size"}))


def _where(experiments: Sequence[str | None], n_runs: int) -> str:
    names = [f"'{e}'" for e in experiments[:_EXAMPLES] if e] + ["…"] * (len(experiments) > _EXAMPLES)
    return f"({n_runs} run{'' if n_runs == 1 else 's'}{' of ' + ', '.join(names) if names else ''})"


def _lines(experiments: Sequence[str | None], meanings: dict[str, str]) -> str:
    """The answer as it would stand in the file."""
    table = ", ".join(f"{_quoted(name)} = {_quoted(meant)}" for name, meant in meanings.items())
    experiment = f"experiment = {_quoted(experiments[0])}\n" if len(experiments) == 1 and experiments[0] else ""
    return f"# {FILE}\n[[runs]]\n{experiment}hyperparameters = {{ {table} }}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
