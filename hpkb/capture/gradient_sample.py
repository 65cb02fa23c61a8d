"""One sample of a step's gradients, from before its first backward pass until what was measured has arrived."""

from __future__ import annotations

from typing import Any, Optional, Union  # torch has imported it by now

from .losses import Late
from .split_batch import Pieces

Reading = Union[float, Late]


class Sample:
    """A sampled step on its way."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.began = 0.0  # all times in seconds
        self.cost = 0.0
        self.share = 0.0  # of a step that the device works for it, at most
        self.passes = 1
        self.drawn: Optional[int] = None  # batches, up to its first backward pass
        self.batch = 0  # examples of the first backward pass
        self.n = 0  # examples whose mean gradient the squared norm is of
        self.told: list[Pieces] = []
        self.handles: list[Any] = []
        self.root: list[Any] = []  # the gradient that the loss itself came with: the scale of mixed precision
        self.weights: list[Any] = []  # weak references to those looked at, where more micro-batches are to come
        self.readings: list[Reading] = []  # of tr(Σ) and the squared norm

    @property
    def is_ready(self) -> bool:
        """Whether what was measured has arrived."""
        return all(not isinstance(reading, Late) or reading.ready for reading in self.readings)

    def values(self) -> list[float]:
        """Returns tr(Σ) and the squared norm, once they have arrived."""
        return [reading.value() if isinstance(reading, Late) else reading for reading in self.readings]

    def release(self) -> None:
        """Takes the hooks off the graph, which the script may keep."""
        handles, self.handles = self.handles, []
        for handle in handles:
            handle.remove()
