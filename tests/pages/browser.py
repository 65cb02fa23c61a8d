"""A real browser for the tests: Debian's Chromium, with the network off, that remembers what went wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
needed = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path: apt install chromium")


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
