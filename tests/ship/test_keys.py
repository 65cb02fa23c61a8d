"""Names and values on their way into MLflow, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, path_not_unique, validate_param_and_metric_name

from hpkb.ship.keys import MAX_PARAM, decode_key, encode_key, long_key, param_text, same_value

NAMES = st.one_of(st.text(max_size=60), st.text("_x4 0f@/.a%é:\ud800-", max_size=12))


@given(NAMES)
def test_every_name_becomes_a_key_of_mlflow_and_comes_back(name: str) -> None:
    key = encode_key(name)
    assert key
    assert len(key) <= MAX_ENTITY_KEY_LENGTH
    assert validate_param_and_metric_name(key)
    assert not path_not_unique(key)
    digest = long_key(name)
    assert decode_key(key, {digest: name} if digest else {}) == name


@pytest.mark.parametrize("name", ["train_loss", "cli.learning rate", "f1/macro", "grad_xent", "größe:2", "a-b"])
def test_a_name_that_mlflow_takes_is_left_alone(name: str) -> None:
    assert encode_key(name) == name


def test_a_refused_name_stays_readable() -> None:
    assert encode_key("acc@5") == "acc_x40_5"
    assert encode_key("a//b") == "a_x2f__x2f_b"
    assert encode_key("a_x40_b") != encode_key("a@b")


def test_long_names_stay_apart() -> None:
    first, second = "layer." * 60 + "1", "layer." * 60 + "2"
    assert encode_key(first) != encode_key(second)
    assert decode_key(encode_key(first), {str(long_key(first)): first}) == first


def test_a_long_param_is_cut_with_a_mark() -> None:
    text = param_text("a" * 10_000)
    assert len(text) == MAX_PARAM
    assert text.endswith("[cut by hpkb]")


def test_values_are_text_that_every_database_takes() -> None:
    assert param_text([1, 2]) == "[1, 2]"
    assert param_text(None) == "None"
    assert "\0" not in param_text("a\0b\ud800")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [("1e-3", "0.001", True), ("a", "a", True), ("a", "b", False), ("1", "2", False)],
)
def test_params_that_say_the_same(first: str, second: str, same: bool) -> None:
    assert same_value(first, second) is same
