"""What is recorded of the learning rate's schedule, from the scheduler and from the rates that were used.

One of torch's schedulers is what it is, even in a run that was cut short. A function of the script's own, a class of
its own, and rates assigned by hand are told by their course, where `schedule_shape.py` recognises it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional  # torch has imported it by now

from .rates import Rates
from .scheduler import describe_schedule, is_certain
from .session import Session

if TYPE_CHECKING:
    from .schedule_shape import Shape

_OPTIONS = ("schedule", "scheduler", "lr_schedule", "lr_scheduler", "lr_scheduler_type", "sched")
_FALLING = ("step", "multistep", "exponential", "linear", "polynomial", "cosine", "plateau", "constant")


class Schedule:
    """The schedule of the job's first optimizer."""

    def __init__(self, live: Session) -> None:
        self._live = live
        self._told: dict[str, Any] = {}

    def begin(self, optimizer: Any) -> None:
        """Records what the scheduler tells, at the first step; the word of an uncertain one waits for the end."""
        self._told = describe_schedule(optimizer)
        certain = is_certain(self._told)
        sure = {name: value for name, value in self._told.items() if certain or name != "lr_schedule"}
        self._live.params(sure, "scheduler")

    def seen(self, optimizer: Any, rates: Optional[Rates], steps: int) -> dict[str, Any]:
        """Returns what is known at the end, given the rates of so many steps."""
        if not self._told and optimizer is not None:
            self.begin(optimizer)  # a scheduler may be made after the first step
        if rates is None:
            return {}  # on a GPU, and not to be waited for
        shape = _shape(rates, steps)
        word = self._told.get("lr_schedule")
        if is_certain(self._told):
            if shape.word != word:
                warmup = 0 if word in _FALLING and shape.warmup == 0 else None
                shape = type(shape)(word, warmup)
        elif shape.word is None or (shape.word == "constant" and shape.warmup == 0):
            return self._said(shape, moved=shape.word is None)
        found = {
            "lr_schedule": shape.word, "warmup_steps": shape.warmup, "lr_schedule.period": shape.period,
            "lr_schedule.restarts": shape.restarts, "lr_schedule.eta_min": shape.final,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    def _said(self, shape: Shape, moved: bool) -> dict[str, Any]:
        """Returns the schedule where its rates have no shape, or do not move.

        A rate that moves without a scheduler stays without a word, and so does a scheduler that is some function,
        where the command line says which.
        """
        word, warmup = self._told.get("lr_schedule"), {} if shape.warmup is None else {"warmup_steps": shape.warmup}
        told = {self._live.parameter(f"cli.{name}") for name in _OPTIONS} - {None}
        if not moved and (word is None or told <= {"constant"}):
            return {"lr_schedule": "constant", **warmup}
        return {} if told or word is None else {"lr_schedule": word}


def _shape(rates: Rates, steps: int) -> Shape:
    """Returns the shape of the rates; where not all could be kept, only of a schedule that repeats itself."""
    from .schedule_shape import UNKNOWN, recognise  # at the end, not at the job's start

    knots = rates.knots()
    if rates.is_whole:
        return recognise(knots, steps)
    shape = recognise(knots, knots[-1][1])
    return shape._replace(restarts=None) if shape.period and shape.word in ("warm_restarts", "cyclical") else UNKNOWN
