"""How many backward passes make one optimizer step, learnt from the first steps.

Where batches come from a DataLoader, their number a step tells: several losses of one batch are no accumulation, and
a library that draws a batch ahead still makes one pass with each. Batches cut by hand leave only the passes; several
of those are accumulation where the script divides each loss by their number, otherwise nobody can know.
"""

from __future__ import annotations

import collections
from typing import Any, Optional  # torch has imported it by now

from .loader import Loaders, world_size
from .session import Session

SETTLED = 3  # steps after which it is known; the first may be a part of one, or hold a trial


class Accumulation:
    """The backward passes of the first steps; `factor` undoes the script's own division of its losses."""

    def __init__(self, live: Session, torch: Any, loaders: Loaders) -> None:
        self._live, self._torch, self._loaders = live, torch, loaders
        self._counts: list[int] = []
        self._divisors: set[Optional[float]] = set()
        self._accounted: dict[int, int] = {}  # batches drawn before the last step, by the id of a loader's use
        self.factor = 1.0
        self.passes: Optional[int] = None  # a step's, once it is known

    def passed(self, loss: Any) -> None:
        """Takes note of a backward pass from `loss`, before it runs."""
        self._divisors.add(_divisor(loss))

    def stepped(self, passes: int, with_closure: bool) -> None:
        """Takes note of one of the first steps, which so many backward passes preceded."""
        use = self._loaders.latest
        drawn = 0
        if use is not None:
            drawn = use.drawn - self._accounted.get(id(use), 0) if use.role == "training" else 0
            self._accounted[id(use)] = use.drawn
        divided = passes > 1 and self._divisors == {float(passes)}
        self._divisors.clear()
        if divided and not with_closure:
            self.factor = float(passes)
        if drawn and passes:
            self.passes = min(drawn, passes)
        elif not with_closure and (passes == 1 or divided):  # a closure may run several times a step
            self.passes = passes
        else:
            return
        self._counts.append(self.passes)
        if with_closure and divided and self.passes == passes:
            self.factor = float(passes)

    def conclude(self) -> None:
        """Records the batch size once the passes of a step are known; without a DataLoader it stays absent."""
        self.passes = _usual(self._counts)
        if self.passes is None:
            return
        use = self._loaders.latest
        size = use.batch_size if use is not None and use.role == "training" else None
        values: dict[str, Any] = {"accumulation_steps": self.passes}
        if size is not None:
            values["batch_size"] = size * self.passes * world_size(self._torch)
        self._live.params(values, "loader")


def _usual(counts: list[int]) -> Optional[int]:
    """Returns the count of most steps; of two that differ the larger, as the end of an epoch leaves a smaller one."""
    if not counts:
        return None
    most = collections.Counter(counts).most_common(1)[0]
    if most[1] > 1 or len(counts) < SETTLED:
        return most[0] if most[1] > 1 else max(counts)
    return None


def _divisor(loss: Any) -> Optional[float]:
    """Returns by what plain number the script divided the loss just before `backward`, None where it did not."""
    node = loss.grad_fn
    name = type(node).__name__
    if name not in ("DivBackward0", "MulBackward0"):
        return None
    other = node._saved_other
    if other is None or other.numel() != 1 or other.requires_grad or not other.is_cpu:
        return None
    number = float(other)
    if name == "MulBackward0":
        return round(1 / number, 6) if number else None
    return number
