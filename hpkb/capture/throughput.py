"""How fast the training goes, in windows: examples a second, the share of the time that it waits for data, memory.

A window ends at the first step that completes five seconds and a hundred steps (a minute, where those take longer).
It begins with the end of the run's first step, which starts workers, compiles kernels and allocates. Of its time,
what is spent in evaluation does not count: from the first batch of an evaluation loader to the next one of training.
On a GPU a step ends before its work does, but never by more than the few steps that may be queued.
"""

from __future__ import annotations

import math
from typing import Any, Optional  # torch has imported it by now

from .loader import world_size
from .memory import gpu_peak_gib, peak_gib
from .passes import Courses

_SECONDS = 5.0
_STEPS = 100
_LONGEST = 60.0  # seconds after which a window may hold fewer steps
_FEWEST = 10  # steps of a last window that is recorded


class Moment:
    """Where the run stands after a step."""

    def __init__(self, at: float, step: int, waited: float, evaluated: float, examples: Optional[int]) -> None:
        self.at, self.step, self.waited, self.evaluated, self.examples = at, step, waited, evaluated, examples


class Throughput:
    """Measures one training."""

    def __init__(self, training: Any) -> None:
        self._training, self._live, self._torch = training, training.live, training.torch
        self._grad_enabled = training.torch.is_grad_enabled
        self._courses = training.live.part(Courses)
        self._evaluated = 0.0
        self._evaluating_since: Optional[float] = None
        self._evaluating_until = 0.0
        self._began: Optional[float] = None
        self._start: Optional[Moment] = None  # of the window
        self._first: Optional[Moment] = None  # of the run
        self._windows = 0
        training.after_batch.add(self._batch)
        training.after(1, self._look)
        training.live.closing.append(self._conclude)

    def _batch(self, drawing: Any, exhausted: bool) -> None:
        """Takes note of a batch or of the end of a pass."""
        role, asked_at = drawing.use.role, drawing.asked_at
        if role not in ("training", None) or not self._grad_enabled():
            self._evaluating_until = asked_at + drawing.waited
            if self._evaluating_since is None and not exhausted:
                self._evaluating_since = asked_at
            return
        if self._evaluating_since is not None:
            self._evaluated += asked_at - self._evaluating_since
            self._evaluating_since = None
        if self._began is None:
            self._began = asked_at
        if exhausted:
            self._courses.waits(drawing.waited)
        else:
            self._courses.drawn(drawing)

    def _look(self, step: int) -> None:
        self._training.after(step + self._looked(step), self._look)

    def _looked(self, step: int) -> int:
        """Ends the window if it is time for that, and returns the steps until the next look at the clock."""
        if self._evaluating_since is not None:  # the training draws no batches from a loader
            self._evaluated += self._evaluating_until - self._evaluating_since
            self._evaluating_since = None
        start = self._start
        if start is None:
            self._start = self._first = self._moment(step)
            return 1
        steps, seconds = step - start.step, self._training.stepped_at - start.at
        least = max(_SECONDS, min(_LONGEST, _STEPS * seconds / steps))
        if seconds >= least:
            self._end_window(step)
            return max(1, steps // 2)
        # about as many steps as are missing, and no more than have gone by
        return min(steps, max(1, math.ceil((least - seconds) * steps / seconds))) if seconds > 0 else 1

    def _moment(self, step: int) -> Moment:
        course = self._courses.only()
        examples = None if course is None else course.examples
        return Moment(self._training.stepped_at, step, self._courses.waited, self._evaluated, examples)

    def _end_window(self, step: int) -> None:
        assert self._start is not None
        start, end = self._start, self._moment(step)
        self._start = end
        self._windows += 1
        values = self._memory()
        seconds = end.at - start.at - (end.evaluated - start.evaluated)
        if seconds > 0:
            examples = self._examples(start, end)
            if examples:
                values["examples_per_second"] = examples / seconds
            if self._courses.any():
                values["data_wait_share"] = min(1.0, max(0.0, (end.waited - start.waited) / seconds))
        passes = self._courses.passes()
        if passes is not None:
            values["epoch"] = passes
        self._live.points(step, values)

    def _examples(self, start: Moment, end: Moment) -> Optional[float]:
        """Returns the examples of a window over all processes: as drawn, else steps times the batch size if known."""
        if start.examples is not None and end.examples is not None:
            return (end.examples - start.examples) * world_size(self._torch)
        size = self._live.parameter("batch_size")
        return (end.step - start.step) * size if isinstance(size, int) else None

    def _memory(self) -> dict[str, float]:
        found = {"peak_memory_gib": peak_gib(), "gpu_peak_memory_gib": gpu_peak_gib(self._torch)}
        return {name: value for name, value in found.items() if value is not None}

    def _conclude(self) -> None:
        """Records the last window, where it is no mere remnant, and the totals."""
        if self._first is None or self._start is None:
            return
        step = self._live.step
        steps = step - self._start.step
        if steps >= _FEWEST or (steps and not self._windows):
            self._end_window(step)
        else:
            self._live.points(step, self._memory())
        began = self._began if self._began is not None else self._first.at
        totals = {
            "hpkb.time.training_seconds": self._training.stepped_at - began - self._evaluated,
            "hpkb.time.evaluation_seconds": self._evaluated,
            "hpkb.time.data_wait_seconds": self._courses.waited if self._courses.any() else None,
        }
        self._live.tags({name: f"{seconds:.3f}" for name, seconds in totals.items() if seconds is not None})
        passes = self._courses.passes()
        if passes is not None:
            self._live.tags({"hpkb.epochs_seen": f"{passes:.6g}"})
