"""The handbook in a real browser, from the file system, with the network off.

Screenshots of every kind of page go into the folder that HPKB_SCREENSHOTS names.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.pages.browser import needed, playwright, watched

pytestmark = needed
KINDS = (
    "index.html", "about.html", "names.html", "changes.html", "gaps.html", "glossary.html", "evidence/digits_cnn.html",
    "tasks/digits_cnn.html", "questions/lr_batch_size.html",
    "questions/importance.html",
    "hyperparameters/learning_rate.html",
)  # fmt: skip

SORTED_BY = "cells => cells.map(cell => cell.dataset.value ?? cell.textContent)"


def test_every_page_opens_offline_without_an_error_or_a_sideways_scroll(
    browser: playwright.Browser, handbook: Path
) -> None:
    for width in (360, 1280):
        watch = watched(browser, width)
        for path in sorted(handbook.rglob("*.html")):
            page = watch.open(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.evaluate("getComputedStyle(document.body).marginTop") == "0px", (
                f"{path} has no style sheet"
            )
        assert not watch.wrong


def test_none_of_a_thousand_hostile_names_runs_or_breaks_the_layout(
    browser: playwright.Browser, crowded_handbook: Path
) -> None:
    watch = watched(browser, 360)
    rest = sorted(crowded_handbook.glob("hyperparameters/*.html"))
    for path in [*crowded_handbook.glob("*.html"), *crowded_handbook.glob("[qt]*/*.html"), *rest[::10]]:
        page = watch.open(path)
        _touch_everything(page)
        assert page.evaluate("window.broken") is None, path
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert page.locator("main h1").count() == 1
        assert "49" not in page.title()
    assert not watch.wrong


def _touch_everything(page: playwright.Page) -> None:
    """Asks a chart, the key and the search of a page for all that they say."""
    page.evaluate("for (const s of document.querySelectorAll('.long')) s.style.contentVisibility = 'visible'")
    chart = page.locator(".chart").first
    if page.locator(".chart").count():
        chart.scroll_into_view_if_needed()
        page.wait_for_selector(".chart[tabindex]", state="attached")
        chart.focus()
        for key in ("Home", "ArrowRight", "End", "ArrowLeft"):
            page.keyboard.press(key)
    for said in ("<script>", "'\"", "__proto__"):
        page.fill("#wanted", said)
        page.wait_for_selector("#search-status:not(:empty)", state="attached")


def test_the_theme_switches_and_stays(browser: playwright.Browser, handbook: Path) -> None:
    page = watched(browser, color_scheme="light").open(handbook / "index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    page.click("#theme")
    dark = page.evaluate(background)
    assert dark != "rgb(255, 255, 255)"
    page.click("main a[href^='tasks/'] >> nth=0")
    page.wait_for_url("**/tasks/*")
    assert page.evaluate(background) == dark


def test_a_table_sorts_by_the_numbers_of_a_column(browser: playwright.Browser, handbook: Path) -> None:
    page = watched(browser).open(handbook / "tasks" / "digits_cnn.html")
    head = page.locator(".runs-table thead button", has_text="learning rate").first
    cells = page.locator(".runs-table tbody td:nth-child(5)")
    head.click()
    values = [float(cell) for cell in cells.evaluate_all(SORTED_BY)]
    assert values == sorted(values)
    head.click()
    values = [float(cell) for cell in cells.evaluate_all(SORTED_BY)]
    assert values == sorted(values, reverse=True)


def test_a_page_can_be_read_without_javascript(browser: playwright.Browser, handbook: Path) -> None:
    watch = watched(browser, 360, java_script_enabled=False)
    page = watch.open(handbook / "index.html")
    assert page.locator("main svg.chart").first.is_visible()
    page.click("text=Menu")
    assert page.locator("#menu a", has_text="How this was made").is_visible()
    assert not page.locator("#theme").is_visible()
    assert not page.locator("#search").is_visible()


@pytest.mark.skipif("HPKB_SCREENSHOTS" not in os.environ, reason="HPKB_SCREENSHOTS names no folder")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_screenshots_for_people_to_look_at(
    browser: playwright.Browser, handbook: Path, width: int, scheme: str
) -> None:
    folder = Path(os.environ["HPKB_SCREENSHOTS"])
    watch = watched(browser, width, color_scheme=scheme)
    for kind in KINDS:
        name = f"{Path(kind).with_suffix('').as_posix().replace('/', '-')}-{width}-{scheme}.png"
        page = watch.open(handbook / kind)
        page.screenshot(path=folder / name, full_page=True)
        if (width, scheme) == (1440, "light"):
            page.pdf(path=folder / f"{name.split('-1440')[0]}.pdf", format="A4")
