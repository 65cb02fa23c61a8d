"""What all tests of the miners share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One BLAS thread, as the analysis itself has it: on matrices this small, threads only wait for each other."""
    with threadpool_limits(1):
        yield
