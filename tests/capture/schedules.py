"""Schedules as scripts write them: names, truths, and functions of the step, to test what is recognised of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

Rate = Callable[[int], float]


@dataclass(frozen=True)
class Schedule:
    """The rate at each step (from 0) of a run of `steps`, and what is true of it; `warmup` None where undecided."""

    name: str
    word: str
    warmup: int | None
    steps: int
    rate: Rate
    period: float | None = None
    restarts: int | None = None


def body(kind: str, n: float) -> tuple[str, Rate]:
    """The word and the multiplier of a decay over n steps, as a function of the steps since it began."""
    half = 0.5
    table: dict[str, tuple[str, Rate]] = {
        "constant": ("constant", lambda k: 1.0),
        "cosine": ("cosine", lambda k: half * (1 + math.cos(math.pi * min(1, k / n)))),
        "cosine_floor": ("cosine", lambda k: 0.1 + 0.9 * half * (1 + math.cos(math.pi * min(1, k / n)))),
        "linear": ("linear", lambda k: max(0.0, 1 - k / n)),
        "linear_floor": ("linear", lambda k: 1 - 0.9 * min(1, k / n)),
        "square": ("polynomial", lambda k: max(0.0, 1 - k / n) ** 2),
        "poly09": ("polynomial", lambda k: max(0.0, 1 - k / n) ** 0.9),
        "cubic_floor": ("polynomial", lambda k: 0.01 + 0.99 * max(0.0, 1 - k / n) ** 3),
        "exponential": ("exponential", lambda k: 0.01 ** (k / n)),
    }
    return table[kind]


BODIES = ["constant", "cosine", "cosine_floor", "linear", "linear_floor", "square", "poly09", "cubic_floor"]
BODIES += ["exponential"]


def warmed(kind: str, peak: float, warmup: int, steps: int, form: str) -> Schedule:
    """A decay after a warm-up: k/w, (k+1)/(w+1) with the decay from the peak on, or (k+1)/w with the peak twice."""
    word, shape = body(kind, steps - warmup)

    def rate(k: int) -> float:
        if k < warmup:
            start = {"k/w": k / warmup, "k+1/w+1": (k + 1) / (warmup + 1), "k+1/w": (k + 1) / warmup}
            return peak * (start[form] if form in start else 0.1 + 0.9 * k / warmup)
        return peak * shape(k - warmup)

    return Schedule(f"{kind} {form} w={warmup} n={steps} lr={peak}", word, warmup, steps, rate)


def staircase(of: Schedule, epoch: int) -> Schedule:
    """The same schedule stepped once an epoch."""
    return replace(
        of,
        name=f"{of.name} per {epoch}",
        warmup=None if of.warmup is None else of.warmup * epoch,
        steps=of.steps * epoch,
        rate=lambda k: of.rate(k // epoch),
        period=None if of.period is None else of.period * epoch,
    )


def in_float32(of: Schedule) -> Schedule:
    """The same schedule with rates kept in 32-bit tensors."""
    return replace(of, name=f"{of.name} f32", rate=lambda k: float(f"{float(np.float32(of.rate(k))):.7g}"))


def steps_of(word: str, at: list[int], factors: list[float], steps: int, warmup: int = 0) -> Schedule:
    def rate(k: int) -> float:
        value = 0.1 * (min(1.0, (k + 1) / warmup) if warmup else 1.0)
        for place, factor in zip(at, factors, strict=True):
            value *= factor if k >= place else 1.0
        return value

    period = float(at[1] - at[0]) if word == "step" else None
    return Schedule(f"{word} {at} n={steps}", word, warmup, steps, rate, period)


def restarts(period: float, factor: int, steps: int, peak: float, low: float, warmup: int = 0) -> Schedule:
    def rate(k: int) -> float:
        if k < warmup:
            return peak * k / warmup
        t, length = float(k - warmup), float(period)
        while t >= length:
            t, length = t - length, length * factor
        return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * t / length))

    count, t, length = 0, float(steps - 1 - warmup), float(period)
    while t >= length:
        t, length, count = t - length, length * factor, count + 1
    name = f"restarts {period} x{factor} n={steps} w={warmup}"
    return Schedule(name, "warm_restarts", warmup, steps, rate, period, count)


def one_cycle(steps: int, share: float, peak: float) -> Schedule:
    def rate(k: int) -> float:
        top = share * steps - 1
        low, end = peak / 25, peak / 25e4
        if k <= top:
            return low + (peak - low) * 0.5 * (1 - math.cos(math.pi * k / top))
        return end + (peak - end) * 0.5 * (1 + math.cos(math.pi * (k - top) / (steps - 1 - top)))

    return Schedule(f"one_cycle {share} n={steps}", "one_cycle", None, steps, rate)


def triangles(up: int, down: int, steps: int, decay: float = 1.0) -> Schedule:
    def rate(k: int) -> float:
        cycle, t = divmod(k, up + down)
        part = t / up if t <= up else 1 - (t - up) / down
        return 0.001 + (0.01 - 0.001) * part * decay**cycle

    return Schedule(f"triangles {up}+{down} n={steps}", "cyclical", None, steps, rate, float(up + down))


def noam(warmup: int, steps: int) -> Schedule:
    def rate(k: int) -> float:
        return 512**-0.5 * min((k + 1) ** -0.5, (k + 1) * warmup**-1.5)

    return Schedule(f"noam w={warmup} n={steps}", "inverse_sqrt", warmup, steps, rate)


def all_schedules() -> Iterator[Schedule]:
    """Several hundred schedules whose whole course was seen."""
    for kind in BODIES:
        for steps in (20, 60, 500, 6000):
            for peak in (3e-4, 0.1):
                yield (plain := warmed(kind, peak, 0, steps, "k/w"))
                yield in_float32(plain)
            for form in ("k/w", "k+1/w+1", "k+1/w", "from 0.1"):
                if not (kind == "constant" and form == "k+1/w+1"):  # nothing tells it from k+1/w
                    yield warmed(kind, 6e-4, max(4, steps // 10), steps, form)
                    yield in_float32(warmed(kind, 6e-4, max(4, steps // 10), steps, form))
        for epochs in (10, 30, 90):
            if kind != "exponential" or epochs != 10:
                yield staircase(warmed(kind, 0.1, 0, epochs, "k/w"), 17)
                yield staircase(warmed(kind, 0.1, max(4, epochs // 10), epochs, "k+1/w"), 17)
    for n in (90, 900):
        for unit in (1, 10):
            third = n // 3
            yield steps_of("step", [third * unit, 2 * third * unit], [0.1] * 2, n * unit)
            yield steps_of("step", [n * unit * i // 9 for i in range(1, 9)], [0.5] * 8, n * unit)
            yield steps_of("multistep", [n * unit // 2, n * unit * 3 // 4], [0.1] * 2, n * unit)
            yield steps_of("multistep", [x * n * unit // 90 for x in (30, 60, 80)], [0.1] * 3, n * unit)
            yield steps_of("multistep", [x * n * unit // 90 for x in (30, 60, 80)], [0.1] * 3, n * unit, 5 * unit)
            yield steps_of("multistep", [n * unit // 3], [0.1], n * unit)
    for n in (60, 600, 6000, 20000):
        for factor, periods in ((1, 3), (1, 7), (2, 7), (2, 3), (3, 4)):
            yield restarts(n // periods, factor, n, 0.1, 0.0)
            yield restarts(n // periods, factor, n, 0.1, 1e-4, warmup=n // 10)
        yield restarts((n - n // 10) / 4, 1, n, 3e-4, 0.0, warmup=n // 10)
        for share in (0.3, 0.25, 0.1):
            if n > 60 or share > 0.1:
                yield one_cycle(n, share, 0.01)
        yield triangles(n // 6, n // 6, n)
        yield triangles(n // 20, n // 10, n)
        yield triangles(n // 6, n // 6, n, decay=0.5)
    for epochs, period, factor in ((40, 10, 1), (70, 10, 2), (60, 20, 1)):
        yield staircase(restarts(period, factor, epochs, 0.1, 0.0), 25)
    for warmup in (10, 400):
        for steps in (60, 4000):
            if steps > 2 * warmup:
                yield noam(warmup, steps)


def confusers() -> Iterator[Schedule]:
    """Schedules that are none of the words, or of which little was seen; the word of those is one that may be told."""

    def make(name: str, steps: int, rate: Rate, word: str = "") -> Schedule:
        return Schedule(name, word, None, steps, rate)

    rng = np.random.default_rng(0)
    noise = rng.uniform(0.5, 1, 5000)
    for n in (20, 200, 5000):
        yield make("random", n, lambda k: float(noise[k]))
        yield make("inverse time", n, lambda k: 0.1 / (1 + 0.01 * k))
        yield make("stable then decay", n, lambda k, n=n: min(1.0, 5 * (1 - k / n)))
        yield make("warm, stable, decay", n, lambda k, n=n: min(1.0, 10 * k / n, 5 * (1 - k / n)))
        yield make("quarter cosine", n, lambda k, n=n: math.cos(math.pi / 2 * k / n))
        yield make("tanh", n, lambda k, n=n: 0.5 * (1 - math.tanh(6 * k / n - 3)))
        yield make("gaussian", n, lambda k, n=n: math.exp(-((3 * k / n) ** 2)))
        yield make("cut square", n, lambda k, n=n: (1 - k / (3 * n)) ** 2, "polynomial")
        yield make("cut cosine", n, lambda k, n=n: 0.5 * (1 + math.cos(math.pi * k / (3 * n))), "cosine")
        yield make("barely cosine", n, lambda k, n=n: 0.5 * (1 + math.cos(math.pi * k / (30 * n))), "cosine")
        yield make("in warm-up", n, lambda k, n=n: k / n)
        yield make("sawtooth", n, lambda k, n=n: 1 - (k % (n // 4)) / n)
        yield make("three waves", n, lambda k, n=n: 0.5 * (1 + math.cos(3 * math.pi * k / n)))
        yield make("exponential warm-up", n, lambda k, n=n: 1 - math.exp(-10 * k / n))
        yield make("cosine by exponential", n, lambda k, n=n: 0.1 ** (k / n) * (1 + math.cos(math.pi * k / n)))
        yield make("exponential with an offset", n, lambda k, n=n: 0.2 + 0.8 * 0.01 ** (k / n))
        yield make("two lines", n, lambda k, n=n: max(1 - 1.5 * k / n, 0.4 - 0.3 * k / n))
        yield make("noisy", n, lambda k, n=n: (1 - k / n) * (1 + 0.001 * float(noise[k])))
    for epochs in (3, 4, 5):
        for kind in ("cosine", "square", "poly09", "cosine_floor", "cubic_floor"):
            word, shape = body(kind, epochs)
            yield staircase(make(f"{kind} in {epochs} stairs", epochs, shape, word), 20)
