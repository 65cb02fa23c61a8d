"""Templates of one's own: a file in the place of hpkb's, a page more, and one clear sentence for a fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from hpkb.pages import HandbookError, write_handbook
from tests.pages import html, sample

NOTES = """{% extends "base.html" %}
{% block title %}Notes{% endblock %}
{% block content %}<h1>Notes</h1><p>Of {{ handbook.n_runs }} runs on <a href="{{ root }}{{ handbook.tasks[0].href }}">{{
handbook.tasks[0].title }}</a> and others.</p>{% endblock %}
"""


@pytest.fixture(scope="module")
def bare() -> Iterator[duckdb.DuckDBPyConnection]:
    with sample.bare() as connection:
        yield connection


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "pages").mkdir(parents=True)
    return folder


def test_a_template_takes_the_place_of_ours_and_a_page_is_added(
    bare: duckdb.DuckDBPyConnection, own: Path, tmp_path: Path
) -> None:
    (own / "glossary.html").write_text('{% extends "base.html" %}{% block title %}Words{% endblock %}')
    (own / "style.css").write_text("body { color: teal }")
    (own / "pages" / "team-notes.html").write_text(NOTES)
    directory = tmp_path / "handbook"
    write_handbook(bare, directory, own)
    assert "<title>Words ·" in (directory / "glossary.html").read_text()
    assert (directory / "style.css").read_text() == "body { color: teal }"
    page = (directory / "pages" / "team-notes.html").read_text()
    assert "Of 360 runs on" in page
    assert 'href="../tasks/breast_cancer_mlp.html"' in page
    for found in html.pages(directory).values():
        assert not found.wrong
        assert any(link.endswith("pages/team-notes.html") for link in found.links)


def test_the_handbook_is_drawn_again_when_a_template_changes(
    bare: duckdb.DuckDBPyConnection, own: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "handbook"
    for text in ("a", "b"):
        (own / "style.css").write_text(text)
        write_handbook(bare, directory, own)
        assert (directory / "style.css").read_text() == text
    write_handbook(bare, directory)
    assert (directory / "style.css").read_text() != "b"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("gaps.html", b"{% if %}", "gaps.html, line 1"),
        ("gaps.html", b"{{ nothing.at.all }}", "'nothing' is undefined"),
        ("gaps.html", b"\xff\xfe", "gaps.html cannot be read"),
        ("gaps.html", b"{% extends 'none.html' %}", "none.html"),
    ],
)
def test_a_fault_in_a_template_is_one_sentence_and_leaves_the_pages(
    bare: duckdb.DuckDBPyConnection, own: Path, tmp_path: Path, name: str, text: bytes, says: str
) -> None:
    (own / name).write_bytes(text)
    with pytest.raises(HandbookError, match=says) as error:
        write_handbook(bare, tmp_path / "handbook", own)
    assert len(str(error.value).splitlines()) == 1
    assert not list((tmp_path / "handbook").glob("*.html"))


def test_a_folder_that_is_not_there_is_said_so(bare: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(HandbookError, match="No folder of templates"):
        write_handbook(bare, tmp_path / "handbook", tmp_path / "none")
