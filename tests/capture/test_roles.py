"""Names that tell the validation set from the test set."""

from __future__ import annotations

from typing import Any

import pytest

from hpkb.capture.roles import _roles_in, named_role, role_in_names, role_of


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


@pytest.mark.parametrize(
    ("line", "roles"),
    [
        ("loss = F.mse_loss(model(x_val), y_val)", {"validation"}),
        ("loss = F.cross_entropy(out[data.val_mask], data.y[data.val_mask])", {"validation"}),
        ("print(f'loss {look(xtest, ytest):.3f} of val')", {"test"}),
        ("found = evaluate(model, 'test')", {"test"}),
        ("val_loss += criterion(model(inputs), labels)", {"validation"}),
        ("loss = (look(X_train), look(X_valid))", {"training", "validation"}),
        ("val_loss = criterion(model(x_test), y_test)", {"validation", "test"}),
        ("print('the val loss is', criterion(model(x), y))  # (test data)", set()),
        ("loss = criterion(model.eval()(x), y, train=self.training, test=args.test)", set()),
        ("loss = evaluate(validate(x), test_step, val_loss, eval_iters)", set()),
    ],
)
def test_what_a_line_says_of_data_without_a_loader(line: str, roles: set[str]) -> None:
    assert _roles_in(line, innermost=True) == roles


def test_a_line_of_several_roles_says_nothing() -> None:
    def innermost(_train: Any, _val: Any) -> str | None:
        return role_in_names(object())

    train_loader = val_loader = object()
    assert innermost(train_loader, val_loader) is None
    assert role_of("train_eval_loader") is None
