"""Gradient clipping and weight averaging, held against what the scripts print."""

from __future__ import annotations

import pytest

from .running import Captured, RunEach

pytest.importorskip("torch")

NAMES = ["by_norm", "by_value", "measured", "in_parts", "measured_first", "scaled", "two", "swa", "ema", "own_average"]


@pytest.fixture(scope="module")
def trainings(run_each: RunEach) -> dict[str, Captured]:
    """What each training of `clipping.py` printed and recorded."""
    return run_each("clipping.py", NAMES)


@pytest.mark.parametrize("name", ["by_norm", "measured", "measured_first", "scaled"])
def test_norms_are_those_before_clipping(trainings: dict[str, Captured], name: str) -> None:
    ran = trainings[name]
    printed = ran.printed("norm")
    assert ran.curve("grad_norm") == list(zip(range(1, 11), printed, strict=True))
    if name == "measured":
        assert not {"gradient_clip_norm", "gradient_clip_share"} & set(ran.params)
    else:
        assert ran.params["gradient_clip_norm"] == 2.0
        assert ran.params["gradient_clip_share"] == sum(norm > 2.0 for norm in printed) / 10
    assert [step for step, _ in ran.curve("train_loss")] == list(range(1, 11))


def test_values(trainings: dict[str, Captured]) -> None:
    params = trainings["by_value"].params
    assert params["gradient_clip_value"] == 0.25
    assert not {"gradient_clip_norm", "gradient_clip_share"} & set(params)


def test_norms_of_parts_are_not_the_gradients(trainings: dict[str, Captured]) -> None:
    ran = trainings["in_parts"]
    assert ran.params["gradient_clip_norm"] == 1.0
    assert "gradient_clip_share" not in ran.params


def test_two_optimizers_have_a_norm_each(trainings: dict[str, Captured]) -> None:
    ran = trainings["two"]
    assert [norm for _, norm in ran.curve("grad_norm")] == ran.printed("first")
    assert [norm for _, norm in ran.curve("grad_norm.2")] == ran.printed("second")
    assert ran.params["gradient_clip_share"] == sum(norm > 2.0 for norm in ran.printed("first")) / 4


def test_averages(trainings: dict[str, Captured]) -> None:
    told = {name: trainings[name].params for name in ("swa", "ema", "own_average", "by_norm")}
    words = {name: (params.get("weight_averaging"), params.get("ema_decay")) for name, params in told.items()}
    assert words == {"swa": ("swa", None), "ema": ("ema", 0.97), "own_average": (None, None), "by_norm": (None, None)}
