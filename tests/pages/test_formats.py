"""Numbers and names as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpkb.pages import formats

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0031, "0.0031"), (3e-4, "3e-4"), (1.25e-7, "1.25e-7"), (0, "0"), (64, "64"), (0.1 + 0.2, "0.3"),
        (12_400, "12,400"), (1_234_567.0, "1.23\u202fM"), (-0.93, "−0.93"), (True, "True"), ("AdamW", "AdamW"),
        (None, "–"), (math.nan, "NaN"), (-math.inf, "−∞"),
    ],
)  # fmt: skip
def test_a_number_reads_as_a_person_would_write_it(value: object, text: str) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.42, 0.33, 0.51, "0.42 [0.33, 0.51]"), (-0.17, -0.31, -0.04, "−0.17 [−0.31, −0.04]"),
        (1.72, 1.7, 1.74, "1.720 [1.700, 1.740]"), (0.0087, 0.0051, 0.0198, "0.0087 [0.0051, 0.02]"),
        (2e-5, 1e-5, 3e-5, "2e-5 [1e-5, 3e-5]"), (0.4, None, 1.0, "0.4 [open, 1]"), (0.4, None, None, "0.4"),
        ("AdamW", None, None, "AdamW"),
    ],
)  # fmt: skip
def test_an_interval_has_the_decimals_that_its_width_allows(
    value: object, low: object, high: object, text: str
) -> None:
    assert formats.estimate(value, low, high) == text


def read(text: str) -> float:
    """The number that a person reads in a text that `formats` wrote."""
    plain = text.replace("−", "-").replace(",", "").replace("\u2007", "").replace("\u2008", "")
    return float(plain.removesuffix("\u202fM")) * (1e6 if plain.endswith("M") else 1.0)


@given(FINITE)
def test_what_is_read_is_the_number_to_three_digits(value: float) -> None:
    assert read(formats.number(value)) == pytest.approx(value, rel=0.0051)


@given(st.tuples(FINITE, FINITE, FINITE).map(sorted))
def test_an_interval_is_off_by_less_than_a_tenth_of_its_width(numbers: list[float]) -> None:
    low, value, high = numbers
    first, rest = formats.matched(value, low, high)
    shown = [read(first), *(read(part) for part in rest.strip("[]").split(", "))]
    for seen, true in zip(shown, (value, low, high), strict=True):
        assert abs(seen - true) <= max(0.1 * (high - low), 0.0051 * abs(true))


@given(st.lists(st.floats(min_value=0.001, max_value=90), min_size=1, max_size=8))
def test_a_column_aligns_its_decimal_points(values: list[float]) -> None:
    texts = formats.aligned(values)
    after = {
        len(t) - t.index(".") if "." in t else len(t) - t.index("\u2008") if "\u2008" in t else 0
        for t in texts
    }
    assert len(after) == 1
    assert [read(t) for t in texts] == pytest.approx(values, rel=0.0051)


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    cleaned = formats.plain(text, 50)
    assert len(cleaned) <= 50
    assert not any(ord(c) < 9 or c in "\u202e\u2066\x7f" for c in cleaned)
    cleaned.encode("utf-8")
