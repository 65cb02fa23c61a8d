"""Findings with many runs: the runs are kept once, and come back in every finding, page and format."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.markup import escape
from rich.table import Table

import hpkb.kb
from hpkb import present
from hpkb.findings import Finding
from hpkb.kb import KnowledgeBase
from hpkb.pages import store
from tests.stores import Hpkb

RUNS = tuple(f"run-{i:03d}" for i in range(60, 0, -1))
MANY = Finding("importance", "größe/2", ("a", "b"), "q", "p = 0.1: 日本 [bold]x[/] \"run_ids\": []", "supported", 0.5,
               caveats=('"caveats": []', "ü"), run_ids=RUNS, figure={"x": [1, 2]})  # fmt: skip
FINDINGS = [
    MANY, replace(MANY, quantity="r", run_ids=RUNS[:40], caveats=()), replace(MANY, quantity="s", task=None),
    replace(MANY, quantity="t", run_ids=("z", "a")), replace(MANY, quantity="u", run_ids=(), verdict="rejected"),
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "hpkb.duckdb"
    with KnowledgeBase.open(file, read_only=False) as base:
        base.save_findings(FINDINGS)
    return file


def test_a_list_of_runs_is_kept_once(path: Path) -> None:
    with KnowledgeBase.open(path) as base:
        assert base.findings() == FINDINGS
        assert base.findings(figures=False, runs=False) == [replace(f, figure={}, run_ids=f.run_ids if len(
            f.run_ids) < 33 else ()) for f in FINDINGS]  # fmt: skip
        assert base.findings("größe/2", overall=True) == FINDINGS
        assert base.findings("größe/2") == [f for f in FINDINGS if f.task]
        assert base.claims(verdict="rejected") == [("größe/2", "rejected", MANY.claim)]
        assert base.verdicts() == {"rejected": 1, "supported": 4}
        assert base.sql("SELECT len(run_ids) FROM run_lists ORDER BY 1").fetchall() == [(0,), (2,), (40,), (60,)]
        pairs = base.sql("SELECT * FROM finding_runs ORDER BY ALL").fetchall()
        assert pairs == sorted((f.id, run) for f in FINDINGS for run in f.run_ids)
        documents = {d["id"]: d["run_ids"] for d in (r.document for r in store.read(base.connection).findings)}
        assert documents == {f.id: list(f.run_ids) for f in FINDINGS}


def test_a_file_from_before_there_were_lists_is_read(path: Path) -> None:
    with KnowledgeBase.open(path, read_only=False) as base:
        for finding in FINDINGS:
            named = {"id": finding.id, "document": json.dumps(finding.to_json())}
            base.connection.execute("UPDATE findings SET document = $document WHERE finding_id = $id", named)
        base.connection.execute("DROP TABLE run_lists; DROP TABLE outlines; DROP TABLE mined")
    with KnowledgeBase.open(path) as base:
        assert base.findings() == FINDINGS
        assert next(r.document["run_ids"] for r in store.read(base.connection).findings)
    with KnowledgeBase.open(path, read_only=False) as base:
        base.save_findings(FINDINGS[:1])
        assert base.findings() == FINDINGS[:1]


def test_the_command_prints_what_json_and_rich_would(path: Path, hpkb: Hpkb) -> None:
    printed = hpkb("findings", "--format", "json", "--kb", str(path)).stdout
    assert printed == json.dumps([f.to_json() for f in FINDINGS], indent=1) + "\n"
    assert "".join(present.findings([], "json")) == "[]\n"
    table = Table("task", "verdict", "finding", box=None, pad_edge=False)
    for finding in FINDINGS:
        table.add_row(escape(finding.task or "all tasks"), finding.verdict, escape(finding.claim))
    assert hpkb("findings", "--kb", str(path)).stdout == present.text(table) + "\n"


@pytest.mark.parametrize("claim", ["two\nlines", ":warning: a picture", "a tab\there", "wide " * 90])
def test_what_is_not_plain_is_left_to_rich(claim: str) -> None:
    table = Table("task", "verdict", "finding", box=None, pad_edge=False)
    table.add_row("t", "supported", escape(claim))
    assert present.claims([("t", "supported", claim)]) == present.text(table)


def test_the_package_has_the_function_whatever_was_imported() -> None:
    module = importlib.import_module("hpkb.kb.ingest")
    assert hpkb.kb.ingest is module.ingest
    with pytest.raises(AttributeError, match="nothing"):
        _ = hpkb.kb.nothing  # type: ignore[attr-defined]
