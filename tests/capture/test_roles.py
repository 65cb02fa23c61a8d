"""Names that tell the validation set from the test set."""

from __future__ import annotations

from typing import Any

import pytest

from hpkb.capture.roles import named_role, role_of


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("val_loader", "validation"), ("validation", "validation"), ("dev_dl", "validation"), ("evalset", "validation"),
        ("test_loader", "test"), ("testloader", "test"), ("TestData", "test"),
        ("loader", None), ("latest_data", None), ("train_loader", None), ("interval", None),
    ],
)  # fmt: skip
def test_names(name: str, role: str | None) -> None:
    assert role_of(name) == role


def ask(loader: Any) -> str | None:
    return named_role(loader)


def ask_all(things: list[Any]) -> str | None:
    for thing in things:
        return ask(thing)
    return None


def test_the_line_of_the_call_says_it() -> None:
    loader = val_loader = test_data = object()
    held = locals()
    names = set(held)
    val_loss = ask(test_data)
    assert val_loss == "test"
    assert ask(val_loader) == "validation"
    assert ask_all([test_data]) == "test"
    loaders = {"valid": loader}
    answer = ask(loaders["valid"])
    assert answer == "validation"
    assert set(held) == names  # nothing has looked into the frame
