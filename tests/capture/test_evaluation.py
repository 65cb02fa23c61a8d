"""The loss on data that is not trained on, held against what the scripts themselves compute."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hpkb.capture.spool import Points

from .running import Captured, Run

torch = pytest.importorskip("torch")

STEPS = (5, 10, 15)


def told(ran: Captured, word: str) -> list[float]:
    return [float(text) for text in re.findall(rf"^{word} (\S+)$", ran.stdout, re.MULTILINE)]


def at_steps(values: list[float], steps: tuple[int, ...] = STEPS) -> list[tuple[int, Any]]:
    return [(step, pytest.approx(value)) for step, value in zip(steps, values, strict=True)]


def curves(ran: Captured) -> set[str]:
    points = [record for record in ran.records if isinstance(record, Points)]
    return {name for point in points for name in point.values if re.search("(val|test)_loss", name)}


@pytest.mark.parametrize(
    "way",
    ["module", "inside", "eager", "regression", "divided", "soft", "each", "inference", "gradients", "lbfgs",
     "training too", "checked first"],
)  # fmt: skip
def test_it_is_what_the_script_gets(run: Run, way: str) -> None:
    ran = run("evaluates.py", way)
    assert (ran.returncode, ran.stderr, ran.end["dropped"]) == (0, "", 0)
    assert curves(ran) == {"val_loss", "test_loss"}
    assert ran.curve("val_loss") == at_steps(told(ran, "found"))
    assert ran.curve("test_loss") == at_steps(told(ran, "tested"), (15,))


@pytest.mark.parametrize(
    ("way", "names"),
    [
        ("two", {"val_loss.cross_entropy", "val_loss.mse_loss", "test_loss.cross_entropy", "test_loss.mse_loss"}),
        ("focal", {"val_loss.cross_entropy", "test_loss.cross_entropy"}),
        ("blend", {"val_loss.cross_entropy", "test_loss.cross_entropy"}),
        ("sum", set()),  # two calls a batch: nobody knows what they mean
        ("aot_eager", set()),  # compiled away
        ("unnamed", set()),
    ],
)
def test_what_is_not_known_to_be_the_whole_has_no_such_name(run: Run, way: str, names: set[str]) -> None:
    ran = run("evaluates.py", way)
    assert (ran.returncode, ran.stderr, ran.end["dropped"]) == (0, "", 0)
    assert curves(ran) == names


def test_lines_tell_the_role_of_batches_without_a_loader(run: Run) -> None:
    ran = run("evaluates.py", "hand cut")
    assert curves(ran) == {"val_loss"}
    assert ran.curve("val_loss") == at_steps(told(ran, "found"))


def test_a_model_that_is_trained_in_evaluation_mode_is_not_taken_for_evaluated(run: Run) -> None:
    ran = run("evaluates.py", "frozen")
    assert ran.curve("val_loss") == at_steps(told(ran, "found"))


def test_what_the_script_prints_is_right_by_definition(run: Run) -> None:
    ran = run("evaluates.py", "prints")
    assert ran.curve("val_loss") == list(zip(STEPS, ran.printed("val_loss"), strict=True))
    assert ran.curve("measured.val_loss") == at_steps(ran.printed("val_loss"))


def test_a_name_once_taken_stays_with_its_owner(run: Run) -> None:
    ran = run("evaluates.py", "prints late")
    found = told(ran, "found")
    assert ran.curve("val_loss") == at_steps(found)
    assert ran.curve("printed.val_loss") == list(zip(STEPS[1:], found[1:], strict=True))


@pytest.mark.parametrize("way", ["module", "aot_eager"])
def test_the_job_is_the_same_with_and_without(run: Run, way: str) -> None:
    captured, alone = run("evaluates.py", way), run("evaluates.py", way, captured=False)
    assert (captured.stdout, captured.stderr, captured.returncode) == (alone.stdout, alone.stderr, 0)
