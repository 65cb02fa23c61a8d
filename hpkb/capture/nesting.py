"""How deep a thread is inside of calls of one kind: the outermost of them tells capture, those inside only repeat."""

from __future__ import annotations

from _thread import _local  # what `threading` has, without its import


class Nesting(_local):
    """Counts the calls of one kind that each thread is inside of."""

    depth = 0
