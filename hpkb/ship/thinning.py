"""A curve in a bounded number of points, decided while it comes.

MLflow costs 0.1 ms of processor time and some 300 bytes a point, so its metrics get a curve's shape and the run's
artifacts the whole of it (`curves.py`). The first points go as they are; later ones in windows, each as its mean, with
the scatter inside of the window beside it under `NAME.sd`. A window is a power of two of points, and twice as wide
each time that the curve has become twice as long: a curve of a million points takes about 2,000.

What must not be smoothed away is kept: the first and the last point, the smallest and the largest, and in each window
the first value that is no number. Everything follows from the order of the points alone, and `state` holds it, so that
a shipper that takes over after a crash goes on with the very same windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

WHOLE = 512  #: points of a curve that are sent as they are
PER_DOUBLING = 128  #: windows for each doubling of a curve's length after that


class Sample(NamedTuple):
    """One point of a curve, `time` in seconds since 1970. `sd` is the scatter of a window, None for a single point."""

    step: int
    time: float
    value: float
    sd: float | None = None


@dataclass
class Thinning:
    """The state of one curve. `seen` counts its points; the window's sums are those of its finite values."""

    seen: int = 0
    size: int = 1  # of the window now open
    count: int = 0
    finite: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean
    first_step: int = 0
    told_no_number: bool = False  # of this window
    last: Sample | None = None
    last_sent: bool = False
    smallest: Sample | None = None
    smallest_sent: bool = False
    largest: Sample | None = None
    largest_sent: bool = False

    def add(self, step: int, time: float, value: float) -> Iterator[Sample]:
        """Yields what is to be sent now that this point has come."""
        if self.count == 0:
            self._open(step)
        self.seen += 1
        self.count += 1
        point = self.last = Sample(step, time, value)
        whole = self.size == 1
        self.last_sent = whole
        if not math.isfinite(value):
            if whole or not self.told_no_number:
                self.told_no_number = self.last_sent = True
                yield point
        else:
            self._take(point, sent=whole)
            if whole:
                yield point
        if self.count == self.size:
            yield from self._close()

    def end(self) -> Iterator[Sample]:
        """Yields what is still to be sent when no point will come any more."""
        yield from self._close()
        kept = ((self.smallest, self.smallest_sent), (self.largest, self.largest_sent), (self.last, self.last_sent))
        self.smallest_sent = self.largest_sent = self.last_sent = True
        yield from dict.fromkeys(point for point, sent in kept if point is not None and not sent)

    def state(self) -> dict[str, Any]:
        """What `restored` makes the same object of, in JSON's types."""
        return asdict(self)

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Thinning:
        """The object that had this state."""
        points = {name: state[name] and Sample(*state[name]) for name in ("last", "smallest", "largest")}
        return cls(**{**state, **points})

    @property
    def thinned(self) -> bool:
        """Whether any point went into a window."""
        return self.seen > WHOLE

    def _open(self, step: int) -> None:
        self.size = _window(self.seen)
        self.finite, self.mean, self.squares, self.told_no_number = 0, 0.0, 0.0, False
        self.first_step = step

    def _take(self, point: Sample, sent: bool) -> None:
        """Adds a finite value to the window (Welford 1962) and to the extremes."""
        self.finite += 1
        distance = point.value - self.mean
        self.mean += distance / self.finite
        self.squares += distance * (point.value - self.mean)
        if self.smallest is None or point.value < self.smallest.value:
            self.smallest, self.smallest_sent = point, sent
        if self.largest is None or point.value > self.largest.value:
            self.largest, self.largest_sent = point, sent

    def _close(self) -> Iterator[Sample]:
        if self.count and self.size > 1 and self.finite:
            assert self.last is not None
            sd = math.sqrt(self.squares / (self.finite - 1)) if self.finite > 1 else None
            yield Sample((self.first_step + self.last.step) // 2, self.last.time, self.mean, sd)
        self.count = 0


def _window(seen: int) -> int:
    """The points of the window that begins after `seen` points: a power of two."""
    if seen < WHOLE:
        return 1
    doublings = (seen // WHOLE).bit_length() - 1
    return int(WHOLE << doublings) // PER_DOUBLING
