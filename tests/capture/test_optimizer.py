"""Unusual optimizers, schedules and batches: what is recorded of each training of `scripts/optimizers.py`."""

from __future__ import annotations

from typing import Any

import pytest

from .running import Captured, RunEach

pytest.importorskip("torch")

Params = dict[str, dict[str, Any]]
NAMES = ["groups", "added", "wrapped", "own", "tensor_rate", "last_is_incomplete", "two_steps_only", "by_hand"]
NAMES += ["two_passes_by_hand", "closure_with_loader", "rises", "own_cosine", "cut_short", "unknown"]


@pytest.fixture(scope="module")
def trainings(run_each: RunEach) -> dict[str, Captured]:
    """What each training of `optimizers.py` printed and recorded."""
    return run_each("optimizers.py", NAMES)


@pytest.fixture(scope="module")
def params(trainings: dict[str, Captured]) -> Params:
    return {name: ran.params for name, ran in trainings.items()}


def has(params: dict[str, Any], **expected: Any) -> bool:
    """Whether these are recorded, underscores between words of a name's parts written as `__` for the dots."""
    named = {name.replace("__", "."): value for name, value in expected.items()}
    assert {name: params.get(name) for name in named} == named
    return True


def test_groups_and_what_weight_decay_touches(params: Params) -> None:
    told = params["groups"]
    assert has(told, optimizer="AdamW", weight_decay_share=40 / 41, optimizer__amsgrad=True, optimizer__foreach=False)
    sizes = [told[f"optimizer.group.{i}.parameter_count"] for i in (0, 1)]
    assert (sizes, told["parameter_count"]) == ([40, 9], 41)
    assert "optimizer.fused" not in told


def test_groups_that_come_later(params: Params) -> None:
    assert has(
        params["added"],
        learning_rate=0.1,
        optimizer__group__1__learning_rate=0.02,
        optimizer__group__1__weight_decay=0.01,
        optimizer__group__1__parameter_count=40,
    )


def test_an_optimizer_around_another_is_no_second_one(trainings: dict[str, Captured]) -> None:
    ran = trainings["wrapped"]
    assert has(ran.params, optimizer="Adam", optimizer__wrapper="Lookahead", learning_rate=0.01)
    assert not [name for name in ran.params if name.startswith("optimizer.2")]
    assert [step for step, _ in ran.curve("train_loss")] == [1, 2, 3, 4]


def test_settings_of_any_optimizer_but_not_its_state(params: Params) -> None:
    assert has(params["own"], optimizer="Own", optimizer__trust=0.7)
    assert not {"optimizer.taken", "optimizer.adapted"} & set(params["own"])


def test_a_rate_that_is_a_tensor(params: Params) -> None:
    told = params["tensor_rate"]
    assert has(told, learning_rate=0.01, peak_learning_rate=0.01, lr_schedule="cosine", warmup_steps=0)
    assert told["final_learning_rate"] < 1e-4


@pytest.mark.parametrize(
    ("name", "passes", "batch"),
    [
        ("last_is_incomplete", 4, 20),
        ("two_steps_only", 4, 40),
        ("by_hand", 3, None),
        ("two_passes_by_hand", None, None),
        ("closure_with_loader", 1, 15),
    ],
)
def test_batches(params: Params, name: str, passes: int | None, batch: int | None) -> None:
    assert (params[name].get("accumulation_steps"), params[name].get("batch_size")) == (passes, batch)


def test_schedules_by_their_course(params: Params) -> None:
    assert has(params["rises"], lr_schedule="constant", warmup_steps=5, lr_schedule__class="LinearLR")
    assert has(params["own_cosine"], lr_schedule="cosine", warmup_steps=0, lr_schedule__class="LambdaLR")
    assert params["own_cosine"]["lr_schedule.eta_min"] == pytest.approx(0.03)
    assert has(params["cut_short"], lr_schedule="cosine", warmup_steps=0, lr_schedule__class="CosineAnnealingLR")
    assert has(params["unknown"], lr_schedule="lambda", lr_schedule__class="LambdaLR")
