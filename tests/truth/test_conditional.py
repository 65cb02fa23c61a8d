"""What goes with what: a planted exponent moves the learning rate with the batch size that is given, and only then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpkb.analysis import Mined, mine
from hpkb.findings import Finding
from hpkb.recommend.defaults import recommend
from hpkb.recommend.laws import Law, laws_of
from hpkb.sweep import Sweep
from tests.truth.test_scale_rules import BATCHES, LAW, tasks

EXPONENT = LAW["batch_size"]
ONLY = {"batch_size": EXPONENT}


def best(size: float) -> float:
    """The planted best learning rate of a batch size."""
    return 2e-3 * (size / 64) ** EXPONENT


@pytest.fixture(scope="module")
def sweeps() -> list[Sweep]:
    return tasks(ONLY, 11, n=4, runs=100, batch=True)


@pytest.fixture(scope="module")
def mined(sweeps: list[Sweep]) -> Mined:
    return mine(sweeps, ("lr_batch_size",))


def first(document: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = document["configurations"][0]["values"]
    return values


def test_the_supported_exponent_is_a_rule_with_its_finding_and_its_interval(mined: Mined) -> None:
    found = {f.id: f for f in mined.findings}
    for task in (None, "task00"):
        (rule,) = (r for r in mined.defaults[task]["rules"] if "finding_id" in r)
        low, high = rule["exponents"]["batch_size"]
        assert low <= EXPONENT <= high
        assert found[rule["finding_id"]].verdict == "supported"
        rates = [row["learning_rate"] for row in rule["at"]]
        assert rates == sorted(rates)
        assert {row["extrapolated"] for row in rule["at"]} == {True, False}
        assert all(row["low"] <= row["learning_rate"] <= row["high"] for row in rule["at"])
        assert "beyond what was tried" in rule["words"]
        assert rule["words"].startswith("If the batch size is ")


@pytest.mark.parametrize("size", [16.0, 512.0])
def test_a_given_batch_size_moves_the_learning_rate_along_the_ridge(
    sweeps: list[Sweep], mined: Mined, size: float
) -> None:
    laws = laws_of(mined.findings, "task00")
    document = recommend(sweeps, "task00", {"batch_size": size}, laws=laws)
    assert first(document)["batch_size"] == size
    assert abs(np.log(first(document)["learning_rate"] / best(size))) < 1.0
    start = first(recommend(sweeps, "task00"))
    if start["batch_size"] != size:
        assert document["conditional"][0]["finding_id"] in document["reason"]
        moved = np.log(first(document)["learning_rate"] / start["learning_rate"])
        assert moved == pytest.approx(laws[0].exponent * np.log(size / start["batch_size"]), abs=0.6)


@pytest.mark.parametrize("task", [None, "task00"])
def test_beyond_what_was_tried_the_exponent_goes_on_and_it_is_said(
    sweeps: list[Sweep], mined: Mined, task: str | None
) -> None:
    size = 4 * float(BATCHES[-1])
    laws = laws_of(mined.findings, task)
    document = recommend(sweeps, task, {"batch_size": size}, laws=laws)
    assert document["verdict"] == "recommended"
    assert first(document)["batch_size"] == size
    assert abs(np.log(first(document)["learning_rate"] / best(size))) < 1.0
    assert "an extrapolation, not tested" in document["reason"]
    (note,) = document["conditional"]
    assert note["finding_id"] == laws[0].finding_id in document["configurations"][0]["finding_ids"]
    assert note["extrapolated"]
    assert note["low"] < note["learning_rate"] < note["high"]
    low, high = document["configurations"][0]["plateau"]["learning_rate"]
    assert low <= first(document)["learning_rate"] <= high


@pytest.mark.parametrize(("name", "value"), [("batch_size", 2048.0), ("weight_decay", 50.0)])
def test_beyond_what_was_tried_and_without_a_law_nothing_is_recommended(
    sweeps: list[Sweep], name: str, value: float
) -> None:
    document = recommend(sweeps, "task00", {name: value})
    assert document["verdict"] == "insufficient"
    assert document["reason"].startswith(f"{name} {value:g} lies outside what was tried")
    assert first(document)[name] == value


def test_what_no_run_recorded_is_said_and_takes_nothing_away(sweeps: list[Sweep]) -> None:
    document = recommend(sweeps, "task00", {"optimizer": "Lion"})
    assert document["verdict"] == "recommended"
    assert "No run recorded optimizer" in document["reason"]
    always = [replace(s, fixed={**s.fixed, "optimizer": "AdamW"}) for s in sweeps]
    assert recommend(always, "task00", {"optimizer": "Lion"})["verdict"] == "insufficient"


def test_too_far_out_even_a_law_does_not_reach(sweeps: list[Sweep], mined: Mined) -> None:
    laws = laws_of(mined.findings, "task00")
    document = recommend(sweeps, "task00", {"batch_size": 1e6}, laws=laws)
    assert document["verdict"] == "insufficient"
    assert "further out than that range is wide" in document["reason"]


def test_a_learning_rate_that_is_given_does_not_follow(sweeps: list[Sweep], mined: Mined) -> None:
    laws = laws_of(mined.findings, "task00")
    document = recommend(sweeps, "task00", {"batch_size": 512.0, "learning_rate": 0.01}, laws=laws)
    assert first(document)["learning_rate"] == 0.01
    assert document["conditional"] == []


def finding(task: str | None, verdict: str, condition: str = "", quantity: str = "ridge_exponent") -> Finding:
    return Finding("m", task, ("learning_rate", "weight_decay"), quantity, "c.", verdict, -1.0, -1.2, -0.8,  # type: ignore[arg-type]
                   condition=condition)  # fmt: skip


def test_only_supported_findings_make_laws_and_a_tasks_own_come_first() -> None:
    own, together = finding("a", "supported"), finding(None, "supported")
    assert [law.task for law in laws_of([own, together], "a")] == ["a"]
    assert [law.task for law in laws_of([finding("a", "insufficient"), together], "a")] == [None]
    assert laws_of([finding("a", "rejected"), together], "a") == []
    assert laws_of([finding(None, "insufficient")], None) == []
    assert laws_of([finding("a", "supported", "at equal steps")], "a") == []
    of_adam = laws_of([own, finding("a", "supported", "optimizer=Adam")], "a")
    assert [law.optimizer for law in of_adam] == ["Adam", ""]


def test_a_law_of_one_optimizer_leaves_the_others_alone() -> None:
    law = Law("weight_decay", -1.0, -1.2, None, "f", "a", "Adam")
    values = {"learning_rate": 0.1, "weight_decay": 0.01, "optimizer": "SGD"}
    assert law.moved(values, 0.001) == {**values, "weight_decay": 0.001}
    moved = law.moved({**values, "optimizer": "Adam"}, 0.001)
    assert moved["learning_rate"] == pytest.approx(1.0)
    factor, low, high = law.factors(0.001, 0.01)
    assert (factor, low, high) == (pytest.approx(10.0), 0.0, pytest.approx(10**1.2))


def test_momentum_moves_by_what_is_left_to_one() -> None:
    law = Law("momentum", 1.0, 0.9, 1.1, "f", None)
    moved = law.moved({"learning_rate": 0.1, "momentum": 0.9}, 0.99)
    assert moved["learning_rate"] == pytest.approx(0.01)
