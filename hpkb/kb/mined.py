"""What mining gave of each task, kept until its runs change: a second analysis mines only the tasks that are not as
they were.

Kept are a task's findings before they are corrected for each other, and its recommendation before the evidence is
added. Everything goes through the same text on its way, whether it was kept or is new, so that the outcome is that of
mining all tasks anew, to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import duckdb
import pyarrow as pa

from hpkb.findings import Finding
from hpkb.kb.staging import registered
from hpkb.kb.state import TaskState, digest_of
from hpkb.kb.store import complete
from hpkb.made_by import code_digest, libraries

_FINDINGS, _DEFAULT = "findings", "default"
_TUPLES = ("hyperparameters", "caveats", "run_ids")
_FIELDS = tuple(field.name for field in fields(Finding))
_COLUMNS = pa.schema(
    [("task", pa.string()), ("part", pa.string()), ("made_of", pa.string()), ("content", pa.binary()),
     ("size", pa.int64())]
)  # fmt: skip

_KEPT = """-- One row per task that has this part: what it was made of.
SELECT task, made_of FROM mined WHERE part = $part"""

_CONTENT = """-- One row per task that is asked for.
SELECT task, content, size FROM mined WHERE part = $part AND list_contains($tasks, task)"""

_FORGET = """-- One row less per part that is not what it was made of any more.
DELETE FROM mined WHERE part = $part AND NOT list_contains($tasks, task)"""

_ADD = """-- One row per task and part.
INSERT INTO mined BY NAME SELECT * FROM staged_mined"""


class Memory:
    """The findings and recommendations of the tasks that are as they were, at one seed and with the same miners."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, states: Mapping[str, TaskState], miners: Sequence[str], seed: int
    ) -> None:
        complete(connection)
        self._connection = connection
        made_by = (code_digest(), libraries(), seed)
        self._made_of = {
            _FINDINGS: {t: digest_of(state.digest, made_by, sorted(miners)) for t, state in states.items()},
            _DEFAULT: {t: digest_of(state.digest, made_by) for t, state in states.items()},
        }

    def findings(self) -> dict[str, list[Finding]]:
        """Returns the findings, not corrected, of each task that is as it was; those of others are forgotten."""
        return {task: [*map(_finding, found)] for task, found in self._recall(_FINDINGS).items()}

    def defaults(self) -> dict[str, dict[str, Any]]:
        """Returns the recommendation of each task that is as it was, without evidence."""
        return self._recall(_DEFAULT)

    def with_findings(self, found: Mapping[str, Sequence[Finding]]) -> dict[str, list[Finding]]:
        """Keeps the findings of more tasks, and returns them as they will come back."""
        plain = {task: [_plain(finding) for finding in of_task] for task, of_task in found.items()}
        return {task: [*map(_finding, of_task)] for task, of_task in self._keep(_FINDINGS, plain).items()}

    def with_defaults(self, found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Keeps the recommendations of more tasks, and returns them as they will come back."""
        return self._keep(_DEFAULT, found)

    def _known(self, part: str) -> list[str]:
        kept = dict(self._connection.execute(_KEPT, {"part": part}).fetchall())
        return [task for task, made_of in self._made_of[part].items() if kept.get(task) == made_of]

    def _recall(self, part: str) -> dict[str, Any]:
        asked = {"part": part, "tasks": self._known(part)}
        self._connection.execute(_FORGET, asked)
        rows = self._connection.execute(_CONTENT, asked).fetchall()
        return {task: json.loads(pa.decompress(content, size, "zstd", asbytes=True)) for task, content, size in rows}

    def _keep(self, part: str, found: Mapping[str, Any]) -> dict[str, Any]:
        texts = {task: json.dumps(value, ensure_ascii=False).encode() for task, value in found.items()}
        made_of = self._made_of[part]
        rows = [
            {"task": task, "part": part, "made_of": made_of[task], "size": len(text),
             "content": pa.compress(text, "zstd", asbytes=True)}
            for task, text in texts.items() if task in made_of
        ]  # fmt: skip
        if rows:
            with registered(self._connection, "staged_mined", pa.Table.from_pylist(rows, _COLUMNS)):
                self._connection.execute(_ADD)
        return {task: json.loads(text) for task, text in texts.items()}


def _plain(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in _FIELDS}


def _finding(values: Mapping[str, Any]) -> Finding:
    return Finding(**{**values, **{name: tuple(values[name]) for name in _TUPLES}})
