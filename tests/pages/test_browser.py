"""The handbook in a real browser, from the file system, with the network off.

Screenshots of every kind of page go into the folder that HPKB_SCREENSHOTS names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpkb.pages import write_handbook
from tests.pages import hostile

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path: apt install chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
KINDS = (
    "index.html", "about.html", "names.html", "tasks/digits_cnn.html", "questions/lr_batch_size.html",
    "questions/importance.html",
    "hyperparameters/learning_rate.html",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


class Watched:
    """A page that remembers what went wrong on it."""

    def __init__(self, context: playwright.BrowserContext) -> None:
        self.page = context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("requestfailed", self._failed)
        self.page.on("request", lambda request: self._only_files(request.url))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))

    def _failed(self, request: playwright.Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the next page was opened before the icon had come
            self.wrong.append(f"failed: {request.url}")

    def _only_files(self, url: str) -> None:
        if not url.startswith("file:"):
            self.wrong.append(f"asked the network for {url}")

    def open(self, path: Path) -> playwright.Page:
        self.page.goto(path.as_uri())
        return self.page


def watched(browser: playwright.Browser, width: int = 1280, **options: object) -> Watched:
    context = browser.new_context(viewport={"width": width, "height": 800}, offline=True, **options)
    return Watched(context)


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


def test_no_hostile_name_runs_or_breaks_the_layout(browser: playwright.Browser, tmp_path: Path) -> None:
    with hostile.build() as connection:
        write_handbook(connection, tmp_path)
    watch = watched(browser, 360)
    for path in sorted(tmp_path.rglob("*.html")):
        page = watch.open(path)
        assert page.evaluate("window.broken") is None, path
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert page.locator("main h1").count() == 1
    assert not watch.wrong


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


def test_a_chart_shows_its_run_on_hover_and_to_the_keyboard_and_leads_to_it(
    browser: playwright.Browser, handbook: Path
) -> None:
    page = watched(browser).open(handbook / "questions" / "response.html")
    point = page.locator(".chart a[tabindex='0']").first
    point.focus()
    first = page.locator("#tip").inner_text()
    assert first.startswith("run ")
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text() != first
    point.hover()
    assert page.locator("#tip").inner_text() == first
    point.click()
    page.wait_for_url("**/tasks/*")
    assert "/tasks/" in page.url
    assert page.locator("tr:target").count() == 1


def test_a_table_sorts_by_the_numbers_of_a_column(browser: playwright.Browser, handbook: Path) -> None:
    page = watched(browser).open(handbook / "tasks" / "digits_cnn.html")
    head = page.locator(".runs-table thead button", has_text="learning rate").first
    cells = page.locator(".runs-table tbody td:nth-child(5)")
    head.click()
    values = [float(cell) for cell in cells.evaluate_all("cells => cells.map(cell => cell.dataset.value)")]
    assert values == sorted(values)
    head.click()
    values = [float(cell) for cell in cells.evaluate_all("cells => cells.map(cell => cell.dataset.value)")]
    assert values == sorted(values, reverse=True)


def test_a_page_can_be_read_without_javascript(browser: playwright.Browser, handbook: Path) -> None:
    watch = watched(browser, 360, java_script_enabled=False)
    page = watch.open(handbook / "index.html")
    assert page.locator("main svg.chart").first.is_visible()
    page.click("text=Menu")
    assert page.locator("#menu a", has_text="How this was made").is_visible()
    assert not page.locator("#theme").is_visible()


@pytest.mark.skipif("HPKB_SCREENSHOTS" not in os.environ, reason="HPKB_SCREENSHOTS names no folder")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_screenshots_for_people_to_look_at(
    browser: playwright.Browser, handbook: Path, width: int, scheme: str
) -> None:
    folder = Path(os.environ["HPKB_SCREENSHOTS"])
    watch = watched(browser, width, color_scheme=scheme)
    for kind in KINDS:
        name = f"{Path(kind).with_suffix('').as_posix().replace('/', '-')}-{width}-{scheme}.png"
        watch.open(handbook / kind).screenshot(path=folder / name, full_page=True)
