"""Numbers as people write them in a sentence."""

from __future__ import annotations


def brief(value: float, digits: int = 2) -> str:
    """The number to some significant digits, without an exponent below a million: 9330, not 9.33e+03."""
    rounded = f"{value:.{digits}g}"
    return f"{float(rounded):.10g}" if 1e-4 <= abs(value) < 1e6 else rounded


def interval(estimate: float | None, low: float | None, high: float | None) -> str:
    """A number with its 95% interval, whichever side is open."""
    number = "unknown" if estimate is None else brief(estimate, 3)
    if low is not None and high is not None:
        return f"{number} (95% interval {brief(low, 3)} to {brief(high, 3)})"
    if low is None:
        return f"{number} (95% interval {'open' if high is None else f'up to {brief(high, 3)}'})"
    return f"{number} (95% interval from {brief(low, 3)})"
