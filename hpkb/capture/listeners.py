"""Functions that want to be told of an event of the training."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .session import Session


class Listeners:
    """The listeners of one event, told in the order in which they came. One that fails is never called again.

    What happens at every step looks at `functions` first: a call that nobody hears is dear there.
    """

    __slots__ = ("_live", "functions")

    def __init__(self, live: Session) -> None:
        self._live = live
        self.functions: tuple[Callable[..., None], ...] = ()

    def add(self, function: Callable[..., None]) -> None:
        """Has the function called with every event from the next one on."""
        self.functions = (*self.functions, function)

    def remove(self, function: Callable[..., None]) -> None:
        """Has the function called no more; it may say so while it is being called."""
        self.functions = tuple(known for known in self.functions if known != function)

    def tell(self, *event: Any) -> None:
        """Calls every listener."""
        for function in self.functions:
            try:
                function(*event)
            except Exception as error:
                self.remove(function)
                self._live.failed(getattr(function, "__qualname__", "a listener"), error)
