"""What axe-core says of every page: no violation that it calls serious or worse."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.pages.browser import needed, playwright, watched

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = needed
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_no_page_has_a_serious_violation(
    browser: playwright.Browser, handbook: Path, width: int, scheme: str
) -> None:
    watch = watched(browser, width, color_scheme=scheme)
    wrong = []
    for path in sorted(handbook.rglob("*.html")):
        page = watch.open(path)
        if page.locator(".chart").count():
            page.locator(".chart").first.scroll_into_view_if_needed()
            page.wait_for_selector(".chart[tabindex]", state="attached")  # the script has come to it
        found = axe.Axe().run(page, options={"resultTypes": ["violations"], **RULES}).response
        for violation in found["violations"]:
            if violation["impact"] in ("serious", "critical"):
                wrong += [f"{path.name}: {violation['id']}: {node['html'][:160]}" for node in violation["nodes"][:3]]
    assert not wrong, "\n".join(wrong)


def test_every_page_has_one_first_heading_and_named_landmarks(browser: playwright.Browser, handbook: Path) -> None:
    watch = watched(browser)
    for path in sorted(handbook.rglob("*.html")):
        page = watch.open(path)
        assert page.locator("h1").count() == 1, path
        levels = page.locator("main :is(h1, h2, h3)").evaluate_all("all => all.map(h => +h.tagName[1])")
        assert all(after <= before + 1 for before, after in pairwise(levels)), path
