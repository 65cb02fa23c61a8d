"""Functions that want to be told of an event of the training."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .session import Session


class Listeners:
    """The listeners of one event, told in the order in which they came. One that fails is never called again."""

    def __init__(self, live: Session) -> None:
        self._live = live
        self._functions: tuple[Callable[..., None], ...] = ()

    def __bool__(self) -> bool:
        return bool(self._functions)

    def add(self, function: Callable[..., None]) -> None:
        """Has the function called with every event from the next one on."""
        self._functions = (*self._functions, function)

    def remove(self, function: Callable[..., None]) -> None:
        """Has the function called no more; it may say so while it is being called."""
        self._functions = tuple(known for known in self._functions if known != function)

    def tell(self, *event: Any) -> None:
        """Calls every listener."""
        for function in self._functions:
            try:
                function(*event)
            except Exception as error:
                self.remove(function)
                self._live.failed(getattr(function, "__qualname__", "a listener"), error)
