"""The handbook that is committed: whole, of the repository's own sweep, and silent about the machine that made it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from hpkb.demo_design import TASKS, plan
from tests.pages import html

HANDBOOK = Path(__file__).parents[2] / "handbook"
PAGES = html.pages(HANDBOOK)


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
