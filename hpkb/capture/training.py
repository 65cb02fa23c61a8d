"""The course of the training, put together from backward passes, optimizer steps and batches drawn.

A step is one step of the optimizer that leads: where several take turns, the first to step again begins the next
one. The training loss of a step is the mean over its backward passes; where the script divides its loss by their
number, as accumulating scripts do, that division is undone.
"""

from __future__ import annotations

import collections
import math
import time
import weakref
from time import perf_counter
from typing import Any, Callable, NamedTuple, Optional, Union  # torch has imported it by now

from .accumulation import SETTLED, Accumulation
from .environment import of_process
from .features import FEATURES
from .listeners import Listeners
from .loader import Loaders
from .losses import Late, read
from .optimizer import describe_added, describe_optimizer, number
from .rates import Rates
from .schedule import Schedule
from .seeds import record_seeds
from .session import Session

_PATIENCE = 2.0  # seconds that the end waits for values still on the GPU
_MOVES = 256  # changes of the rate that are worked in together

Reading = Union[float, Late]
Then = Optional[Callable[[float], None]]
Measured = tuple[Reading, Then]  # a value of the next optimizer step; `then` is told the number if that step leads
LateValues = dict[str, "tuple[list[Reading], float, Then]"]  # the mean of the readings, times the number


class Track:
    """One optimizer's course: its number among the job's (0 for one that only wraps another), its steps and rate."""

    def __init__(self, optimizer: Any, number: int, main: int, stepped_at: int) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.number = number
        self.main = main
        self.groups = len(optimizer.param_groups)
        self.stepped_at = stepped_at
        self.steps = 0
        self.rate: Optional[float] = None
        self._rates: Optional[Rates] = None
        self.moves: list[tuple[int, float]] = []  # steps and rates that are not yet among those
        self.leading = ("train_loss", "learning_rate")  # the names of its curves at a step that it leads
        self.following = (f"train_loss.{number}", f"learning_rate.{number}")

    def rates(self) -> Optional[Rates]:
        """Returns the course of the rate so far; what has moved since the last call is worked in at once."""
        moves, self.moves = self.moves, []
        for steps, rate in moves:
            if self._rates is None:
                self._rates = Rates(steps, rate)
            else:
                self._rates.changed(steps, rate)
        return self._rates


class Waiting(NamedTuple):
    """The points of one step of which some are still on the GPU."""

    step: int
    time: float
    values: dict[str, float]
    late: LateValues


