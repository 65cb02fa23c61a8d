"""The curves that learning rates follow, fitted to points of which none is off by more than rounding.

Rates are computed from a formula, so a curve either meets every point or is not the one; nothing here is statistics.
Each function returns the curve that goes through all points, None where there is none.
"""

from __future__ import annotations

import math
from typing import Callable, NamedTuple, Optional, Sequence  # torch has imported it by now

Points = Sequence["tuple[float, float]"]

_ROUNDING = 1.5e-6  # of the largest rate: a rate kept as a 32-bit tensor and read with seven digits
_SAMPLE = 40  # points that a fit looks at; the curve is then held against all
_COARSE = 12  # of those that the search for a number looks at, again and again
_ENDS_NEAR = 1.1  # steps: how far the formula's own beginning may be from the first point of its curve


class Curve(NamedTuple):
    """A curve `at(k)`; `start` and `length` in steps where the formula has them, with the rate at its end."""

    word: str
    at: Callable[[float], float]
    start: float = math.nan
    length: float = math.nan
    final: float = math.nan


def meets(points: Points, at: Callable[[float], float], relative: bool = False) -> bool:
    """Whether a curve goes through all points; `relative` asks it of small rates as strictly as of large ones."""
    bound = _ROUNDING * max(abs(rate) for _, rate in points)
    try:
        return all(abs(at(k) - rate) <= (5 * _ROUNDING * abs(rate) if relative else bound) for k, rate in points)
    except (ArithmeticError, ValueError):
        return False


def linear(points: Points) -> Optional[Curve]:
    """Returns the straight line through the points, of which there are at least two."""
    (first, low), (last, high) = points[0], points[-1]
    slope = (high - low) / (last - first)

    def at(k: float) -> float:
        return low + slope * (k - first)

    return Curve("linear", at) if meets(points, at) else None


def exponential(points: Points) -> Optional[Curve]:
    """Returns `rate * gamma**k`."""
    (first, high), (last, low) = points[0], points[-1]
    if len(points) < 4 or low <= 0:
        return None
    slope = math.log(low / high) / (last - first)

    def at(k: float) -> float:
        return high * math.exp(slope * (k - first))

    return Curve("exponential", at) if meets(points, at, relative=True) else None


def inverse_sqrt(points: Points) -> Optional[Curve]:
    """Returns `c / sqrt(k - start)`: one over the square of the rate is a straight line."""
    (first, high), (last, low) = points[0], points[-1]
    if len(points) < 4 or low <= 0:
        return None
    slope = (low**-2 - high**-2) / (last - first)
    if slope <= 0:
        return None
    start = first - high**-2 / slope

    def at(k: float) -> float:
        return 1 / math.sqrt(slope * (k - start))

    return Curve("inverse_sqrt", at, start=start) if meets(points, at, relative=True) else None


def cosine(points: Points, rising: bool = False) -> Optional[Curve]:
    """Returns the half wave `final + (peak - final) * (1 + cos(pi * (k - start) / length)) / 2`, begun or whole.

    The wave's length is searched; the other three numbers follow by least squares. `rising` asks for the other half,
    from its lowest rate up. A wave of which too little is seen to be told from a parabola is none.
    """
    if len(points) < 6:
        return None
    origin, span = points[0][0], points[-1][0] - points[0][0]
    coarse = _sample(points, _COARSE)

    def solved(half_waves: float, sample: Points = coarse) -> tuple[float, list[float]]:
        omega = math.pi * half_waves / span
        rows = [(1.0, math.cos(omega * (k - origin)), math.sin(omega * (k - origin))) for k, _ in sample]
        return _least_squares(rows, [rate for _, rate in sample])

    half_waves = _smallest(lambda h: solved(h)[0], [0.1 * i for i in range(2, 13)])
    omega = math.pi * half_waves / span
    middle, a, b = solved(half_waves, _sample(points))[1]

    def at(k: float) -> float:
        return middle + a * math.cos(omega * (k - origin)) + b * math.sin(omega * (k - origin))

    radius, length = math.hypot(a, b), math.pi / omega
    start = origin + (math.atan2(-b, -a) if rising else math.atan2(b, a)) / omega
    final = middle + radius if rising else middle - radius
    if final < -_ROUNDING * radius or start + length < points[-1][0] - _ENDS_NEAR or not meets(points, at):
        return None
    return Curve("cosine", at, start, length, final)


def polynomial(points: Points, ends: float) -> Optional[Curve]:
    """Returns `final + (peak - final) * (1 - (k - start) / length) ** power`, seen to its end or a step before it.

    `ends` is how long it was used from its first point on: rounding may hold its last rates.
    """
    if len(points) < 6:
        return None
    origin, span = points[0][0], points[-1][0] - points[0][0]
    coarse = _sample(points, _COARSE)
    for length in dict.fromkeys((span, span + 1, span + 2, ends - 1, ends, ends + 1)):

        def solved(power: float, sample: Points = coarse, length: float = length) -> tuple[float, list[float]]:
            wave = _power_of_rest(origin, length, power, 0.0, 1.0)
            return _least_squares([(1.0, wave(k)) for k, _ in sample], [rate for _, rate in sample])

        power = _smallest(lambda power: solved(power)[0], [1.3**i for i in range(-6, 9)])
        final, height = solved(power, _sample(points))[1]

        at = _power_of_rest(origin, length, power, final, height)
        if final >= -_ROUNDING * height and meets(points, at):
            return Curve("polynomial", at, origin, length, final)
    return None


def _power_of_rest(start: float, length: float, power: float, final: float, height: float) -> Callable[[float], float]:
    def at(k: float) -> float:
        rest: float = max(0.0, 1 - (k - start) / length) ** power
        return final + height * rest

    return at


def _sample(points: Points, n: int = _SAMPLE) -> Points:
    """Returns some of the points, evenly over their number, the first and the last among them."""
    if len(points) <= n:
        return points
    return [points[round(i * (len(points) - 1) / (n - 1))] for i in range(n)]


def _smallest(function: Callable[[float], float], grid: Sequence[float]) -> float:
    """Returns where a function is smallest: the best place of a grid, refined by golden sections."""
    values = [function(place) for place in grid]
    best = values.index(min(values))
    low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(45):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


def _least_squares(rows: Sequence[Sequence[float]], values: Sequence[float]) -> tuple[float, list[float]]:
    """Returns (largest residual, coefficients); infinite where the columns are not independent."""
    n = len(rows[0])
    matrix = [
        [math.fsum(row[i] * row[j] for row in rows) for j in range(n)]
        + [math.fsum(row[i] * value for row, value in zip(rows, values))]
        for i in range(n)
    ]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(matrix[r][i]))
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        if abs(matrix[i][i]) < 1e-14 * len(rows):
            return math.inf, [0.0] * n
        for r in range(n):
            if r != i:
                factor = matrix[r][i] / matrix[i][i]
                matrix[r] = [x - factor * y for x, y in zip(matrix[r], matrix[i])]
    solution = [matrix[i][n] / matrix[i][i] for i in range(n)]
    residuals = (abs(sum(x * c for x, c in zip(row, solution)) - value) for row, value in zip(rows, values))
    return max(residuals), solution
