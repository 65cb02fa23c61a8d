"""What is easily got wrong: several passes or optimizers a step, roles of loaders, random data, compilation."""

from __future__ import annotations

import json

import pytest

from .running import Captured, Run, RunEach

torch = pytest.importorskip("torch")

NAMES = ["mixed_precision", "closure", "two_optimizers", "checkpointed", "two_losses", "samplers", "noisy"]
NAMES += ["compiled", "subset"]


@pytest.fixture(scope="module")
def corners(run_each: RunEach) -> dict[str, Captured]:
    """What each training of `corners.py` printed and recorded."""
    return run_each("corners.py", NAMES)


def losses(ran: Captured) -> list[float]:
    return [value for _, value in ran.curve("train_loss")]


@pytest.mark.parametrize("name", ["mixed_precision", "closure", "checkpointed", "noisy", "compiled", "subset"])
def test_losses_are_the_scripts_own(corners: dict[str, Captured], name: str) -> None:
    assert losses(corners[name]) == corners[name].printed("mine")
    assert corners[name].end["dropped"] == 0


def test_two_optimizers_that_take_turns_share_the_steps(corners: dict[str, Captured]) -> None:
    ran = corners["two_optimizers"]
    printed = ran.printed("mine")
    assert ran.curve("train_loss") == list(zip(range(1, 5), printed[::2], strict=True))
    assert ran.curve("train_loss.2") == list(zip(range(1, 5), printed[1::2], strict=True))
    assert (ran.params["learning_rate"], ran.params["optimizer.2.learning_rate"]) == (0.01, 0.02)
    assert ran.params["accumulation_steps"] == 1


def test_passes_inside_a_step_are_not_accumulation(corners: dict[str, Captured]) -> None:
    assert "accumulation_steps" not in corners["closure"].params
    assert corners["checkpointed"].params["accumulation_steps"] == 1
    assert (corners["two_losses"].params["accumulation_steps"], corners["two_losses"].params["batch_size"]) == (1, 10)


def test_roles_of_loaders(corners: dict[str, Captured]) -> None:
    splits = corners["samplers"].of_type("split")
    assert [(split["role"], split["n"]) for split in splits] == [("training", 40), ("validation", 10), ("test", 10)]


def test_a_data_set_of_the_scripts_own_is_not_asked(corners: dict[str, Captured], run: Run) -> None:
    alone = run("corners.py", "-", "noisy", captured=False)
    assert corners["noisy"].stdout == alone.stdout.partition("\n")[2]
    split = corners["noisy"].splits["training"]
    assert (split["dataset"], split["n"], split["digest_of"]) == ("Noisy", 60, "arrays")


def test_schedules_in_canonical_words(run: Run) -> None:
    ran = run("schedulers.py")
    assert "hpkb: " not in ran.stderr
    told = dict(json.loads(line) for line in ran.stdout.splitlines())
    words = {name: values.get("lr_schedule") for name, values in told.items()}
    renamed = {"transformers": "cosine", "own": None, "warmup": "cosine", "none": None}
    renamed |= {"sequence": "step+exponential", "chained": "step+exponential"}
    assert words == {name: renamed.get(name, name) for name in told}
    assert told["cosine"] == {
        "lr_schedule": "cosine", "lr_schedule.T_max": 50, "lr_schedule.eta_min": 1e-5,
        "lr_schedule.class": "CosineAnnealingLR",
    }  # fmt: skip
    assert told["own"] == {"lr_schedule.class": "Mine"}
    assert told["warm_restarts"]["lr_schedule.T_0"] == 7
    assert told["multistep"]["lr_schedule.milestones"] == "[3, 6]"
    assert told["transformers"]["lr_schedule.num_warmup_steps"] == 5
    assert told["warmup"] == {
        "lr_schedule": "cosine", "lr_schedule.T_max": 9, "lr_schedule.eta_min": 0.0, "lr_schedule.warmup": 4,
        "lr_schedule.class": "SequentialLR(LinearLR, CosineAnnealingLR)",
    }  # fmt: skip
