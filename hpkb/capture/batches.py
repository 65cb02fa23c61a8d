"""The batches that the job draws from its DataLoaders.

Where the training draws one batch after another, which is at nearly every step, they are counted and no more. What
else is to be known of a batch is looked at when another iterator was drawn from in between.
"""

from __future__ import annotations

import functools
from time import perf_counter
from typing import Any, Callable, Iterator, Optional  # torch has imported it by now

from .passes import Course, Courses
from .patch import call_after
from .session import Session, current
from .tracebacks import leave_out_this_frame
from .training import training_of


class Drawing:
    """What one iterator has given; `course` is that of the training while only counting is to be done.

    It counts for itself then, and `Use` and `Courses` add that to theirs when they are asked.
    """

    __slots__ = ("asked_at", "batches", "course", "courses", "since", "use", "waited", "waited_followed")

    def __init__(self, use: Any, courses: Courses) -> None:
        self.use, self.courses = use, courses
        self.course: Optional[Course] = None
        self.batches = 0
        self.asked_at = self.waited = 0.0  # seconds, of a batch that is looked at
        self.since = 0  # the batch after which it is followed
        self.waited_followed = 0.0  # seconds, for all batches since then


def watch_batches(torch: Any) -> None:
    """Hooks the making of a DataLoader's iterator, and each batch that comes from it."""
    from torch.utils.data import DataLoader, dataloader

    call_after(DataLoader, "__iter__", _opened)
    _watch_iterators(dataloader._BaseDataLoaderIter)


def _opened(live: Session, iterator: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    loader = args[0]
    iterator._hpkb_drawing = Drawing(training_of(live).loaders.use(loader), live.part(Courses))
    if not loader.persistent_workers:  # those hold their iterator, and a circle would keep the workers alive
        iterator._hpkb_loader = loader  # a loader without a name would be gone before its first batch


def _watch_iterators(iterators: Any) -> None:
    original: Callable[[Iterator[Any]], Any] = iterators.__next__

    @functools.wraps(original)
    def __next__(self: Any) -> Any:
        asked_at = perf_counter()
        try:
            batch = original(self)
        except BaseException as error:
            leave_out_this_frame(error)
            if isinstance(error, StopIteration):
                _look(self._hpkb_drawing, asked_at, exhausted=True)
            raise
        drawing = self._hpkb_drawing
        if drawing is None or drawing.course is None:
            _look(drawing, asked_at, exhausted=False)
        else:
            drawing.batches += 1
            drawing.waited_followed += perf_counter() - asked_at
        return batch

    iterators._hpkb_drawing = None
    iterators.__next__ = __next__


def _look(drawing: Optional[Drawing], asked_at: float, exhausted: bool) -> None:
    """Has a batch looked at, or the end of a pass."""
    waited = perf_counter() - asked_at
    live = current()
    if live is None or drawing is None:
        return
    try:
        training, use = live.training or training_of(live), drawing.use
        drawing.asked_at, drawing.waited = asked_at, waited
        graded = training.torch.is_grad_enabled()
        if not exhausted:
            drawing.batches += 1
            drawing.courses.stop_following()
            training.loaders.drawn(use, graded)
        elif use.role is None:
            training.loaders.evaluated(use)
        training.after_batch.tell(drawing, exhausted)
        if graded and use.role == "training" and not exhausted:
            drawing.courses.follow(drawing)
    except Exception as error:
        live.failed("a batch", error)
