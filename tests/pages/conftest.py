"""One handbook of the sample, written once for all tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from hpkb.pages import write_handbook
from tests.pages import hostile, sample
from tests.pages.browser import ARGUMENTS, CHROMIUM, playwright


@pytest.fixture(scope="session")
def knowledge() -> Iterator[duckdb.DuckDBPyConnection]:
    """The sample's knowledge base; tests only read it."""
    with sample.build() as connection:
        yield connection


@pytest.fixture(scope="session")
def handbook(knowledge: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's handbook; tests only read it."""
    directory = tmp_path_factory.mktemp("handbook")
    write_handbook(knowledge, directory)
    return directory


@pytest.fixture(scope="session")
def crowded_handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A handbook in which 1,000 attacks stand for every kind of name and value; tests only read it."""
    directory = tmp_path_factory.mktemp("crowded")
    with hostile.crowd() as connection:
        write_handbook(connection, directory)
    return directory


@pytest.fixture(scope="session")
def browser() -> Iterator[playwright.Browser]:
    """Chromium, started once."""
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()
