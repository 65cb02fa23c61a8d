"""The course of the training, put together from backward passes, optimizer steps and batches drawn.

A step is one step of the optimizer that leads: where several take turns, the first to step again begins the next
one. The training loss of a step is the mean over its backward passes; where the script divides its loss by their
number, as accumulating scripts do, that division is undone.
"""

from __future__ import annotations

import collections
import time
import weakref
from typing import Any, NamedTuple, Optional, Union  # torch has imported it by now

from .environment import of_process
from .features import FEATURES
from .listeners import Listeners
from .loader import Loaders, world_size
from .losses import Late, read
from .optimizer import describe_optimizer, number_now
from .scheduler import describe_schedule
from .seeds import record_seeds
from .session import Session

_SETTLED = 3  # steps after which the number of passes a step is taken for known; the first may be a part of one
_SCHEDULE_OPTIONS = ("schedule", "scheduler", "lr_schedule", "lr_scheduler", "lr_scheduler_type", "sched")
_PATIENCE = 2.0  # seconds that the end waits for values still on the GPU

Reading = Union[float, Late]


class Track:
    """One optimizer's course: its number among the job's optimizers and the range of its rate."""

    def __init__(self, optimizer: Any, number: int, main: int) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.number = number
        self.main = main
        self.stepped_at = -1
        self.lowest, self.highest = float("inf"), float("-inf")
        self.leading = ("train_loss", "learning_rate")  # the names of its curves at a step that it leads
        self.following = (f"train_loss.{number}", f"learning_rate.{number}")


class Waiting(NamedTuple):
    """The points of one step of which some are still on the GPU."""

    step: int
    time: float
    values: dict[str, float]
    late: dict[str, tuple[list[Reading], float]]  # readings and what their mean is multiplied by


