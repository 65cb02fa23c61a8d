"""One thread at a time, for a loop that feels the price of a lock: taking and giving back a baton costs a third of it.

`pop` takes the baton and returns what it carries, a number; IndexError says that another has it. `append` gives it back
with the next number. Both are atomic.
"""

import sys
from time import monotonic, sleep
from types import CodeType
from typing import Collection, List, Optional

_PATIENCE = 1.0  # seconds after which a baton is taken for lost
_AT_ONCE = 100  # times that it is looked for before a pause is made: who writes needs microseconds
_PAUSE = 0.0005  # seconds


class Baton(List[int]):
    """What one of several threads may hold. A list, so that nothing of Python's own runs where it changes hands."""

    def __init__(self, number: int) -> None:
        super().__init__((number,))

    def wait(self) -> Optional[int]:
        """Takes the baton as soon as it is given back, and returns its number; None where that takes too long.

        An exception raised by a signal handler (Ctrl-C) in the very moment after it was taken loses it.
        """
        looked, deadline = 0, monotonic() + _PATIENCE
        while monotonic() < deadline:
            try:
                return self.pop()
            except IndexError:
                looked += 1
                sleep(0.0 if looked < _AT_ONCE else _PAUSE)
        return None


def interrupted(owner: object, holding: Collection[CodeType], waiting: CodeType) -> bool:
    """Whether the calling method of the owner interrupts another in the same thread, and that one may hold the baton.

    A signal handler or a finalizer may run between any two instructions; who holds the baton then waits for it.
    `holding` are the methods that hold it, `waiting` is the one that they call before where they have to wait for it.
    """
    called: Optional[CodeType] = None
    frame = sys._getframe(2).f_back  # above the one that asks and the one that shall hold
    while frame is not None:
        if frame.f_code in holding and called is not waiting and frame.f_locals.get("self") is owner:
            return True
        called = frame.f_code
        frame = frame.f_back
    return False
