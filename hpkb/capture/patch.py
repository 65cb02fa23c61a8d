"""Functions of other modules replaced by ones that also tell capture, and behave the same in every other way."""

from __future__ import annotations

import functools

from .session import Session, current
from .tracebacks import leave_out_this_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .nesting import Nesting

    Then = Callable[[Session, Any, tuple[Any, ...], dict[str, Any]], None]


def call_after(owner: Any, name: str, then: Then) -> None:
    """Makes `owner.name` call `then(live, result, args, kwargs)` after itself, in a process that is captured."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            leave_out_this_frame(error)
            raise
        live = current()
        if live is not None:
            _tell(live, name, then, result, args, kwargs)
        return result

    setattr(owner, name, call)


def call_after_outermost(owner: Any, name: str, nesting: Nesting, then: Then, what: str) -> None:
    """Does the same for calls that are not made inside of another one of the nesting; nothing where there is no `name`.

    `what` says what is not captured where `then` fails.
    """
    original = getattr(owner, name, None)
    if original is None:  # in another version of the library
        return

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        outer = nesting.depth
        nesting.depth = outer + 1
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            leave_out_this_frame(error)
            raise
        finally:
            nesting.depth = outer
        live = None if outer else current()
        if live is not None:
            _tell(live, what, then, result, args, kwargs)
        return result

    setattr(owner, name, call)


class Replaced:
    """Functions of other modules that are replaced for a while."""

    def __init__(self) -> None:
        self._now: list[tuple[Any, str, Any, Any]] = []

    def put(self, owner: Any, name: str, replacement: Any) -> None:
        """Puts the replacement in the place of `owner.name`."""
        self._now.append((owner, name, getattr(owner, name), replacement))
        setattr(owner, name, replacement)

    def restore(self) -> None:
        """Puts the originals back, but for those in whose place somebody else has put something since."""
        while self._now:
            owner, name, original, replacement = self._now.pop()
            if getattr(owner, name) is replacement:
                setattr(owner, name, original)


def _tell(
    live: Session, what: str, then: Then, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    try:
        then(live, result, args, kwargs)
    except Exception as error:
        live.failed(what, error)
