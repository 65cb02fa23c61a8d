"""The search of the handbook, offline and from the file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages.browser import needed, playwright, watched

pytestmark = needed


@pytest.fixture
def page(browser: playwright.Browser, handbook: Path) -> playwright.Page:
    watch = watched(browser)
    yield watch.open(handbook / "tasks" / "wine_mlp.html")
    assert not watch.wrong
    watch.page.context.close()


def found(page: playwright.Page, wanted: str) -> list[str]:
    page.keyboard.press("/")
    page.keyboard.press("Control+A")
    page.keyboard.type(wanted)
    page.wait_for_selector("#search-status:not(:empty)", state="attached")
    return page.locator("#found a").all_inner_texts()


def test_a_finding_is_found_and_opened_with_the_keyboard(page: playwright.Page) -> None:
    first = found(page, "wine seeds move val loss")[0]
    assert first.startswith("Seeds alone move val_loss")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/evidence/wine_mlp.html#finding-*")
    assert "Seeds alone" in page.locator("tr:target").inner_text()


def test_a_hyperparameter_is_found_by_another_name_and_enter_takes_the_first(page: playwright.Page) -> None:
    assert found(page, "lr")[0].startswith("Learning rate")
    page.keyboard.press("Enter")
    page.wait_for_url("**/hyperparameters/learning_rate.html")


def test_tasks_and_questions_are_found(page: playwright.Page) -> None:
    assert found(page, "text transf")[0] == "text_transformer\ntask"
    assert found(page, "which hyperparameters matter")[0] == "Which hyperparameters matter?\nquestion"


def test_what_is_not_there_is_said_and_escape_closes(page: playwright.Page) -> None:
    assert found(page, "no such thing") == []
    assert page.locator("#search-status").inner_text() == "Nothing found"
    assert found(page, "dropout")
    page.keyboard.press("Escape")
    assert not page.locator("#found").is_visible()


def test_the_arrows_go_down_and_back_to_the_field(page: playwright.Page) -> None:
    found(page, "learning")
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('li') === document.querySelector('#found li:nth-child(2)')")
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "wanted"


def test_the_index_comes_only_when_it_is_wanted(page: playwright.Page) -> None:
    assert page.locator("script[src$='search.js']").count() == 0
    page.locator("#wanted").focus()
    assert page.locator("script[src$='search.js']").count() == 1
