"""How much of what is true of a run its record holds, and what the record says that is not true."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hpkb.names import lookup

from .cases import Case, Open, Result

Verdict = Literal["found", "missing", "wrong", "open", "unchecked"]


@dataclass(frozen=True)
class Record:
    """What a store has of one run; `sizes` are the examples of each split."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One field of one script: its true value beside the recorded one."""

    name: str
    truth: Any
    recorded: Any
    verdict: Verdict


def compare(case: Case, results: Mapping[str, Any], record: Record) -> list[Row]:
    """One row for each true value of the case, and one for each canonical parameter that it says nothing of."""
    rows = [_row(name, truth, recorded, results) for name, truth, recorded in _pairs(case, record)]
    unchecked = [name for name in record.params if _canonical(name) and name not in case.params]
    return rows + [Row(name, None, record.params[name], "unchecked") for name in unchecked]


def share_found(rows: list[Row]) -> float:
    """The recall: of the true values that can be known, the share that was recorded right."""
    known = [row for row in rows if row.verdict in ("found", "missing", "wrong") and not isinstance(row.truth, Open)]
    return sum(row.verdict == "found" for row in known) / len(known)


def same(truth: Any, recorded: Any) -> bool:
    """Whether a recorded text or number says the same; numbers to five digits, as curves are float32."""
    if truth == "any":
        return True
    if isinstance(truth, bool) or isinstance(recorded, bool):
        return str(truth).lower() == str(recorded).lower()
    try:
        return math.isclose(float(truth), float(recorded), rel_tol=1e-5, abs_tol=1e-12)
    except (TypeError, ValueError):
        return str(truth) == str(recorded)


def _pairs(case: Case, record: Record) -> Iterator[tuple[str, Any, Any]]:
    for prefix, truths, recorded in (
        ("", case.params, record.params),
        ("curve ", case.last, record.metrics),
        ("examples ", case.sizes, record.sizes),
        ("", case.tags, record.tags),
    ):
        for name, truth in truths.items():
            yield prefix + name, truth, recorded.get(name)


def _row(name: str, truth: Any, recorded: Any, results: Mapping[str, Any]) -> Row:
    if isinstance(truth, Result):
        truth = results[truth.name]
    if isinstance(truth, Open):
        fits = recorded is None or any(same(value, recorded) for value in truth.values)
        return Row(name, truth, recorded, "open" if fits else "wrong")
    if recorded is None:
        return Row(name, truth, recorded, "missing")
    return Row(name, truth, recorded, "found" if same(truth, recorded) else "wrong")


def _canonical(name: str) -> bool:
    found = lookup(name)
    return found is not None and found.name == name


def of_run(run: Any) -> Record:
    """The record of an MLflow run as its client returns it."""
    tags = dict(run.data.tags)
    sizes = {
        role: tags[f"hpkb.split.{role}.n"]
        for role in ("training", "validation", "test")
        if f"hpkb.split.{role}.n" in tags
    }
    for given in run.inputs.dataset_inputs if run.inputs else ():
        context = {tag.key: tag.value for tag in given.tags}.get("mlflow.data.context")
        rows = json.loads(given.dataset.profile or "{}").get("num_rows")
        if context and rows is not None:
            sizes.setdefault(context, rows)
    return Record(dict(run.data.params), dict(run.data.metrics), tags, sizes)
