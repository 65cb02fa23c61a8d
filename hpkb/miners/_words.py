"""Numbers as people write them in a sentence."""

from __future__ import annotations


def brief(value: float, digits: int = 2) -> str:
    """The number to some significant digits, without an exponent below a million: 9330, not 9.33e+03."""
    rounded = f"{value:.{digits}g}"
    return f"{float(rounded):.10g}" if 1e-4 <= abs(value) < 1e6 else rounded


def interval(estimate: float | None, low: float | None, high: float | None, *, decimals: int | None = None) -> str:
    """A number with its 95% interval, whichever side is open; to three digits, or with so many decimals."""

    def write(value: float | None) -> str:
        if value is None:
            return "unknown"
        return brief(value, 3) if decimals is None else f"{value:z.{decimals}f}"

    number = f"{write(estimate)} (95% interval"
    if low is None and high is None:
        return f"{number} open on both sides)"
    if low is None:
        return f"{number} up to {write(high)}, open below)"
    if high is None:
        return f"{number} from {write(low)}, open above)"
    return f"{number} {write(low)} to {write(high)})"
