"""Tracebacks of the job's exceptions, without the frames of the functions that capture has put around the job's.

On Python 3.11 and later such a function drops its own frame as the exception passes through. Before that a `raise`
puts the frame back, and the frames are left out when the traceback is printed.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


def leave_out_this_frame(error: BaseException) -> None:
    """Drops the frame of the calling function, which has just caught the error, from the error's traceback."""
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next


def print_without_capture() -> None:
    """Makes Python print tracebacks as they are without hpkb, where functions cannot drop their frames themselves."""
    if sys.version_info >= (3, 11):
        return
    original = sys.excepthook
    folder = os.path.dirname(os.path.abspath(__file__))

    def excepthook(kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> Any:
        _leave_out(folder, error)
        return original(kind, error, error.__traceback__)

    sys.excepthook = excepthook


def _leave_out(folder: str, error: BaseException | None) -> None:
    """Takes the frames of that folder out of the error's traceback and out of those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = _without(folder, error.__traceback__)
        error = error.__cause__ or error.__context__


def _without(folder: str, traceback: TracebackType | None) -> TracebackType | None:
    kept = []
    while traceback is not None:
        if os.path.dirname(traceback.tb_frame.f_code.co_filename) != folder:
            kept.append(traceback)
        traceback = traceback.tb_next
    for i, entry in enumerate(kept[1:]):
        kept[i].tb_next = entry
    return kept[0] if kept else None
