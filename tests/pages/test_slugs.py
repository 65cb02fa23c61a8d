"""File names and anchors from names that nobody vouches for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpkb.pages.places import store
from hpkb.pages.slugs import anchor, slug


@given(st.text())
def test_a_slug_is_a_plain_file_name(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", slug(name))
    assert not slug(name).endswith(".")


@given(st.text(), st.text())
def test_two_names_have_two_slugs_and_two_anchors(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)
    assert (anchor("run", one) == anchor("run", other)) == (one == other)


@pytest.mark.parametrize(
    "name", ["..", "../etc/passwd", "con", "index", "", "a" * 100_000, "A", "digits.1234567890"]
)
def test_a_name_that_would_do_harm_is_not_taken_as_it_is(name: str) -> None:
    assert slug(name) != name
    assert "/" not in slug(name)


@pytest.mark.parametrize(
    ("source", "shown", "ui"),
    [
        ("sqlite:////srv/team/mlflow.db", "sqlite:///mlflow.db", ""),
        (
            "https://ada:secret@mlflow.example.org/x/",
            "https://mlflow.example.org/x/",
            "https://mlflow.example.org/x",
        ),
        ("/srv/team/runs.parquet", "runs.parquet", ""),
        ("postgresql://ada:secret@db/mlflow", "postgresql://db/mlflow", ""),
        ("https://[broken", "https://[broken", "https://[broken"),
    ],
)
def test_a_source_is_shown_without_its_folder_and_its_password(source: str, shown: str, ui: str) -> None:
    found = store(source)
    assert (found.uri, found.ui) == (shown, ui)
    assert bool(found.command) == (not ui and not source.endswith("parquet"))
