"""The course of a learning rate, kept as the steps at which it changed, in bounded memory.

A schedule that changes its rate at every step is thinned: of its changes each second, fourth, ... is kept. Where
the rate turns, jumps, or was held for long, the change and the one before it are kept at any thinning, because a
schedule's shape lies in them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Knot(NamedTuple):
        """One change: the how-manieth it was (the first rate is number 0), at which step, and to which rate."""

        number: int
        step: int
        rate: float


_LIMIT = 4096  # knots kept
_SMOOTH = 4.0  # a change at most so many times the one before it, or so many times slower, is no abrupt one


class Rates:
    """One optimizer's learning rate over its steps; `changed` is to be called with every rate that is a new one."""

    __slots__ = ("_abrupt", "_gap", "_knots", "_move", "_number", "_step", "_stride", "final", "highest", "is_whole")

    def __init__(self, step: int, rate: float) -> None:
        self.final = self.highest = rate
        self.is_whole = True  # false once there were too many abrupt changes to keep; what came before is kept
        self._knots: dict[int, tuple[int, float]] = {0: (step, rate)}
        self._abrupt: set[int] = {0}
        self._number, self._step, self._move, self._gap, self._stride = 0, step, 0.0, 0, 1

    def changed(self, step: int, rate: float) -> None:
        """Takes note of a step whose rate is not that of the step before."""
        before, move, gap = self.final, rate - self.final, step - self._step
        low, high = self._move / _SMOOTH, self._move * _SMOOTH
        if not self.is_whole:
            pass
        elif not (low < move < high or low > move > high) or not self._gap / _SMOOTH <= gap <= self._gap * _SMOOTH:
            self._knots[self._number] = (self._step, before)
            self._knots[self._number + 1] = (step, rate)
            self._abrupt.update((self._number, self._number + 1))
        elif (self._number + 1) % self._stride == 0:
            self._knots[self._number + 1] = (step, rate)
        self._number, self._step, self._move, self._gap, self.final = self._number + 1, step, move, gap, rate
        if rate > self.highest:
            self.highest = rate
        if len(self._knots) > _LIMIT:
            self._thin()

    def knots(self) -> list[Knot]:
        """Returns the changes that are kept, among them the first rate and, of a whole course, the last change."""
        kept = dict(self._knots)
        if self.is_whole:
            kept[self._number] = (self._step, self.final)
        return [(number, *kept[number]) for number in sorted(kept)]  # type: ignore[misc]

    def _thin(self) -> None:
        if len(self._abrupt) > _LIMIT // 2:
            self.is_whole = False
            return
        self._stride *= 2
        self._knots = {n: knot for n, knot in self._knots.items() if n in self._abrupt or n % self._stride == 0}
