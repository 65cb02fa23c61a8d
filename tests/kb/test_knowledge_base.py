"""The knowledge base as its reader sees it: findings, defaults, notes of its own, and SQL."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import hpkb
from hpkb.errors import KnowledgeBaseError
from hpkb.findings import Finding
from hpkb.kb import KnowledgeBase
from hpkb.kb.store import SCHEMA_VERSION

RIDGE = Finding(
    miner="lr_weight_decay", task="größe/2 – b", hyperparameters=("learning_rate", "weight_decay"),
    quantity="ridge_exponent", claim="“Quoted” — ½", verdict="supported", estimate=-0.1 - 0.2, low=-1e-300, high=1e300,
    unit="ln/ln", p_value=1 / 3, q_value=0.5, comparisons=132, n_runs=240, n_configurations=80, n_tasks=1, n_seeds=3,
    infeasible_share=0.1, caveats=("a", "b"), run_ids=("r1", "r2"), claim_if_insufficient="not enough",
    figure={"kind": "map", "points": [{"x": 0.1, "y": None, "run_id": "r1", "infeasible": True}], "ridge": []},
)  # fmt: skip
ACROSS = Finding("response", None, (), "optimum", "none", "insufficient", estimate="AdamW")


def test_findings_come_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "kb.duckdb"
    with KnowledgeBase.open(path, read_only=False) as kb:
        kb.save_findings([RIDGE])
        kb.save_findings([RIDGE, ACROSS])
    with hpkb.open(path) as kb:
        assert kb.findings() == [RIDGE, ACROSS]
        assert kb.findings(task="größe/2 – b") == kb.findings(miner="lr_weight_decay") == [RIDGE]
        assert kb.findings(verdict="rejected") == []
        assert kb.sql("SELECT run_id FROM finding_runs ORDER BY ALL").fetchall() == [("r1",), ("r2",)]
        document = kb.sql("SELECT document FROM findings WHERE miner = $miner", miner=RIDGE.miner).fetchall()[0][0]
        assert json.loads(document).items() >= RIDGE.to_json().items()


def test_findings_that_cannot_be_kept_leave_the_others(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path / "kb.duckdb", read_only=False) as kb:
        kb.save_findings([RIDGE])
        with pytest.raises(ValueError, match="same question"):
            kb.save_findings([ACROSS, replace(ACROSS, claim="again")])
        with pytest.raises(ValueError, match="not JSON compliant"):
            kb.save_findings([ACROSS, replace(RIDGE, figure={"x": float("nan")})])
        assert kb.findings() == [RIDGE]


def test_defaults_and_meta(tmp_path: Path) -> None:
    document = {"task": None, "configurations": [{"values": {"learning_rate": 3e-4}}]}
    path = tmp_path / "kb.duckdb"
    with KnowledgeBase.open(path, read_only=False) as kb:
        kb.save_default(None, "recommended", document)
        kb.save_default("digits", "insufficient", {"task": "old"})
        kb.save_default("digits", "insufficient", {"task": "digits"})
        kb.meta["seed"] = "7"
        kb.meta["seed"] = "8"
    with KnowledgeBase.open(path) as kb:
        assert (kb.defaults(), kb.defaults("digits"), kb.defaults("imdb")) == (document, {"task": "digits"}, None)
        assert dict(kb.meta) == {"schema": SCHEMA_VERSION, "seed": "8"}
        assert kb.meta.get("nothing") is None


def test_there_has_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeBaseError, match=r"No knowledge base at .* hpkb analyze"):
        hpkb.open(tmp_path / "kb.duckdb")
    assert not (tmp_path / "kb.duckdb").exists()
