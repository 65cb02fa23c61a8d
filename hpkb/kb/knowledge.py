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

from hpkb.findings import Finding
from hpkb.kb.saving import write_findings
from hpkb.kb.store import complete, connect, has_table, transaction

if TYPE_CHECKING:
    from hpkb.recommend.answer import Recommendation
    from hpkb.suggest.sampler import KnowledgeSampler

_TUPLES = ("hyperparameters", "caveats")
_NO_LISTS: Mapping[str, tuple[str, ...]] = {}
_FIELDS = frozenset(field.name for field in fields(Finding))

_SELECT_TASKS = """-- One row per task.
SELECT task_id FROM tasks ORDER BY task_id"""

_CHOSEN = """WHERE ($task IS NULL OR task = $task OR ($overall AND task IS NULL)) AND ($miner IS NULL OR miner = $miner)
  AND ($verdict IS NULL OR verdict = $verdict)
ORDER BY rowid"""
_SELECT_FINDINGS = f"""-- One row per finding, in the order in which they were saved.
SELECT document, figure FROM findings
{_CHOSEN}"""
_SELECT_DOCUMENTS = f"""-- One row per finding, in the order in which they were saved, without the numbers of its chart.
SELECT document, NULL FROM findings
{_CHOSEN}"""

_SELECT_CLAIMS = f"""-- One row per finding, in the order in which they were saved: what it says.
SELECT task, verdict, claim FROM findings
{_CHOSEN}"""

_SELECT_LISTS = """-- One row per list of runs that is asked for.
SELECT run_list, run_ids FROM run_lists WHERE list_contains($wanted, run_list)"""

_COUNT_VERDICTS = """-- One row per verdict: how many findings have it.
SELECT verdict, count(*) FROM findings GROUP BY verdict ORDER BY verdict"""

_SELECT_DEFAULT = """-- One row: the recommendation of the task.
SELECT document FROM defaults WHERE task = $task"""

_FORGET_OUTLINES = """-- One row per task whose outline does not hold any more; its forest does.
UPDATE outlines SET document = NULL WHERE document IS NOT NULL"""

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
            self._see_lakes()
        return self.connection.sql(query, params=parameters or None)

    def _see_lakes(self) -> None:
        self._sees_lakes = True
        if has_table(self.connection, "lake_files"):
            from hpkb.kb.lake_curves import attach_lakes  # with pyarrow, which takes a tenth of a second

            attach_lakes(self.connection)

    def task_names(self) -> list[str]:
        """Returns the tasks that there are, those without an outcome too, in the order of the alphabet."""
        return [row[0] for row in self.connection.execute(_SELECT_TASKS).fetchall()]

    def findings(
        self, task: str | None = None, miner: str | None = None, verdict: str | None = None, figures: bool = True,
        runs: bool = True, overall: bool = False,
    ) -> list[Finding]:  # fmt: skip
        """Returns the findings of the last analysis, as they were saved; of one task, miner or verdict if given.

        With `overall`, those over all tasks are among those of a task.
        Without `figures` or `runs`, which are most of them, the numbers of the charts and the ids of the runs are left
        out.
        """
        chosen = {"task": task, "miner": miner, "verdict": verdict, "overall": overall}
        rows = self.connection.execute(_SELECT_FINDINGS if figures else _SELECT_DOCUMENTS, chosen).fetchall()
        documents = [json.loads(document) for document, _ in rows]
        lists = run_lists(self.connection, documents) if runs else {}
        figured = [json.loads(figure) if figure else {} for _, figure in rows]
        return [finding_of(document, figure, lists) for document, figure in zip(documents, figured, strict=True)]

    def claims(
        self, task: str | None = None, miner: str | None = None, verdict: str | None = None
    ) -> list[tuple[str | None, str, str]]:
        """Returns task, verdict and claim of the findings, as `findings` chooses and orders them."""
        chosen = {"task": task, "miner": miner, "verdict": verdict, "overall": False}
        return self.connection.execute(_SELECT_CLAIMS, chosen).fetchall()

    def verdicts(self) -> dict[str, int]:
        """Returns how many findings have each verdict, in the order of the alphabet."""
        return dict(self.connection.execute(_COUNT_VERDICTS).fetchall())

    def save_findings(self, findings: Sequence[Finding]) -> None:
        """Replaces all findings by these; raises ValueError where a figure holds a NaN or two ask the same."""
        with transaction(self.connection):
            complete(self.connection)
            write_findings(self.connection, findings)
            self._forget_outlines()

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

    def sampler(self, objective: str | None = None, seed: int = 0) -> KnowledgeSampler:
        """Returns a sampler for a study of Optuna on a new task that knows what the tasks here have shown:
        `optuna.create_study(sampler=kb.sampler("val_loss:min"))`. The `objective`, where results have the unit of the
        tasks judged by it, tells sooner how good they are. Raises HpkbError without Optuna, KnowledgeBaseError where no
        task has enough runs or none has the objective.
        """
        from hpkb.suggest.bayes import sampler_of

        return sampler_of(self, objective, seed)

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
        self._forget_outlines()

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
        self._forget_outlines()

    def _forget_outlines(self) -> None:
        """Notes that what `hpkb.suggest.outline` has kept was made with other findings or recommendations."""
        if has_table(self.connection, "outlines"):
            self.connection.execute(_FORGET_OUTLINES)

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


def run_lists(
    connection: duckdb.DuckDBPyConnection, documents: Iterable[Mapping[str, Any]]
) -> dict[str, tuple[str, ...]]:
    """Returns the runs that the documents of findings name by their list; those of a list are there once."""
    wanted = {document["run_list"] for document in documents if "run_list" in document}
    if not wanted or not has_table(connection, "run_lists"):
        return {}
    rows = connection.execute(_SELECT_LISTS, {"wanted": sorted(wanted)}).fetchall()
    return {name: tuple(run_ids) for name, run_ids in rows}


def finding_of(
    document: Mapping[str, Any], figure: Mapping[str, Any], lists: Mapping[str, tuple[str, ...]] = _NO_LISTS
) -> Finding:
    """Returns the finding that a document and its chart are of, with its runs where they are among the lists."""
    plain = {name: value for name, value in document.items() if name in _FIELDS}
    # A file from before there were lists has the runs in the document.
    runs = lists.get(document.get("run_list", ""), ()) or tuple(document.get("run_ids", ()))
    plain |= {name: tuple(plain[name]) for name in _TUPLES} | {"run_ids": runs}
    return Finding(**plain, figure=figure)
