"""What the script makes of the charts: tips, links, the key as a filter, runs chosen in all charts of their task."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages.browser import needed, playwright, watched

pytestmark = needed
BATCH = "figure:has(figcaption:has-text('batch_size'))"


@pytest.fixture
def page(browser: playwright.Browser, handbook: Path) -> playwright.Page:
    watch = watched(browser)
    yield watch.open(handbook / "tasks" / "digits_cnn.html")
    assert not watch.wrong
    watch.page.context.close()


def chart(page: playwright.Page, name: str = "learning_rate is") -> playwright.Locator:
    found = page.locator(f"figure:has(figcaption:has-text('{name}')) .chart").first
    found.scroll_into_view_if_needed()
    playwright.expect(found).to_have_attribute("role", "application")  # it is awake, not only one that was nearer
    return found


def point(page: playwright.Page, drawing: playwright.Locator, mark: str) -> tuple[float, float]:
    """Where the first of some dots is on the screen."""
    x, y = drawing.locator(mark).first.evaluate(
        "path => { const [, x, y] = path.getAttribute('d').match(/M([0-9.]+) ([0-9.]+)/);"
        " const p = new DOMPoint(x, y).matrixTransform(path.getScreenCTM()); return [p.x, p.y]; }"
    )
    return x, y


def test_a_dot_says_which_run_it_is_and_leads_to_it(page: playwright.Page) -> None:
    drawing = chart(page)
    page.mouse.move(*point(page, drawing, ".k-run"))
    page.wait_for_selector("#tip:has-text('seed')")
    said = page.locator("#tip").inner_text().splitlines()
    assert said[0].startswith("run ")
    assert said[1].startswith("learning rate ")
    assert said[2].startswith("val loss ")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url("**/tasks/digits_cnn.html#run-*")
    assert page.locator("tr:target").count() == 1
    row = page.locator("tr:target").inner_text()
    assert said[0].split()[1] in row
    assert said[2].removeprefix("val loss ") in row
    assert said[1].removeprefix("learning rate ") in row


def test_an_infeasible_run_says_so(page: playwright.Page) -> None:
    drawing = chart(page)
    page.mouse.move(*point(page, drawing, ".k-infeasible"))
    assert "infeasible" in page.locator("#tip").inner_text()


def test_the_keyboard_walks_along_the_marks_and_follows_one(page: playwright.Page) -> None:
    drawing = chart(page)
    drawing.focus()
    page.keyboard.press("Home")
    page.wait_for_selector("#tip:has-text('seed')")
    first = page.locator("#tip").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text() != first
    page.keyboard.press("ArrowLeft")
    assert page.locator("#tip").inner_text() == first
    page.keyboard.press("Escape")
    assert page.locator("#tip").inner_text() == ""
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_url("**/tasks/digits_cnn.html#run-*")


def test_a_tap_shows_and_a_second_one_follows(browser: playwright.Browser, handbook: Path) -> None:
    page = watched(browser, 390, has_touch=True).open(handbook / "tasks" / "digits_cnn.html")
    drawing = chart(page)
    page.evaluate("document.querySelector('#responses').scrollIntoView()")
    page.wait_for_timeout(600)  # smooth scrolling
    place = point(page, drawing, ".k-run")
    page.touchscreen.tap(*place)
    page.wait_for_selector("#tip:has-text('seed')")
    assert "#run" not in page.url
    page.touchscreen.tap(*place)
    page.wait_for_url("**#run-*")


def test_the_key_shows_and_hides_what_it_names(page: playwright.Page) -> None:
    drawing = chart(page)
    figure = page.locator("figure:has(figcaption:has-text('learning_rate is'))").first
    button = figure.get_by_role("button", name="one run", exact=True)
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert not drawing.locator(".k-run").first.is_visible()
    assert drawing.locator(".k-curve").first.is_visible()
    page.mouse.move(*point(page, drawing, ".k-infeasible"))
    assert "infeasible" in page.locator("#tip").inner_text()
    button.click()
    assert drawing.locator(".k-run").first.is_visible()


def test_runs_chosen_on_the_map_are_chosen_in_the_other_charts_and_in_the_table(page: playwright.Page) -> None:
    drawing = chart(page, "grows as batch_size")
    box = drawing.bounding_box()
    page.mouse.move(box["x"] + 0.15 * box["width"], box["y"] + 3)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_selector("tr.chosen")
    chosen = page.locator("tr.chosen").count()
    assert f"{chosen} runs chosen" in page.locator("#chosen").inner_text()
    dots = page.locator("figure:has(figcaption:has-text('weight decay moves')) .chosen").get_attribute("d")
    assert dots.count("M") == chosen
    page.get_by_role("button", name="Show in the table").click()
    rows = page.locator(".runs-table tbody tr")
    assert rows.nth(chosen - 1).evaluate("row => row.classList.contains('chosen')")
    assert not rows.nth(chosen).evaluate("row => row.classList.contains('chosen')")
    page.get_by_role("button", name="Clear").click()
    assert page.locator(".chosen").count() == 0
    assert not page.locator("#chosen").is_visible()


def test_the_keyboard_chooses_runs_as_the_mouse_does(page: playwright.Page) -> None:
    drawing = chart(page)
    drawing.focus()
    for key in ("Home", " ", "ArrowRight", " "):
        page.keyboard.press(key)
    page.wait_for_selector("tr.chosen")
    assert "2 runs chosen" in page.locator("#chosen").inner_text()


def test_a_row_of_a_forest_says_its_interval_and_leads_to_its_finding(
    browser: playwright.Browser, handbook: Path
) -> None:
    page = watched(browser).open(handbook / "questions" / "lr_batch_size.html")
    page.wait_for_selector(".chart[role=application]")
    drawing = page.locator(".chart", has_text="linear scaling").first
    drawing.locator("a").first.hover()
    said = page.locator("#tip").inner_text()
    assert "[" in said
    assert "\n" in said
    drawing.locator("a").first.click()
    page.wait_for_url("**#finding-*")
    assert page.locator("tr:target").count() == 1
