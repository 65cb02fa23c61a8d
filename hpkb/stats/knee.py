"""Where a curve that rises bends and stays level: a knee with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtri, stdtrit

from hpkb.sweep import FloatArray

PLACES = 81  # along x at which a knee is tried
SHARPNESS = (1.0, 2.0, 4.0, 16.0)  # 1: the smooth saturation of x / (x + knee), 16: all but a broken stick
FEWEST_DEGREES = 8
STILL = 0.1  # of the slope below: more than that above the knee is no level


@dataclass(frozen=True)
class Knee:
    """The place of the knee on x with its 95% interval, open (infinite) where an end of x lies in it.

    `slope` is that far below the knee; `slope_above` the lower end of the interval of what is left above it.
    `curve` (m, 2) are places and heights of the fit at the mean of all else.
    """

    place: float
    low: float
    high: float
    slope: float
    slope_above: float
    curve: FloatArray


def knee(x: FloatArray, y: FloatArray, held: FloatArray) -> Knee | None:
    """The knee of y in x, (n,) each, given other columns (n, k); None where the runs are too few or y does not rise.

    y = a + b · h(x - knee) + held, with h(z) = -ln(1 + exp(-s z)) / s: of slope 1 far below, level above, and as sharp
    as s says. The knee is where both asymptotes meet, for whatever sharpness. Least squares over a grid of knees and
    sharpnesses; the interval has every knee whose residual sum of squares an F test does not tell from the least.
    """
    columns = np.column_stack([np.ones_like(x), held])
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    base = u[:, s > 1e-9 * s[0]]
    degrees = x.size - base.shape[1] - 3
    if degrees < FEWEST_DEGREES or np.unique(x).size < 4:
        return None
    places = np.linspace(x.min(), x.max(), PLACES)
    hinges = np.stack([_hinge(x[:, None] - places, s) for s in SHARPNESS], axis=1)  # (n, sharpness, places)
    flat = hinges.reshape(x.size, -1)
    flat = flat - base @ (base.T @ flat)
    left = y - base @ (base.T @ y)
    sizes = np.maximum((flat**2).sum(axis=0), 1e-300)
    slopes = flat.T @ left / sizes
    gains = np.where((slopes > 0) & (sizes > 1e-9 * x.size), slopes**2 * sizes, 0.0)
    rss = (left @ left - gains).reshape(len(SHARPNESS), PLACES)
    best = int(rss.argmin())
    if gains[best] <= 0:
        return None
    profile, least = rss.min(axis=0), max(float(rss.min()), 1e-300)
    inside = np.flatnonzero(profile <= least * (1 + float(fdtri(1, degrees, 0.95)) / degrees))
    step = float(places[1] - places[0]) / 2
    low = -np.inf if inside[0] == 0 else float(places[inside[0]]) - step
    high = np.inf if inside[-1] == PLACES - 1 else float(places[inside[-1]]) + step
    place, sharpness = float(places[best % PLACES]), SHARPNESS[best // PLACES]
    above = _left_above(x, left, base, flat[:, best], degrees)
    line = np.linspace(x.min(), x.max(), 33)
    rise = _hinge(line - place, sharpness) - _hinge(x - place, sharpness).mean()
    heights = float(y.mean()) + slopes[best] * rise
    return Knee(place, low, high, float(slopes[best]), above, np.column_stack([line, heights]))


def _hinge(z: FloatArray, sharpness: float) -> FloatArray:
    return np.asarray(-np.logaddexp(0.0, -sharpness * z) / sharpness)


def _left_above(x: FloatArray, left: FloatArray, base: FloatArray, hinge: FloatArray, degrees: int) -> float:
    """The lower end of the interval of the slope that x itself has beside the hinge."""
    own = x - base @ (base.T @ x)
    own = own - hinge * (hinge @ own) / max(float(hinge @ hinge), 1e-300)
    size = float(own @ own)
    if size < 1e-9:
        return 0.0
    residual = left - hinge * (hinge @ left) / max(float(hinge @ hinge), 1e-300)
    slope = float(own @ residual) / size
    rest = residual - own * slope
    return slope - float(stdtrit(degrees, 0.975)) * float(np.sqrt((rest @ rest) / degrees / size))
