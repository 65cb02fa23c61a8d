"""Numbers, intervals, times and names as people read them; nothing here computes."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Sequence
from functools import lru_cache

from hpkb.capture.redact import free

MISSING = "–"
_WORD = 120  # characters
_SPOKEN = {"lr": "learning-rate", "sd": "standard deviation"}
_FIGURE_SPACE, _PUNCTUATION_SPACE = "\u2007", "\u2008"
#: Control characters and marks that turn the direction of the text that follows them.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)


def plain(text: object, limit: int = 0) -> str:
    """Returns text without control characters and secrets, cut in its middle where it is longer than `limit`.

    A limit of 0 never cuts. Every word of a page comes through here.
    """
    given = str(text)
    cleaned = _cleaned_word(given) if len(given) <= _WORD else _cleaned(given)
    if not limit or len(cleaned) <= limit:
        return cleaned
    half = (limit - 1) // 2
    return f"{cleaned[:half]}…{cleaned[-half:]}"


def _cleaned(text: str) -> str:
    words = free(text)
    return words if words.isprintable() else _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", words)


_cleaned_word = lru_cache(1 << 16)(_cleaned)  # the same names and numbers stand on many pages


def number(value: object, digits: int = 3) -> str:
    """Returns a number with `digits` significant digits: 0.0031, 3e-4, 12,400, 1.2 M; text as it is."""
    if value is None:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value, 60)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    return _sign(value) + _magnitude(abs(value), digits)


def _sign(value: float) -> str:
    return "−" if value < 0 else ""


@lru_cache(maxsize=1 << 16)  # the runs of a task have the same values in each of its charts
def _magnitude(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    if value < 0.001 or value >= 1e12:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_trimmed(mantissa)}e{int(exponent)}"
    if value >= 1e6:
        return f"{_trimmed(f'{value / 1e6:.2f}')}\u202fM"
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    places = max(0, digits - 1 - math.floor(math.log10(value)))
    return _trimmed(f"{value:.{places}f}")


def untrimmed(value: float | None, digits: int) -> str:
    """Returns a number with its last zeros kept, for a column: 0.0620 beside 0.0619."""
    if value is None or not math.isfinite(value) or not 0.001 <= abs(value) < 10 ** (digits - 1):
        return number(value, digits)
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return _sign(value) + f"{abs(value):.{max(0, places)}f}"


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def estimate(value: object, low: object = None, high: object = None) -> str:
    """Returns "0.42 [0.33, 0.51]"; an end that the runs leave open is called so."""
    first, rest = matched(value, low, high)
    return f"{first} {rest}".strip()


def interval(low: object, high: object) -> str:
    """Returns "[0.33, 0.51]", or nothing where either end is missing."""
    return matched(low, low, high)[1]


def matched(value: object, low: object, high: object) -> tuple[str, str]:
    """Returns a number and its interval, to as many decimals as the width of the interval has meaning (two digits)."""
    if low is None and high is None:
        return number(value), ""
    if low is None or high is None:
        return number(value), f"[{_end(low)}, {_end(high)}]"
    places = _places(value, low, high)
    if places is None:
        digits = 2 if _wide(value, low, high) else 3
        return number(value, digits), f"[{number(low, digits)}, {number(high, digits)}]"
    first, least, most = (
        _sign(v) + f"{abs(v):.{places}f}" for v in (value, low, high) if isinstance(v, int | float)
    )
    return first, f"[{least}, {most}]"


def _end(value: object) -> str:
    return "open" if value is None else number(value)


def _wide(*values: object) -> bool:
    """Whether an interval spans so much of a scale that a third digit would pretend."""
    numbers = [abs(float(v)) for v in values if isinstance(v, int | float)]
    return len(numbers) == len(values) and max(numbers) > 1.5 * min(numbers)


def _places(*values: object) -> int | None:
    """Decimals that all the numbers can share; None where one of them would lose its digits or there is no number."""
    numbers = [
        float(v)
        for v in values
        if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
    ]
    width = max(numbers, default=0.0) - min(numbers, default=0.0)
    if len(numbers) < len(values) or width <= 0 or not 0.001 <= max(map(abs, numbers)) < 1000:
        return None
    places = max(0, 1 - math.floor(math.log10(width)))
    kept = all(v == 0 or abs(v) >= 10.0 ** (1 - places) for v in numbers)
    return places if kept and places <= 6 else None


def share(value: float | None) -> str:
    """Returns a share of one as a percentage: 12%, 0.4%."""
    if value is None or not math.isfinite(value):
        return MISSING
    percent = 100 * value
    return f"{percent:.0f}%" if percent == 0 or percent >= 1 else f"{percent:.1g}%"


def probability(value: float | None) -> str:
    """Returns a p or q value: 0.031, and "< 0.001" below that."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def count(value: int | None) -> str:
    """Returns a whole number with its thousands apart."""
    return MISSING if value is None else f"{value:,}"


def aligned(values: Sequence[float | None], digits: int = 3) -> list[str]:
    """Returns the numbers of one column, padded so that their decimal points stand below each other.

    The padding is as wide as a digit (U+2007) or a point (U+2008), for a right-aligned column of tabular figures.
    """
    texts = [untrimmed(value, digits) for value in values]
    places = [len(t.partition(".")[2]) if t[-1:].isdigit() and "e" not in t else 0 for t in texts]
    widest = max(places, default=0)
    return [t + _padding(t, own, widest) for t, own in zip(texts, places, strict=True)]


def _padding(text: str, own: int, widest: int) -> str:
    if own == widest or "e" in text or not text[-1:].isdigit():
        return ""
    return (_PUNCTUATION_SPACE if "." not in text else "") + _FIGURE_SPACE * (widest - own)


def moment(value: dt.datetime | None) -> str:
    """Returns a time to the minute, in UTC as it is stored."""
    return value.strftime("%Y-%m-%d %H:%M") if value else MISSING


def spoken(name: str) -> str:
    """Returns an identifier as words: "learning_rate" becomes "learning rate"."""
    words = plain(name, 80).replace("_", " ").split()
    return " ".join(_SPOKEN.get(word, word) for word in words)


def title(name: str) -> str:
    """Returns an identifier as a heading."""
    words = spoken(name)
    return words[:1].upper() + words[1:]
