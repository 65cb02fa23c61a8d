"""How often a measurement may be taken, from what it costs and how long a step takes."""

from __future__ import annotations

import collections
import math

_SHARE = 0.005  # of the steps' time
_ALLOWANCE, _ALLOWED = 20e-6, 1000  # seconds a step that are allowed in any case, over so many steps
_RECENT = 5  # measurements and steps that are remembered


class Pace:
    """The steps between two measurements, chosen so that their median cost is 0.5% of the steps' time.

    Over the first thousand steps 20 ms in all are allowed where that is more, so that short runs tell something too.
    """

    def __init__(self) -> None:
        self._costs: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._steps: collections.deque[float] = collections.deque(maxlen=_RECENT)

    def took(self, cost: float, step: float, share: float = 0.0) -> None:
        """Takes note of a measurement's cost and of the time of a step, in seconds.

        `share` is the part of a step that it takes at most on a device whose time is not measured.
        """
        self._costs.append(max(cost, share * step))
        self._steps.append(step)

    def interval(self, step: int) -> int:
        """Returns the steps from this one to the next measurement.

        The shortest of the last steps counts, as a longer one may have had an evaluation in it, and the median cost,
        as the process may have been made to wait within a measurement.
        """
        allowed = _SHARE * min(self._steps)
        if step <= _ALLOWED:
            allowed = max(allowed, _ALLOWANCE)
        return max(1, math.ceil(sorted(self._costs)[(len(self._costs) - 1) // 2] / allowed))
