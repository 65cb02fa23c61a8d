"""What regularises a training, held against what the scripts do."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from hpkb.capture.transforms import transform_of

from .running import Run

torch = pytest.importorskip("torch")

NAMES = ("dropout", "dropout.values", "label_smoothing", "soft_targets", "stochastic_depth", "mixup", "cutmix",
         "augmentation")  # fmt: skip


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("plain", {"label_smoothing": 0.0}),
        ("several", {"label_smoothing": 0.1, "dropout.values": "0.1 0.5",
                     "augmentation": "Sequential((0): Scale(by=2.0) (1): Scale(by=0.5))"}),
        ("zero", {"label_smoothing": 0.0, "dropout": 0.0, "augmentation": "__main__.shifted(by=0.5)"}),
        ("functional", {"label_smoothing": 0.0, "dropout": 0.25, "augmentation": "__main__.Noise"}),
        ("compiled", {"label_smoothing": 0.0, "dropout": 0.25}),
        ("recurrent", {"label_smoothing": 0.0, "dropout": 0.4}),
        ("transformer", {"label_smoothing": 0.0, "dropout": 0.15}),
        ("paths", {"label_smoothing": 0.0, "stochastic_depth": 0.1, "augmentation": "__main__.shifted"}),
        ("mixed", {"soft_targets": True, "mixup": 0.8}),
    ],
)  # fmt: skip
def test_parameters_are_what_the_training_does(run: Run, way: str, expected: dict[str, Any]) -> None:
    ran = run("regularized.py", way)
    assert (ran.returncode, ran.stderr, ran.end["dropped"]) == (0, "", 0)
    assert {name: ran.params[name] for name in NAMES if name in ran.params} == expected


def test_the_transform_of_other_data_is_a_tag(run: Run) -> None:
    ran = run("regularized.py", "several")
    tags = {name: value for record in ran.of_type("tags") for name, value in record["values"].items()}
    assert tags["hpkb.split.validation.transform"] == "__main__.shifted"


@pytest.mark.parametrize("way", ["several", "functional"])
def test_the_job_is_the_same_with_and_without(run: Run, way: str) -> None:
    captured, alone = run("regularized.py", way), run("regularized.py", way, captured=False)
    assert (captured.stdout, captured.stderr, captured.returncode) == (alone.stdout, alone.stderr, 0)


def test_functions_look_as_ever_to_what_looks_at_them(run: Run) -> None:
    captured, alone = run("looked_at.py"), run("looked_at.py", captured=False)
    assert (captured.stdout, captured.stderr, captured.returncode) == (alone.stdout, alone.stderr, 0)
    assert captured.end["dropped"] == 0


class Holds:
    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


def test_transforms_of_datasets_inside_of_one_another() -> None:
    inner = Holds(transform=functools.partial(round, ndigits=2), transforms=object())
    assert transform_of(Holds(dataset=Holds(dataset=inner), augment=len)) == "builtins.round(ndigits=2); builtins.len"
    assert transform_of(Holds(datasets=[inner, inner])) == "builtins.round(ndigits=2)"
    assert transform_of(Holds(datasets=[inner, Holds(transform=len)])) is None
    assert transform_of(Holds(transform=None)) is None
    assert transform_of(3) is None
    long = transform_of(Holds(transform=[len] * 500))
    assert long is not None
    assert len(long) == 1000
    assert "0x" not in str(transform_of(Holds(transform=lambda x: x)))
