"""One evaluation of one set of data, and the sums of what the loss functions gave in it."""

from __future__ import annotations

import collections
import time
from typing import Any, NamedTuple, Optional, Union  # torch has imported it by now

from .loss_functions import Call
from .losses import Late


class Source:
    """Batches drawn from a DataLoader by one iterator, without another one in between."""

    def __init__(self, drawing: Any) -> None:
        self.drawing = drawing
        self.use = drawing.use
        self.batches = 0
        self.exhausted = False
        self.measured: Optional[Pass] = None


class Sum:
    """The outputs of one loss function, added up over their examples."""

    def __init__(self) -> None:
        self.total = 0.0
        self.examples = 0
        self.calls = 0
        self.late: collections.deque[tuple[Late, float]] = collections.deque()
        self.known = True  # whether every value could be read
        self.places: set[Any] = set()  # calling lines of hand-cut batches

    def add(self, reading: Union[float, Late, None], factor: float, examples: int) -> None:
        """Adds a reading times a factor for some examples."""
        self.calls += 1
        self.examples += examples
        if reading is None:
            self.known = False
        elif isinstance(reading, Late):
            self.late.append((reading, factor))
            self.collect()
        else:
            self.total += reading * factor

    def collect(self) -> bool:
        """Adds the values that have arrived; returns whether all have."""
        while self.late and self.late[0][0].ready:
            reading, factor = self.late.popleft()
            self.total += reading.value() * factor
        return not self.late


class Pass:
    """One evaluation of one set of data."""

    def __init__(self, step: int, role: Optional[str], source: Optional[Source], named: Optional[str]) -> None:
        self.step, self.role, self.source, self.named = step, role, source, named
        self.ended_at = time.time()
        self.sums: dict[str, Sum] = {}
        self.with_gradients = False  # a backward pass may still show that this was training

    def has_arrived(self) -> bool:
        """Whether no value is still on its way from the GPU."""
        return all(counted.collect() for counted in self.sums.values())


class Value(NamedTuple):
    """What a loss function gave for one batch, as a mean or a sum over its examples."""

    scalar: Any
    factor: float
    examples: int


def value_of(call: Call) -> Optional[Value]:
    """Returns what a call gave, None where its arguments leave open how it was reduced."""
    given = call.first()
    if call.argument("size_average") is not None or call.argument("reduce") is not None or not given.dim():
        return None
    if call.name == "ctc_loss":
        examples = given.shape[1] if given.dim() == 3 else 1
    else:
        target = call.argument("target")
        unbatched = call.name in ("cross_entropy", "nll_loss") and given.dim() == 1
        examples = 1 if unbatched and target is not None else given.shape[0]
    summed = call.argument("reduction") == "sum"
    return Value(call.result.detach(), 1.0 if summed else float(examples), examples)