class Training:
    """The training that one session sees."""

    def __init__(self, live: Session, torch: Any) -> None:
        self._live = self.live = live
        self._torch = self.torch = torch
        self.loaders = Loaders(live, torch)
        self.before_backward = Listeners(live)  # told the loss, unscaled
        self.after_backward = Listeners(live)  # told nothing; of a backward pass that raised not at all
        self.at_begin = Listeners(live)  # told an optimizer and its number (from 1), at its first step, after it ran
        self.after_step = Listeners(live)  # told the leading optimizer and the step, after it ran and was recorded
        self.created: weakref.WeakKeyDictionary[Any, list[float]] = weakref.WeakKeyDictionary()
        self._tracks: dict[int, Track] = {}
        self._losses: list[Reading] = []
        self._passes = 0
        self._divisors: set[Optional[float]] = set()
        self._factor = 1.0  # undoes the script's own division of its loss
        self._counts: list[int] = []  # passes of each of the first steps
        self._waiting: collections.deque[Waiting] = collections.deque()
        self._schedule: dict[str, Any] = {}
        live.closing.append(self.finish)
        for feature in FEATURES:
            self._add(feature)

    def _add(self, feature: Any) -> None:
        try:
            feature(self)
        except Exception as error:
            self._live.failed(feature.__name__, error)

    @property
    def begun(self) -> bool:
        """Whether the job trains with an optimizer, so that optimizer steps are what its metrics are counted by."""
        return bool(self.created) or self._live.step > 0

    def backward(self, loss: Any) -> None:
        """Takes note of a backward pass from `loss`, before it runs."""
        loss = getattr(loss, "_hpkb_unscaled", loss)  # mixed precision calls it on a scaled one
        self._passes += 1
        if self.loaders.latest is not None and self.loaders.latest.role != "training":
            self.loaders.trained()
        if self._live.step < _SETTLED:
            self._divisors.add(_divisor(loss))
        value = read(self._torch, loss)
        if value is not None:
            self._losses.append(value)
        if self.before_backward:
            self.before_backward.tell(loss)

    def stepped(self, optimizer: Any, with_closure: bool) -> None:
        """Takes note of an optimizer's step, after it ran."""
        live = self._live
        track = self._tracks.get(id(optimizer))
        if track is None or track.optimizer() is not optimizer:
            track = self._begin(optimizer)
        leads = track.stepped_at == live.step
        if leads:
            live.step += 1
        track.stepped_at = live.step
        losses, self._losses = self._losses, []
        passes, self._passes = self._passes, 0
        if leads and live.step <= _SETTLED:
            self._settle(passes, with_closure)
        loss_name, rate_name = track.leading if leads else track.following
        values: dict[str, float] = {}
        rate = optimizer.param_groups[track.main]["lr"]
        if type(rate) is not float:
            rate = number_now(rate)
        if rate is not None:
            values[rate_name] = rate
            if not track.lowest <= rate <= track.highest:
                track.lowest, track.highest = min(track.lowest, rate), max(track.highest, rate)
        if losses:
            self._record(loss_name, losses[:1] if with_closure else losses, values)
        elif values:
            live.points(live.step, values)
        if leads and self.after_step:
            self.after_step.tell(optimizer, live.step)

    def log_later(self, step: int, name: str, value: Any) -> None:
        """Records a metric that is still on the GPU, once it has arrived."""
        reading = read(self._torch, value)
        if reading is None:
            raise ValueError(f"the value of '{name}' cannot be read now")
        self._waiting.append(Waiting(step, time.time(), {}, {name: ([reading], 1.0)}))

    def finish(self) -> None:
        """Records what is only known at the end, and what was still on its way."""
        self._deliver(time.monotonic() + _PATIENCE)
        self._live.dropped += len(self._waiting)
        self.loaders.settle()
        if self._live.step < _SETTLED:
            self._conclude()
        for track in self._tracks.values():
            if track.lowest > track.highest:
                continue
            values: dict[str, Any] = {_prefix(track.number) + "peak_learning_rate": track.highest}
            if track.number == 1 and self._schedule.get("lr_schedule", "lambda") == "lambda":
                values.update(self._schedule_seen(moved=track.lowest != track.highest))
            self._live.params(values, "optimizer")

    def _begin(self, optimizer: Any) -> Track:
        """Records what the optimizer was set to, at its first step."""
        number = len(self._tracks) + 1
        values, main = describe_optimizer(optimizer, self.created.get(optimizer), _prefix(number))
        track = self._tracks[id(optimizer)] = Track(optimizer, number, main)
        if number == 1:
            track.stepped_at = self._live.step
            self._live.note("training")
            record_seeds(self._live)
            self._live.tags(of_process(self._torch))
            self._schedule = describe_schedule(optimizer)
            if self._schedule.get("lr_schedule") != "lambda":
                self._live.params(self._schedule, "scheduler")
        self._live.params(values, "optimizer")
        self.at_begin.tell(optimizer, number)
        return track

    def _schedule_seen(self, moved: bool) -> dict[str, str]:
        """Returns the schedule as far as only the course of the rate shows it.

        A rate that moves without a scheduler stays without a word, and so does a scheduler that is some function,
        where the command line says which.
        """
        told = {self._live.parameter(f"cli.{name}") for name in _SCHEDULE_OPTIONS} - {None}
        if not self._schedule or (not moved and told <= {"constant"}):
            return {} if moved else {"lr_schedule": "constant"}
        return {} if told else {"lr_schedule": "lambda"}

    def _settle(self, passes: int, with_closure: bool) -> None:
        """Learns from the first steps how many backward passes and batches make one."""
        live, use = self._live, self.loaders.latest
        if live.step == 1:
            self.loaders.settle()
        drawn = use.drawn if use is not None and use.role == "training" else 0
        if use is not None:
            use.drawn = 0
        if passes and not with_closure:
            self._counts.append(drawn or passes)
            if len(self._divisors) == 1 and passes > 1 and next(iter(self._divisors)) == passes:
                self._factor = float(passes)
        self._divisors.clear()
        if live.step == _SETTLED:
            self._conclude()

    def _conclude(self) -> None:
        """Records the batch size once the passes of a step are known; without a DataLoader it stays absent."""
        use = self.loaders.latest
        size = use.batch_size if use is not None and use.role == "training" else None
        if not self._counts and not (self._passes and size):
            return
        counts = self._counts[::-1] or [1]  # among equally frequent ones the later
        passes = collections.Counter(counts).most_common(1)[0][0]
        values: dict[str, Any] = {"accumulation_steps": passes}
        if size is not None:
            values["batch_size"] = size * passes * world_size(self._torch)
        self._live.params(values, "loader")

    def _record(self, name: str, losses: list[Reading], values: dict[str, float]) -> None:
        live = self._live
        first = losses[0]  # all come from one device
        if type(first) is float and not self._waiting:
            values[name] = (first if len(losses) == 1 else _mean(losses)) * self._factor
            live.points(live.step, values)
            return
        self._waiting.append(Waiting(live.step, time.time(), values, {name: (losses, self._factor)}))
        self._deliver()

    def _deliver(self, deadline: float = 0.0) -> None:
        """Writes the points that have arrived, in the order of the steps; until a deadline it waits for the others."""
        while self._waiting:
            step, at, values, late = self._waiting[0]
            readings = [reading for some, _ in late.values() for reading in some if isinstance(reading, Late)]
            if not all(reading.ready for reading in readings):
                if time.monotonic() >= deadline:
                    return
                time.sleep(0.001)
                continue
            self._waiting.popleft()
            arrived = {name: _mean(some) * factor for name, (some, factor) in late.items()}
            self._live.points(step, {**values, **arrived}, at)


def training_of(live: Session) -> Training:
    """Returns the training of a session, begun where it is new."""
    if live.training is None:
        import torch

        live.training = Training(live, torch)
    return live.training


def _prefix(number: int) -> str:
    return "" if number == 1 else f"optimizer.{number}."


def _mean(readings: list[Reading]) -> float:
    return sum(reading.value() if isinstance(reading, Late) else reading for reading in readings) / len(readings)


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
