"""One thread for whatever computes: the last digits of a sum depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets the body compute with one thread of each library.

    The arrays are small, too: more threads of BLAS only wait for each other.
    """
    # A limit holds for the libraries that are loaded by then, and those of scipy and scikit-learn are not numpy's.
    import scipy.linalg  # noqa: F401
    import sklearn.ensemble  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
