"""Functions of other modules replaced by ones that also tell capture, and behave the same in every other way.

An exception that passes through leaves no frame of ours in its traceback: on Python 3.11 and later the handler
drops it, before that `end.py` does when the traceback is printed.
"""

from __future__ import annotations

import functools

from .session import Session, current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def call_after(owner: Any, name: str, then: Callable[[Session, Any, tuple[Any, ...], dict[str, Any]], None]) -> None:
    """Makes `owner.name` call `then(live, result, args, kwargs)` after itself, in a process that is captured."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next
            raise
        live = current()
        if live is not None:
            try:
                then(live, result, args, kwargs)
            except Exception as error:
                live.failed(name, error)
        return result

    setattr(owner, name, call)
