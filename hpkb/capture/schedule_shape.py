"""The shape of a learning-rate schedule, recognised from the rates that a run used.

`recognise` is a pure function of the changes that `rates.py` kept. It names a shape only where the formula of that
shape, with any numbers in it, gives every rate that was used, and no other shape's formula does. A schedule that is
stepped once an epoch is a staircase; its stairs are then the points, with the epoch as the unit of time.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Optional, Sequence, TypeVar  # torch has imported it by now

from .rate_curves import Curve, Points, cosine, exponential, inverse_sqrt, linear, meets, polynomial

Knots = Sequence["tuple[int, int, float]"]
Item = TypeVar("Item")

_FEW = 12  # drops of a multistep schedule at most
_STEEP, _GENTLE, _MANY = 0.5, 0.8, 8  # a factor that makes steps, and one that in so many stairs makes an exponential
_HELD = 5  # steps for which rounding may hold the rate at its peak; a schedule that holds it means to
_EVEN = 1.2  # the longest epoch over the shortest


class Shape(NamedTuple):
    """What a schedule is, as far as the rates tell; times in optimizer steps, the word one of the canonical ones."""

    word: Optional[str]
    warmup: Optional[int] = None
    period: Optional[float] = None
    restarts: Optional[int] = None
    final: Optional[float] = None  # the rate to which a cosine goes


class _Legs(NamedTuple):
    """Runs of changes in one direction, as (first knot, last knot) sharing their ends, and which way each goes."""

    ends: list[tuple[int, int]]
    rising: list[bool]


UNKNOWN = Shape(None)


def recognise(knots: Knots, steps: int) -> Shape:
    """Returns the shape of a schedule with these changes (number, step from 1, rate) over so many steps."""
    rates = [rate for _, _, rate in knots]
    if not all(0 <= rate < float("inf") for rate in rates) or max(rates) == 0:
        return UNKNOWN
    knots = [(number, step - 1, rate) for number, step, rate in knots]
    if len(knots) == 1:
        return Shape("constant", 0)
    legs = _legs(rates)
    if legs.rising == [True]:
        return _warmed_constant(knots, steps)
    if not any(legs.rising):
        return _decay(knots, 0, steps)
    if legs.rising == [True, False]:
        return _one_cycle(knots, legs) or _decay(knots, legs.ends[0][1], steps)
    return _cyclical(knots, legs) or _warm_restarts(knots, legs) or UNKNOWN


def _legs(rates: Sequence[float]) -> _Legs:
    legs = _Legs([], [])
    for i in range(1, len(rates)):
        rising = rates[i] > rates[i - 1]
        if legs.rising and legs.rising[-1] == rising:
            legs.ends[-1] = (legs.ends[-1][0], i)
        else:
            legs.ends.append((i - 1, i))
            legs.rising.append(rising)
    return legs


def _pairs(items: Sequence[Item]) -> Sequence[tuple[Item, Item]]:
    return [(items[i], items[i + 1]) for i in range(len(items) - 1)]


def _gap(knots: Knots) -> float:
    """Returns the usual number of steps from one change to the next."""
    gaps = sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in _pairs(knots))
    return (gaps[(len(gaps) - 1) // 2] + gaps[len(gaps) // 2]) / 2


def _timed(knots: Knots) -> tuple[Points, float]:
    """Returns the knots as points over time and the steps of its unit; no points where they are neither.

    Either the rate moves with the steps, where a hold is one step too long only through rounding and then has to be
    on the curve with both ends; or it moves in stairs of equal length, the first of which may be cut off.
    """
    gap = _gap(knots)
    if gap < 1.5:
        points = [(float(step), rate) for _, step, rate in knots]
        held = [
            (b[1] - 1.0, a[2]) for a, b in _pairs(knots[1:]) if b[0] - a[0] == 1 and b[1] - a[1] > 1
        ]  # fmt: skip
        return sorted(points + held, key=lambda point: point[0]), 1.0
    inner = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in _pairs(knots[1:])]
    if not inner or max(inner) > _EVEN * min(inner):
        return [], gap
    return [(float(number), rate) for number, _, rate in knots], gap


def _decay(knots: Knots, peak: int, steps: int) -> Shape:
    """Returns the shape of rates that only fall, after a warm-up that ends at the knot `peak` (0: no warm-up)."""
    body = knots[peak:]
    begin, hold = body[0][1], body[1][1] - body[0][1]
    gap = _gap(body[1:]) if len(body) > 2 else float(hold)
    if len(body) < 4 or hold > max(2.5 * gap, _HELD):
        return _stepped(knots, peak, steps, even=False)
    twice = begin + round(gap) if hold > 1.5 * gap else begin
    begins = range(begin, begin + hold) if gap < 1.5 else [twice]  # where rates are rounded, the curve tells
    found = [(place, *_smooth(_begun(body, place), steps)) for place in begins]
    curves = [(place, curve) for place, curve, _ in found if curve is not None]
    if not curves:
        return _stepped(knots, peak, steps, found[0][2], twice)
    begin, curve = min(curves, key=lambda one: abs(one[1].start - one[0]) if one[1].word == "cosine" else 0)
    warmup = _warmup(knots, peak, begin, curve if gap < 1.5 else None)
    return Shape(curve.word, warmup, final=_final(curve, knots, peak))


def _begun(body: Knots, begin: int) -> Knots:
    number, step, rate = body[0]
    return body if begin == step else [(number, begin, rate), *body[1:]]


def _final(curve: Curve, knots: Knots, peak: int) -> Optional[float]:
    """Returns the rate to which a cosine goes, where most of it was seen."""
    unit = 1 if _gap(knots[peak:]) < 1.5 else _gap(knots[peak:])
    seen = (knots[-1][1] - knots[peak][1]) / unit
    if curve.word != "cosine" or curve.length > 2 * seen:
        return None
    return 0.0 if curve.final < 1e-6 * knots[peak][2] else float(f"{curve.final:.4g}")


def _stepped(knots: Knots, peak: int, steps: int, even: bool, begin: Optional[int] = None) -> Shape:
    """Returns the shape of rates that are held and drop; a decay stepped once an epoch may begin after the peak."""
    word, period = _stepwise(knots[peak:], steps, even)
    if word in ("step", "multistep"):
        return Shape(word, _warmup(knots, peak, knots[peak][1], None, holds=True), period)
    if begin is not None:
        word, _ = _stepwise(_begun(knots[peak:], begin), steps, even)
        if word == "exponential":
            return Shape(word, _warmup(knots, peak, begin, None))
    return Shape(None, 0 if peak == 0 else None)


def _smooth(body: Knots, steps: int) -> tuple[Optional[Curve], bool]:
    """Returns the one curve that a decay follows, and whether it moves with the steps or in stairs of equal length."""
    points, unit = _timed(body)
    if not points:
        return None, False
    found: list[Optional[Curve]] = [linear(points), exponential(points), inverse_sqrt(points)]
    if unit > 1 and found[1]:
        return None, True  # stairs by one factor: `_stepwise` tells which they are
    if not any(found):
        wave = cosine(points)
        ends = (steps - body[0][1]) / unit
        found = [wave if wave and _begins_well(wave, points[0][0]) else None, polynomial(points, ends)]
    curves = [curve for curve in found if curve]
    return (curves[0] if len(curves) == 1 else None), True


def _begins_well(wave: Curve, first: float) -> bool:
    """Whether a wave begins where its points do, or, with the warm-up as a factor upon it, with the run."""
    return first - 1.1 <= wave.start <= first + 0.1 or abs(wave.start) < 0.1 + 0.001 * wave.length


def _stepwise(body: Knots, steps: int, even: bool) -> tuple[Optional[str], Optional[float]]:
    """Returns the word and the period of rates that are held and drop; `even`: all are held equally long."""
    factors = [b[2] / a[2] for a, b in _pairs(body)]
    holds = [b[1] - a[1] for a, b in _pairs(body)]
    by_one_factor = max(factors) - min(factors) <= 1e-5 * max(factors)
    if min(holds) < 2 or any(b[0] - a[0] > 1 for a, b in _pairs(body)):
        return None, None
    last = steps - body[-1][1]
    from_start = [body[1][1], *holds[1:]]  # a warm-up is part of the first stair where milestones count from the start
    equal = any(max(some) == min(some) for some in (holds, from_start))
    if len(factors) == 1:
        return ("multistep", None) if last > 1.05 * from_start[0] else (None, None)
    if by_one_factor and equal and last <= holds[-1] * 1.01 + 1:
        if max(factors) <= _STEEP:
            return "step", float(holds[-1])
        return ("exponential", None) if min(factors) >= _GENTLE and len(factors) >= _MANY else (None, None)
    if by_one_factor and equal and max(factors) <= _STEEP:
        return "multistep", None
    few = len(factors) <= _FEW and min(holds) >= 0.01 * steps
    if few and max(factors) <= _GENTLE and (by_one_factor or not equal) and not even:
        return "multistep", None
    return None, None


def _warmed_constant(knots: Knots, steps: int) -> Shape:
    """Returns the shape of rates that only rise: a constant after a warm-up, where they are then held."""
    peak = len(knots) - 1
    if steps - knots[peak][1] <= max(3.0, 1.5 * _gap(knots)):
        return UNKNOWN  # the run may have ended within the warm-up
    warmup = _warmup(knots, peak, knots[peak][1], None, holds=True)
    return Shape("constant" if warmup else None, warmup)


def _warmup(knots: Knots, peak: int, begin: int, curve: Optional[Curve], holds: bool = False) -> Optional[int]:
    """Returns the steps of the linear warm-up before the decay that starts at step `begin`, None where it is another.

    Scripts write it as `k / n` or `(k + 1) / n`, by itself or as a factor upon the decay; in the second form the
    n-th step is the first at the peak. `holds` says that the peak is held, so that only the form tells where it ends.
    """
    if peak == 0:
        return 0
    if peak == 1:
        first = knots[0][2] == 0 or knots[1][1] == 1
        return begin if first else None
    points, unit = _timed(knots[: peak + 1])
    if not points:
        return None
    by_factor = curve is not None and curve.word == "cosine" and abs(curve.start - begin) > 1.5
    if by_factor:
        assert curve is not None
        points = [(k, rate / curve.at(k)) for k, rate in points]
    line = linear(points)
    if line is None:
        below = points[:-1]  # the decay goes on as if there had been no warm-up: its first rate is below the line's
        line = linear(below) if len(below) > 2 else None
        return begin if line and points[-2][1] < points[-1][1] <= line.at(points[-1][0]) else None
    zero = points[0][0] - points[0][1] * (points[-1][0] - points[0][0]) / (points[-1][1] - points[0][1])
    from_minus_one = abs(zero + 1) < 0.01
    if from_minus_one and (holds or by_factor):
        return begin + round(unit)
    if from_minus_one and curve is not None and curve.word == "inverse_sqrt" and abs(curve.start + 1) < 0.01:
        return begin + 1
    return begin


def _one_cycle(knots: Knots, legs: _Legs) -> Optional[Shape]:
    """Returns the shape of half a wave up and half a wave down, to below where it began."""
    top = legs.ends[0][1]
    if top < 5 or knots[-1][2] > knots[0][2]:
        return None
    (up, _), (down, _) = _timed(knots[: top + 1]), _timed(knots[top:])
    if not up or not down or linear(up):
        return None
    rise, fall = cosine(up, rising=True), cosine(down)
    if rise is None or fall is None:
        return None
    meet = abs(rise.start + rise.length - fall.start) < 1.1 and abs(rise.start - up[0][0]) < 1.1
    return Shape("one_cycle") if meet else None


def _cyclical(knots: Knots, legs: _Legs) -> Optional[Shape]:
    """Returns the shape of straight lines up and down between the same times, two cycles or more."""
    turns = [knots[first] for first, _ in legs.ends] + [knots[-1]]
    lengths = [b[1] - a[1] for a, b in _pairs(turns)]
    if len(lengths) < 3 or any(last - first < 2 for first, last in legs.ends[:-1]):
        return None
    whole = lengths[:-1]
    if len(set(whole[::2])) > 1 or len(set(whole[1::2])) > 1 or lengths[-1] > lengths[-3]:
        return None
    for first, last in legs.ends:
        points, _ = _timed(knots[first : last + 1])
        if not points or not linear(points):
            return None
    lows = [turn[2] for turn, rising in zip(turns, legs.rising) if rising]
    if max(lows) - min(lows) > 1e-5 * max(turn[2] for turn in turns):
        return None
    return Shape("cyclical", period=float(sum(whole[:2])))


def _warm_restarts(knots: Knots, legs: _Legs) -> Optional[Shape]:
    """Returns the shape of cosine decays that begin again and again, each as long as a multiple of the one before."""
    warms = legs.rising[0]
    jumps = [(first, last) for (first, last), rising in zip(legs.ends, legs.rising) if rising][1 if warms else 0 :]
    if not jumps or any(last - first != 1 or knots[last][0] - knots[first][0] != 1 for first, last in jumps):
        return None
    peak = legs.ends[0][1] if warms else 0
    points, unit = _timed(knots[peak:])
    if len(points) < 8:
        return None
    restarts = [points[0][0], *(knots[last][1 if unit == 1 else 0] for _, last in jumps)]
    first = [point for point in points if point[0] < restarts[1]]
    waves = [cosine(first)] if len(first) >= 6 else []
    lengths = [float(restarts[1] - restarts[0])] + [wave.length for wave in waves if wave]
    ratio = (restarts[2] - restarts[1]) / (restarts[1] - restarts[0]) if len(restarts) > 2 else None
    for length in lengths:
        for factor in (float(round(ratio)),) if ratio else (1.0, 2.0, 3.0):
            if factor >= 1 and _restart_model(points, length, factor, len(jumps)):
                warmup = _warmup(knots, peak, knots[peak][1], None)
                period = length * unit
                return Shape("warm_restarts", warmup, float(f"{period:.6g}"), len(jumps))
    return None


def _restart_model(points: Points, length: float, factor: float, restarts: int) -> bool:
    """Whether cosine decays from the first rate, of this length and then each longer by the factor, meet all points."""
    origin, high = points[0]
    phases = []
    begin, period, number = origin, length, 0
    for k, rate in points:
        while k >= begin + period * (1 - 1e-9) and number < restarts:
            begin, period, number = begin + period, period * factor, number + 1
        phases.append((k, (1 + math.cos(math.pi * (k - begin) / period)) / 2, rate))
    if number != restarts or points[-1][0] - begin > period + 1:
        return False
    down = sum((1 - wave) ** 2 for _, wave, _ in phases)
    low = sum((1 - wave) * (rate - high * wave) for _, wave, rate in phases) / down
    values = {k: low + (high - low) * wave for k, wave, _ in phases}
    return low > -1e-5 * high and meets(points, values.__getitem__)
