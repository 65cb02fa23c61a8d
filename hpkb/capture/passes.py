"""How far the training has gone through its data, counted in the batches drawn from its DataLoaders."""

from __future__ import annotations

from typing import Any, Optional  # torch has imported it by now

from .session import Session

_AHEAD = 2  # batches that a trainer draws before it uses them
_LOADERS = 100  # that are told apart; some scripts make one for every pass


class Course:
    """How far the training has gone through one DataLoader: passes begun, those completed, and batches drawn."""

    def __init__(self, use: Any, loader: Any) -> None:
        self.use = use
        self.length = _length(loader)
        self.batch_size, self._missing = _sizes(loader)
        self._looked_at = self.opened = self._completed = 0
        self._drawing: Any = None

    @property
    def batches(self) -> int:
        """Returns how many batches were drawn."""
        return self._looked_at + int(self.use.counted)

    @property
    def completed(self) -> int:
        """Returns how many passes came to the loader's last batch."""
        return self._completed + self._is_complete()

    @property
    def examples(self) -> Optional[int]:
        """Returns the examples that this process has drawn; None where the loader's sampler decides over a batch."""
        return self.batches * self.batch_size - self.completed * self._missing if self.batch_size else None

    def drawn(self, drawing: Any) -> None:
        """Takes note of a batch of an iterator that is not followed."""
        self._looked_at += 1
        if drawing is not self._drawing:
            self._completed += self._is_complete()
            self._drawing = drawing
            self.opened += drawing.batches == 1

    def keep(self) -> None:
        """Takes over what the followed iterator has counted, which is followed no more."""
        self._looked_at += int(self.use.counted)

    def _is_complete(self) -> bool:
        return self._drawing is not None and bool(self._drawing.batches == self.length)


class Courses:
    """The courses through the loaders that one session's job trains on."""

    def __init__(self, live: Session) -> None:
        self._live = live
        self._waited = 0.0  # seconds, for batches of the training that the followed iterator did not give
        self._courses: dict[int, Course] = {}  # by the id of their use
        self._followed: Any = None  # the drawing that the training draws one batch after another from

    @property
    def waited(self) -> float:
        """Returns the seconds that the training has waited for batches."""
        return self._waited if self._followed is None else self._waited + float(self._followed.waited_followed)

    def waits(self, seconds: float) -> None:
        """Takes note of a wait for a batch that the followed iterator did not give."""
        self._waited += seconds

    def drawn(self, drawing: Any) -> None:
        """Takes note of a batch that the training drew from an iterator which is not followed."""
        self.waits(drawing.waited)
        course = self._courses.get(id(drawing.use))
        if course is None:
            loader = drawing.use.loader()
            if loader is None or len(self._courses) >= _LOADERS:
                return
            course = self._courses[id(drawing.use)] = Course(drawing.use, loader)
        course.drawn(drawing)

    def follow(self, drawing: Any) -> None:
        """Has the next batches of this iterator counted only, by itself, until another one is drawn from."""
        course = self._courses.get(id(drawing.use))
        if course is not None:
            drawing.course, drawing.since, drawing.waited_followed = course, drawing.batches, 0.0
            self._followed = drawing.use.followed = drawing

    def stop_following(self) -> None:
        """Takes note of a batch from an iterator that is not followed."""
        followed = self._followed
        if followed is not None:
            followed.course.keep()
            followed.use.looked_at += followed.use.counted
            self._waited += followed.waited_followed
            followed.course = followed.use.followed = self._followed = None

    def any(self) -> bool:
        """Whether the job trains on what a loader gives."""
        return any(course.use.role == "training" for course in self._courses.values())

    def only(self) -> Optional[Course]:
        """Returns the course through the training data; None where that comes from several loaders, or none."""
        found = [course for course in self._courses.values() if course.use.role == "training"]
        return found[0] if len(found) == 1 else None

    def passes(self) -> Optional[float]:
        """Returns how often the training has gone through its data; None where `only` is, and for a stream."""
        course = self.only()
        if course is None or not course.length:
            return None
        used = self._live.step * int(self._live.parameter("accumulation_steps") or 1)
        fetched_ahead = 0 < course.batches - used <= _AHEAD
        return (used if fetched_ahead else course.batches) / course.length


def _length(loader: Any) -> Optional[int]:
    try:
        return len(loader) or None
    except (TypeError, AttributeError, NotImplementedError):  # a stream has no length
        return None


def _sizes(loader: Any) -> tuple[Optional[int], int]:
    """Returns the examples of a batch, None where they may differ, and how many are missing in a pass's last batch."""
    size = loader.batch_size
    if not isinstance(size, int):
        return None, 0
    try:
        count = len(loader.sampler)
    except (TypeError, AttributeError, NotImplementedError):
        return size, 0
    return size, 0 if loader.drop_last else -count % size
