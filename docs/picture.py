"""Takes the README's picture of the handbook: `make handbook` runs it after the pages are written."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Writes docs/handbook.png from handbook/index.html, with Debian's Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("No picture: chromium is not installed.")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 1060}, color_scheme="light")
        page.goto((ROOT / "handbook" / "index.html").as_uri())
        page.screenshot(path=ROOT / "docs" / "handbook.png")


if __name__ == "__main__":
    main()
