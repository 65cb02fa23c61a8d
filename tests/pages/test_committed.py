"""The handbook that is committed: whole, of the repository's own sweep, and silent about the machine that made it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from hpkb.demo_design import TASKS, plan
from hpkb.pages import write_handbook
from hpkb.pages.writer import MANIFEST
from tests.pages import html, regenerate

HANDBOOK = Path(__file__).parents[2] / "handbook"
PAGES = html.pages(HANDBOOK)


ANEW = "Look at what changed; if it is meant: python -m tests.pages.regenerate"


def files(directory: Path) -> dict[str, bytes]:
    """The files of a handbook; which code wrote it, as its manifest says, is left out."""
    found = {p.relative_to(directory).as_posix(): p for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST}
    return {name: path.read_bytes() for name, path in found.items()}


@pytest.mark.skipif(not regenerate.KNOWLEDGE.exists(), reason="no knowledge base of the demo is committed")
def test_its_knowledge_base_gives_the_committed_handbook(tmp_path: Path) -> None:
    with regenerate.unpack() as connection:
        write_handbook(connection, tmp_path)
    made, committed = files(tmp_path), files(HANDBOOK)
    assert made.keys() == committed.keys(), ANEW
    assert [name for name in made if made[name] != committed[name]] == [], ANEW


@pytest.mark.skipif(not regenerate.KNOWLEDGE.exists(), reason="no knowledge base of the demo is committed")
def test_its_knowledge_base_is_small_and_names_no_folder_of_a_machine() -> None:
    assert sum(path.stat().st_size for path in regenerate.KNOWLEDGE.iterdir()) < 1_000_000
    with regenerate.unpack() as connection:
        for name in regenerate.TABLES:
            text = repr(connection.table(name).fetchall())
            assert not re.search(r"/(home|root|tmp|usr|var|work)/", text), name


def test_the_golden_pages_are_as_they_were(tmp_path: Path) -> None:
    regenerate.write_golden(tmp_path)
    for name in regenerate.KEPT:
        assert (tmp_path / name).read_text() == (regenerate.GOLDEN / name).read_text(), f"{name}: {ANEW}"


def test_it_holds_every_run_of_the_design() -> None:
    runs = [identity for page in PAGES.values() for identity in page.ids if identity.startswith("run-")]
    assert len(runs) == len(set(runs)) == len(plan())
    assert {f"tasks/{task}.html" for task in TASKS} <= PAGES.keys()


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    for link in PAGES[name].links:
        parts = urlsplit(link)
        assert not parts.scheme, link
        target = (HANDBOOK / name).parent.joinpath(unquote(parts.path)).resolve() if parts.path else HANDBOOK / name
        assert target.is_file(), link
        if parts.fragment:
            assert unquote(parts.fragment) in PAGES[target.relative_to(HANDBOOK.resolve()).as_posix()].ids, link


@pytest.mark.parametrize("name", PAGES)
def test_it_names_no_folder_of_a_machine(name: str) -> None:
    text = (HANDBOOK / name).read_text()
    assert not re.search(r"/(home|root|tmp|usr|var|work)/", text)