class Training:
    """The training that one session sees."""

    def __init__(self, live: Session, torch: Any) -> None:
        self._live = self.live = live
        self.stepped_at = 0.0  # of the performance counter, at the end of the leading optimizer's last step
        self._appointments: list[tuple[int, Callable[[int], None]]] = []
        self._next_appointment: float = math.inf
        self._torch = self.torch = torch
        self.loaders = Loaders(live, torch)
        self.before_backward = Listeners(live)  # told the loss, unscaled
        self.after_backward = Listeners(live)  # told nothing; of a backward pass that raised not at all
        self.at_begin = Listeners(live)  # told an optimizer and its number (from 1), at its first step, after it ran
        self.after_batch = Listeners(live)  # told what a batch was drawn from, and whether that is exhausted
        self.after_step = Listeners(live)  # told the leading optimizer and the step, after it ran and was recorded
        self.created: weakref.WeakKeyDictionary[Any, list[float]] = weakref.WeakKeyDictionary()
        self._tracks: dict[int, Track] = {}
        self.passes = 0  # backward passes since the last step of any optimizer
        self.scales = False  # whether mixed precision calls `backward` on a loss that it has scaled
        self.with_step: dict[str, Measured] = {}  # what a feature has recorded along with the next step
        self.clipping: Any = None  # the record of the script's own clipping, made by its first call
        self.clip_measures_norm = False  # whether the script's own clipping tells the gradient norm
        self._losses: list[Reading] = []
        self._accumulation = Accumulation(live, torch, self.loaders)
        self._waiting: collections.deque[Waiting] = collections.deque()
        self._schedule = Schedule(live)
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

    def after(self, step: int, function: Callable[[int], None]) -> None:
        """Has the function told of the first step of the leading optimizer from that one on, once."""
        self._appointments.append((step, function))
        self._next_appointment = min(self._next_appointment, step)

    def _keep_appointments(self, step: int) -> None:
        due = [function for at, function in self._appointments if at <= step]
        self._appointments = [later for later in self._appointments if later[0] > step]
        self._next_appointment = min((at for at, _ in self._appointments), default=math.inf)
        for function in due:
            try:
                function(step)
            except Exception as error:
                self._live.failed(getattr(function, "__qualname__", "a listener"), error)

    def backward(self, loss: Any) -> None:
        """Takes note of a backward pass from `loss`, before it runs; one from more than one number is no loss."""
        if self.scales:
            loss = getattr(loss, "_hpkb_unscaled", loss)
        try:
            value = read(self._torch, loss)
        except RuntimeError:
            return
        self.passes += 1
        latest = self.loaders.latest
        if latest is not None and latest.role != "training":
            self.loaders.trained()
        if self._live.step < SETTLED:
            self._accumulation.passed(loss)
        if value is not None:
            self._losses.append(value)
        if self.before_backward.functions:
            self.before_backward.tell(loss)

    def stepped(self, optimizer: Any, with_closure: bool) -> None:
        """Takes note of an optimizer's step, after it ran."""
        live = self._live
        track = self._tracks.get(id(optimizer))
        if track is None or track.optimizer() is not optimizer:
            track = self._begin(optimizer)
        if not track.number:
            return
        leads = track.stepped_at == live.step
        live.step += leads
        track.stepped_at = live.step
        track.steps += 1
        losses, passes = self._losses, self.passes
        if passes:
            self._losses, self.passes = [], 0
        if leads and live.step <= SETTLED:
            self._settle(passes, with_closure)
        if with_closure and len(losses) > 1:
            losses = losses[: self._accumulation.passes or 1]  # a closure may run several times, the first at the start
        loss_name, rate_name = track.leading if leads else track.following
        values: dict[str, float] = {}
        groups = optimizer.param_groups
        if len(groups) != track.groups:
            self._groups_added(track, optimizer)
        rate = groups[track.main]["lr"]
        if type(rate) is not float:
            rate = number(rate)
        if rate is not None:
            values[rate_name] = rate
            if rate != track.rate:
                track.rate = rate
                track.moves.append((track.steps, rate))
                if len(track.moves) >= _MOVES:
                    track.rates()
        late: LateValues = {}
        if losses and type(losses[0]) is float:  # all come from one device
            values[loss_name] = (losses[0] if len(losses) == 1 else _mean(losses)) * self._accumulation.factor
        elif losses:
            late[loss_name] = (losses, self._accumulation.factor, None)
        if self.with_step:
            measured, self.with_step = self.with_step, {}
            for name, (reading, then) in measured.items():
                if type(reading) is not float or not leads:
                    self._take_measured(name, reading, then, "" if leads else f".{track.number}", values, late)
                    continue
                values[name] = reading
                if then is not None:
                    then(reading)
        if late or self._waiting:
            self._waiting.append(Waiting(live.step, time.time(), values, late))
            self._deliver()
        elif values:
            live.points(live.step, values)
        if leads:
            self.stepped_at = perf_counter()
            if self.after_step.functions:
                self.after_step.tell(optimizer, live.step)
            if live.step >= self._next_appointment:
                self._keep_appointments(live.step)

    def log_later(self, step: int, name: str, value: Any) -> None:
        """Records a metric that is still on the GPU, once it has arrived."""
        reading = read(self._torch, value)
        if reading is None:
            raise ValueError(f"the value of '{name}' cannot be read now")
        self._waiting.append(Waiting(step, time.time(), {}, {name: ([reading], 1.0, None)}))

    def finish(self) -> None:
        """Records what is only known at the end, and what was still on its way."""
        self._deliver(time.monotonic() + _PATIENCE)
        self._live.dropped += len(self._waiting)
        self.loaders.settle()
        if self._live.step < SETTLED:
            self._accumulation.conclude()
        for track in self._tracks.values():
            if track.number:
                self._live.params(self._course(track), "optimizer")

    def _course(self, track: Track) -> dict[str, Any]:
        """Returns what only the whole course of an optimizer's rate tells."""
        values, rates = {}, track.rates()
        if track.number == 1:
            values = self._schedule.seen(track.optimizer(), rates, track.steps)
        if rates is not None:
            course = {"peak_learning_rate": rates.highest, "final_learning_rate": rates.final}
            values.update({_prefix(track.number) + name: rate for name, rate in course.items()})
        return values

    def _begin(self, optimizer: Any) -> Track:
        """Records what the optimizer was set to, at its first step."""
        if self._wraps_another(optimizer):
            self._live.params({"optimizer.wrapper": type(optimizer).__name__}, "optimizer")
            self._tracks[id(optimizer)] = Track(optimizer, 0, 0, -1)
            return self._tracks[id(optimizer)]
        number = 1 + sum(1 for track in self._tracks.values() if track.number)
        values, main = describe_optimizer(optimizer, self.created.get(optimizer), _prefix(number))
        track = Track(optimizer, number, main, self._live.step if number == 1 else -1)
        self._tracks[id(optimizer)] = track
        if number == 1:
            self._live.note("training")
            record_seeds(self._live)
            self._live.tags(of_process(self._torch))
            self._schedule.begin(optimizer)
        self._live.params(values, "optimizer")
        self.at_begin.tell(optimizer, number)
        return track

    def _groups_added(self, track: Track, optimizer: Any) -> None:
        """Records the parameter groups that an optimizer was given after its first step."""
        self._live.params(describe_added(optimizer, track.groups, _prefix(track.number)), "optimizer")
        track.groups = len(optimizer.param_groups)

    def _wraps_another(self, optimizer: Any) -> bool:
        """Whether one of the optimizers already known, which has just stepped, is an attribute of this one."""
        tracks = [self._tracks.get(id(value)) for value in vars(optimizer).values()]
        return any(track is not None and track.optimizer() is not None for track in tracks)

    def _settle(self, passes: int, with_closure: bool) -> None:
        """Learns from the first steps how many backward passes and batches make one."""
        if self._live.step == 1:
            self.loaders.settle()
        self._accumulation.stepped(passes, with_closure)
        if self._live.step == SETTLED:
            self._accumulation.conclude()

    def _take_measured(
        self, name: str, reading: Reading, then: Then, suffix: str, values: dict[str, float], late: LateValues
    ) -> None:
        """Adds what was measured since the last step to the values of this one, which leads if it has no suffix."""
        if type(reading) is float:
            values[name + suffix] = reading
        else:
            late[name + suffix] = ([reading], 1.0, None if suffix else then)

    def _deliver(self, deadline: float = 0.0) -> None:
        """Writes the points that have arrived, in the order of the steps; until a deadline it waits for the others."""
        while self._waiting:
            step, at, values, late = self._waiting[0]
            if not all(isinstance(reading, float) or reading.ready for some, *_ in late.values() for reading in some):
                if time.monotonic() >= deadline:
                    return
                time.sleep(0.001)
                continue
            self._waiting.popleft()
            for name, (some, factor, then) in late.items():
                values[name] = _mean(some) * factor
                if then is not None:
                    then(values[name])
            self._live.points(step, values, at)


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
