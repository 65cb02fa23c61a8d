"""How often a measurement may be taken, from what it costs and how long a step takes."""

from __future__ import annotations

import collections
import math

_SHARE = 0.005  # of the steps' time
_EARLY = 200  # steps whose share may be spent before they are taken
_ADVANCE = 20e-3  # seconds that are spent in advance at most
_HASTE = 2.0  # times the usual rate, at most, to spend what is left over
_ROUNDING = 1e-6  # of a step, by which sums of times may be off
_RECENT = 9  # measurements and steps that are remembered


class Pace:
    """The steps between two measurements, chosen so that all of them together cost 0.5% of the steps' time.

    The first steps may spend some of the share of those to come, so that short runs tell something too; it is paid
    back by the 200th step, unless the very first measurement alone cost more. What is summed up is what measurements
    really took, so that an expensive one makes the next ones wait.
    """

    def __init__(self) -> None:
        self._costs: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._steps: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._spent = 0.0  # seconds
        self._elapsed = 0.0  # seconds of the steps so far
        self._counted = 0  # steps that are in it

    def took(self, cost: float, step: float, share: float = 0.0) -> None:
        """Takes note of a measurement's cost and of the time of a step, in seconds.

        `share` is the part of a step that it takes at most on a device whose time is not measured.
        """
        cost = max(cost, share * step)
        self._costs.append(cost)
        self._steps.append(step)
        self._spent += cost

    def interval(self, step: int) -> int:
        """Returns the steps from this one to the next measurement, of which the usual cost is expected.

        The median of the last steps counts for all since the last measurement, as one with an evaluation in it is
        no step's time.
        """
        usual, cost = _median(self._steps), _median(self._costs)
        self._elapsed += max(0, step - self._counted) * usual
        self._counted = max(step, self._counted)
        due = step + ((self._spent + cost) / _SHARE - self._elapsed) / usual
        closest = cost / _SHARE / usual / _HASTE
        wait = max(_advanced(due, usual) - step, closest)
        return max(1, math.ceil(wait - _ROUNDING))


def _advanced(due: float, usual: float) -> float:
    """Returns the step by which as much may be spent as 0.5% of the time are at the step `due`.

    It is the square root of step / 200 of the share of the first 200 steps, where that is more.
    """
    if not 0 < due < _EARLY:
        return due
    return max(due * due / _EARLY, due - _ADVANCE / (_SHARE * usual))


def _median(values: collections.deque[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]
