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
_NORM = "grad_norm"  # of the script's own clipping

Reading = Union[float, Late]
Then = Optional[Callable[[float], None]]  # told the number once it is there
LateValues = dict[str, "tuple[list[Reading], float, Then]"]  # the mean of the readings, times the number


class Track:
    """One optimizer's course: its number among the job's (0 for one that only wraps another), its steps and rate."""

    __slots__ = (
        "_rates", "following", "groups", "leading", "main", "moves", "number", "optimizer", "rate", "stepped_at",
        "steps",
    )  # fmt: skip

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
        self.live = live
        self.stepped_at = 0.0  # of the performance counter, at the end of the leading optimizer's last step
        self._appointments: list[tuple[int, Callable[[int], None]]] = []
        self._next_appointment: float = math.inf
        self.torch = torch
        self.loaders = Loaders(live, torch)
        self.before_backward = Listeners(live)  # told the loss, unscaled
        self.after_backward = Listeners(live)  # told nothing; of a backward pass that raised not at all
        self.at_begin = Listeners(live)  # told an optimizer and its number (from 1), at its first step, after it ran
        self.after_batch = Listeners(live)  # told what a batch was drawn from, and whether that is exhausted
        self.after_step = Listeners(live)  # told the leading optimizer and the step, after it ran and was recorded
        self.created: weakref.WeakKeyDictionary[Any, list[float]] = weakref.WeakKeyDictionary()
        self._tracks: dict[int, Track] = {}
        self._latest: Optional[Track] = None  # of the last step
        self.losses: list[Reading] = []  # of the backward passes since the last step of any optimizer
        self.passes = 0  # how many those were
        self.scales = False  # whether mixed precision calls `backward` on a loss that it has scaled
        self.clipping: Any = None  # the record of the script's own clipping, made by its first call
        self.clip_measures_norm = False  # whether the script's own clipping tells the gradient norm
        self._accumulation = Accumulation(live, torch, self.loaders)
        self.before_backward.add(self._accumulation.passed)
        self._waiting: collections.deque[Waiting] = collections.deque()
        self._schedule = Schedule(live)
        live.closing.append(self.finish)
        for feature in FEATURES:
            self._add(feature)

    def _add(self, feature: Any) -> None:
        try:
            feature(self)
        except Exception as error:
            self.live.failed(feature.__name__, error)

    @property
    def begun(self) -> bool:
        """Whether the job trains with an optimizer, so that optimizer steps are what its metrics are counted by."""
        return bool(self.created) or self.live.step > 0

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
                self.live.failed(getattr(function, "__qualname__", "a listener"), error)

    def backward(self, loss: Any) -> None:
        """Takes note of a backward pass from `loss`, before it runs; one from more than one number is no loss."""
        if self.scales:
            loss = getattr(loss, "_hpkb_unscaled", loss)
        try:
            value = float(loss.item()) if loss.is_cpu else read(self.torch, loss)
        except RuntimeError:
            return
        self.passes += 1
        if value is not None:
            self.losses.append(value)
        if self.loaders.untold:
            self.loaders.trained()
        if self.before_backward.functions:
            self.before_backward.tell(loss)

    def stepped(self, optimizer: Any, with_closure: bool) -> None:
        """Takes note of an optimizer's step, after it ran.

        Nearly every step is one of the leading optimizer after one backward pass, with nothing still on the GPU. Then
        no function is called that could be spared, and no object looked at: between two steps all have left the cache.
        The points are written at once all the same, since a job that is killed would lose those held back.
        """
        live, track = self.live, self._latest
        if track is None or track.optimizer() is not optimizer:
            track = self._track(optimizer)
            if not track.number:
                return
            self._latest = track
        losses, groups, clipping = self.losses, optimizer.param_groups, self.clipping
        norm = None if clipping is None else clipping.reading
        rate = groups[track.main]["lr"]
        if (
            live.tells_all or track.stepped_at != live.step or live.step < SETTLED or with_closure
            or self.passes != 1 or len(losses) != 1 or type(loss := losses[0]) is not float or loss - loss != 0.0
            or self._waiting or type(rate) is not float or len(groups) != track.groups
            or (norm is not None and type(norm) is not float)
        ):  # fmt: skip
            return self._stepped_otherwise(optimizer, track, with_closure)
        del losses[0]
        self.passes = 0
        step = live.step = track.stepped_at = live.step + 1
        track.steps += 1
        values = {"learning_rate": rate, "train_loss": loss * self._accumulation.factor}
        if norm is not None:
            values[_NORM], clipping.reading = norm, None
            if clipping.bound is not None:
                clipping.measured += 1
                clipping.exceeded += norm > clipping.bound
        if rate != track.rate:
            track.rate = rate
            track.moves.append((track.steps, rate))
            if len(track.moves) >= _MOVES:
                track.rates()
        live.points(step, values)
        self.stepped_at = perf_counter()
        if self.after_step.functions or step >= self._next_appointment:
            self._tell_step(optimizer, step)

    def _stepped_otherwise(self, optimizer: Any, track: Track, with_closure: bool) -> None:
        """Takes note of a step of any kind."""
        live = self.live
        leads = track.stepped_at == live.step
        live.step += leads
        track.stepped_at = live.step
        track.steps += 1
        losses, passes = self.losses, self.passes
        if passes:
            self.losses, self.passes = [], 0
        if leads and live.step <= SETTLED:
            self._settle(passes, with_closure)
        if with_closure and len(losses) > 1:
            losses = losses[: self._accumulation.passes or 1]  # a closure may run several times, the first at the start
        values: dict[str, float] = {}
        late: LateValues = {}
        loss_name, rate_name = track.leading if leads else track.following
        rate = self._rate(optimizer, track)
        if rate is not None:
            values[rate_name] = rate
        if losses and type(losses[0]) is float:  # all come from one device
            values[loss_name] = _mean(losses) * self._accumulation.factor
        elif losses:
            late[loss_name] = (losses, self._accumulation.factor, None)
        if self.clipping is not None and self.clipping.reading is not None:
            self._take_norm("" if leads else f".{track.number}", values, late)
        if late or self._waiting:
            self._waiting.append(Waiting(live.step, time.time(), values, late))
            self._deliver()
        elif values:
            live.points(live.step, values)
        if leads:
            self.stepped_at = perf_counter()
            self._tell_step(optimizer, live.step)

    def _tell_step(self, optimizer: Any, step: int) -> None:
        """Tells whoever wants to know of a step of the leading optimizer that it has been recorded."""
        if self.after_step.functions:
            self.after_step.tell(optimizer, step)
        if step >= self._next_appointment:
            self._keep_appointments(step)

    def log_later(self, step: int, name: str, value: Any) -> None:
        """Records a metric that is still on the GPU, once it has arrived."""
        reading = read(self.torch, value)
        if reading is None:
            raise ValueError(f"the value of '{name}' cannot be read now")
        self._waiting.append(Waiting(step, time.time(), {}, {name: ([reading], 1.0, None)}))

    def finish(self) -> None:
        """Records what is only known at the end, and what was still on its way."""
        self._deliver(time.monotonic() + _PATIENCE)
        self.live.dropped += len(self._waiting)
        self.loaders.settle()
        if self.live.step < SETTLED:
            self._accumulation.conclude()
        for track in self._tracks.values():
            if track.number:
                self.live.params(self._course(track), "optimizer")

    def _course(self, track: Track) -> dict[str, Any]:
        """Returns what only the whole course of an optimizer's rate tells."""
        values, rates = {}, track.rates()
        if track.number == 1:
            values = self._schedule.seen(track.optimizer(), rates, track.steps)
        if rates is not None:
            course = {"peak_learning_rate": rates.highest, "final_learning_rate": rates.final}
            values.update({_prefix(track.number) + name: rate for name, rate in course.items()})
        return values

    def _track(self, optimizer: Any) -> Track:
        """Returns an optimizer's course, begun at its first step."""
        known = self._tracks.get(id(optimizer))
        return known if known is not None and known.optimizer() is optimizer else self._begin(optimizer)

    def _begin(self, optimizer: Any) -> Track:
        """Records what the optimizer was set to, at its first step."""
        if self._wraps_another(optimizer):
            self.live.params({"optimizer.wrapper": type(optimizer).__name__}, "optimizer")
            self._tracks[id(optimizer)] = Track(optimizer, 0, 0, -1)
            return self._tracks[id(optimizer)]
        number = 1 + sum(1 for track in self._tracks.values() if track.number)
        values, main = describe_optimizer(optimizer, self.created.get(optimizer), _prefix(number))
        track = Track(optimizer, number, main, self.live.step if number == 1 else -1)
        self._tracks[id(optimizer)] = track
        if number == 1:
            self.live.note("training")
            record_seeds(self.live)
            self.live.tags(of_process(self.torch))
            self._schedule.begin(optimizer)
        self.live.params(values, "optimizer")
        self.at_begin.tell(optimizer, number)
        return track

    def _rate(self, optimizer: Any, track: Track) -> Optional[float]:
        """Returns the learning rate of the step; first records the parameter groups that have come since the last."""
        groups = optimizer.param_groups
        if len(groups) != track.groups:
            self.live.params(describe_added(optimizer, track.groups, _prefix(track.number)), "optimizer")
            track.groups = len(groups)
        rate: Optional[float] = number(groups[track.main]["lr"])
        if rate is not None and rate != track.rate:
            track.rate = rate
            track.moves.append((track.steps, rate))
        return rate

    def _wraps_another(self, optimizer: Any) -> bool:
        """Whether one of the optimizers already known, which has just stepped, is an attribute of this one."""
        tracks = [self._tracks.get(id(value)) for value in vars(optimizer).values()]
        return any(track is not None and track.optimizer() is not None for track in tracks)

    def _settle(self, passes: int, with_closure: bool) -> None:
        """Learns from the first steps how many backward passes and batches make one."""
        if self.live.step == 1:
            self.loaders.settle()
        self._accumulation.stepped(passes, with_closure)
        if self.live.step == SETTLED:
            self.before_backward.remove(self._accumulation.passed)
            self._accumulation.conclude()

    def _take_norm(self, suffix: str, values: dict[str, float], late: LateValues) -> None:
        """Adds the norm of the script's own clipping to the values of a step, which leads if it has no suffix."""
        reading, count = self.clipping.reading, self.clipping.taken()
        then = None if suffix else count
        if type(reading) is not float:
            late[_NORM + suffix] = ([reading], 1.0, then)
            return
        values[_NORM + suffix] = reading
        if then is not None:
            then(reading)

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
            self.live.points(step, values, at)


def training_of(live: Session) -> Training:
    """Returns the training of a session, begun where it is new."""
    if live.training is None:
        import torch

        live.training = Training(live, torch)
    return live.training


def _prefix(number: int) -> str:
    return "" if number == 1 else f"optimizer.{number}."


def _mean(readings: list[Reading]) -> float:
    if len(readings) == 1 and type(readings[0]) is float:
        return readings[0]
    return sum(reading.value() if isinstance(reading, Late) else reading for reading in readings) / len(readings)
