"""What is known: the knowledge base behind `hpkb.open`, with its findings and defaults."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import fields
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from hpkb.findings import Finding
from hpkb.kb.lake_curves import attach_lakes
from hpkb.kb.staging import registered
from hpkb.kb.store import complete, connect, transaction

if TYPE_CHECKING:
    from hpkb.recommend.answer import Recommendation

_TUPLES = ("hyperparameters", "caveats", "run_ids")

_SELECT_TASKS = """-- One row per task.
SELECT task_id FROM tasks ORDER BY task_id"""

_SELECT_FINDINGS = """-- One row per finding, in the order in which they were saved.
SELECT document, figure FROM findings
WHERE ($task IS NULL OR task = $task) AND ($miner IS NULL OR miner = $miner)
  AND ($verdict IS NULL OR verdict = $verdict)
ORDER BY rowid"""

_ADD_FINDING = """-- One row per finding.
INSERT INTO findings VALUES ($finding_id, $miner, $task, $quantity, $verdict, $claim, $estimate, $low, $high,
    $p_value, $q_value, $document, $figure)"""

_ADD_FINDING_RUNS = """-- One row per finding and run.
INSERT INTO finding_runs SELECT DISTINCT finding_id, unnest(run_ids) AS run_id FROM staged_findings ORDER BY ALL"""

_SELECT_DEFAULT = """-- One row: the recommendation of the task.
SELECT document FROM defaults WHERE task = $task"""

_ADD_SUGGESTION = """-- One row per task.
INSERT OR REPLACE INTO suggestions VALUES ($task, $document)"""

_ADD_DEFAULT = """-- One row per task.
INSERT OR REPLACE INTO defaults VALUES ($task, $verdict, $document)"""


class KnowledgeBase:
    """A knowledge base, open. A context manager; closed at the end of the block."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self._sees_lakes = False
        self.meta: MutableMapping[str, str] = _Meta(connection)

    @classmethod
    def open(cls, path: str | PathLike[str] = "hpkb.duckdb", read_only: bool = True) -> KnowledgeBase:
        """Returns the knowledge base at `path`; raises KnowledgeBaseError where there is none to read."""
        return cls(connect(Path(fspath(path)), read_only))

    def sql(self, query: str, **parameters: Any) -> duckdb.DuckDBPyRelation:
        """Returns the rows of a query as a DuckDB relation (`.fetchall()`, `.df()`, `.to_arrow_table()`).

        Parameters are bound by name: `kb.sql("SELECT * FROM runs WHERE task_id = $task", task="digits")`.
        """
        if not self._sees_lakes:
            attach_lakes(self.connection)
            self._sees_lakes = True
        return self.connection.sql(query, params=parameters or None)

    def task_names(self) -> list[str]:
        """Returns the tasks that there are, those without an outcome too, in the order of the alphabet."""
        return [row[0] for row in self.connection.execute(_SELECT_TASKS).fetchall()]

    def findings(
        self, task: str | None = None, miner: str | None = None, verdict: str | None = None
    ) -> list[Finding]:
        """Returns the findings of the last analysis, as they were saved; of one task, miner or verdict if given."""
        chosen = {"task": task, "miner": miner, "verdict": verdict}
        return [_finding(*row) for row in self.connection.execute(_SELECT_FINDINGS, chosen).fetchall()]

    def save_findings(self, findings: Sequence[Finding]) -> None:
        """Replaces all findings by these; raises ValueError where a figure holds a NaN or two ask the same."""
        rows = {finding.id: finding for finding in findings}
        if len(rows) < len(findings):
            raise ValueError("two findings ask the same question: miner, task, quantity and hyperparameters agree")
        with transaction(self.connection):
            self.connection.execute("DELETE FROM finding_runs")
            self.connection.execute("DELETE FROM findings")
            for finding in findings:
                self.connection.execute(_ADD_FINDING, _row(finding))
            runs = {"finding_id": list(rows), "run_ids": [list(finding.run_ids) for finding in rows.values()]}
            staged = pa.table(runs, pa.schema([("finding_id", pa.string()), ("run_ids", pa.list_(pa.string()))]))
            with registered(self.connection, "staged_findings", staged):
                self.connection.execute(_ADD_FINDING_RUNS)

    def defaults(self, task: str | None = None) -> dict[str, Any] | None:
        """Returns the recommendation for a task, or over all tasks; None where there is none."""
        rows = self.connection.execute(_SELECT_DEFAULT, {"task": task or ""}).fetchall()
        return dict(json.loads(rows[0][0])) if rows else None

    def recommend(
        self, task: str | None = None, given: Mapping[str, Any] | None = None, k: int = 1, like: str | None = None
    ) -> Recommendation:
        """Returns the recommended configurations for a task, or over all tasks, as the JSON of the contract.

        `.hyperparameters` of it are the values of the first, ready for a script; `like` is for a new task that
        resembles a known one. What the last analysis found is returned as it is; only with `given` values, with `like`
        or for a task of a few runs is a choice made anew. Raises KnowledgeBaseError for a task that is not known.
        """
        from hpkb.recommend.answer import answer

        return answer(self, task, given or {}, k, like)

    def suggest(self, task: str | None = None, n: int = 8, design: str = "auto", seed: int = 0) -> dict[str, Any]:
        """Returns the next n experiments on a task, and what each would settle: `[e["values"] for e in
        kb.suggest("digits")["experiments"]]`. `design` is auto, perturb, factorial or bayes (see
        `hpkb.suggest.plan.suggest`, also for what it raises).
        """
        from hpkb.suggest.plan import suggest

        return suggest(self, task, n, design, seed)

    def check(self, values: Mapping[str, Any], task: str | None = None) -> dict[str, Any]:
        """Returns what speaks for and against a configuration: `kb.check({"lr": 3e-4})["verdict"]`. Names are read as
        those of any store; see `hpkb.suggest.check.check`, also for what it raises.
        """
        from hpkb.suggest.check import check
        from hpkb.suggest.configuration import canonical_values

        return check(self, canonical_values(values), task)

    def save_default(self, task: str | None, verdict: str, document: Mapping[str, Any]) -> None:
        """Keeps the recommendation for a task, or over all tasks, in place of the one before."""
        text = json.dumps(document, allow_nan=False, ensure_ascii=False)
        self.connection.execute(_ADD_DEFAULT, {"task": task or "", "verdict": verdict, "document": text})

    def save_suggestions(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Keeps what `suggest` proposed, a document a task, in place of all that was kept before."""
        found = [{"task": d["task"], "document": json.dumps(d, ensure_ascii=False)} for d in documents]
        complete(self.connection)
        self.connection.execute("DELETE FROM suggestions")
        for row in found:
            self.connection.execute(_ADD_SUGGESTION, row)

    def clear_defaults(self) -> None:
        """Forgets all recommendations."""
        self.connection.execute("DELETE FROM defaults")

    def close(self) -> None:
        """Closes the file."""
        self.connection.close()

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Meta(MutableMapping[str, str]):
    """The table `meta` as a mapping."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def __getitem__(self, name: str) -> str:
        rows = self._connection.execute("SELECT value FROM meta WHERE name = $name", {"name": name}).fetchall()
        if not rows:
            raise KeyError(name)
        return str(rows[0][0])

    def __setitem__(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES ($name, $value)", {"name": name, "value": value})

    def __delitem__(self, name: str) -> None:
        self[name]
        self._connection.execute("DELETE FROM meta WHERE name = $name", {"name": name})

    def __iter__(self) -> Iterator[str]:
        return iter([row[0] for row in self._connection.execute("SELECT name FROM meta ORDER BY name").fetchall()])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _row(finding: Finding) -> dict[str, Any]:
    document = {**finding.to_json(), "claim_if_insufficient": finding.claim_if_insufficient}
    columns = ("miner", "task", "quantity", "verdict", "claim", "p_value", "q_value")
    numbers = {name: _number(getattr(finding, name)) for name in ("estimate", "low", "high")}
    return {
        "finding_id": finding.id,
        **{name: getattr(finding, name) for name in columns},
        **numbers,
        "document": json.dumps(document, allow_nan=False, ensure_ascii=False),
        "figure": json.dumps(dict(finding.figure), allow_nan=False, ensure_ascii=False),
    }


def _number(value: float | str | None) -> float | None:
    return None if isinstance(value, str) else value


def _finding(document: str, figure: str) -> Finding:
    known = {field.name for field in fields(Finding)}
    plain: dict[str, Any] = {name: value for name, value in json.loads(document).items() if name in known}
    plain.update((name, tuple(plain[name])) for name in _TUPLES)
    return Finding(**plain, figure=json.loads(figure))
