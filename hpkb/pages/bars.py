"""The charts over estimates: one row each, with its interval; as a forest plot or as bars from zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpkb.findings import VERDICTS
from hpkb.pages import svg
from hpkb.pages.axes import Axis, axis
from hpkb.pages.charts import Words
from hpkb.pages.formats import estimate, plain
from hpkb.pages.svg import Frame, px

WIDTH = 480
_ROW, _BAR = 30, 26
_LETTER = 7  # pixels
_LABEL = 30  # letters


@dataclass(frozen=True)
class Bar:
    """One estimate with its interval; `href` leads to the finding, below the handbook's root."""

    label: str
    estimate: float | None
    low: float | None
    high: float | None
    verdict: str
    href: str
    whole: bool = False  # over all tasks


def forest(
    rows: Sequence[Bar],
    label: str,
    words: Words,
    references: Sequence[Mapping[str, Any]] = (),
    log: bool = False,
    top: float = 0.0,
) -> str:
    """Returns one row an estimate with its interval, and the reference values as dashed lines.

    `top` is where the axis of a share ends that several charts have in common; they begin at 0.
    """
    known = [b.estimate for b in rows if b.estimate is not None]
    marks = [float(r["value"]) for r in references]
    ends = [value for b in rows for value in (b.low, b.high) if value is not None]
    scale = "log" if log and all(v > 0 for v in [*known, *ends]) else "linear"
    x = axis({"scale": scale}, [*known, *marks, *_near(ends, [*known, *marks])], label)
    x = replace(x, domain=(0.0, 1.04 * top) if top else x.domain)
    frame = _frame(rows, x, _ROW, 22 if references else 0)
    body = frame.base() + _references(references, frame)
    for i, bar in enumerate(rows):
        y = frame.top + _ROW * (i + 0.5)
        body += _label(bar, frame, y) + _interval(bar, frame, y) + _dot(bar, frame, y)
    return svg.chart(body, WIDTH, frame.height, words.label, words.description)


def bars(rows: Sequence[Bar], label: str, words: Words) -> str:
    """Returns horizontal bars from zero with their intervals."""
    ends = [v for b in rows for v in (b.estimate, b.high) if v is not None]
    x = replace(axis({"scale": "linear"}, [0.0, *ends], label), domain=(0.0, 1.04 * max([0.01, *ends])))
    frame = _frame(rows, x, _BAR, 0)
    lines = "".join(f"M{px(frame.across(value))} {frame.top}V{frame.floor}" for value, _ in x.ticks())
    body = f'<path class="lines" d="{lines}"/>' + frame.base()
    for i, bar in enumerate(rows):
        y = frame.top + _BAR * (i + 0.5)
        body += _label(bar, frame, y) + _bar(bar, frame, y) + _interval(bar, frame, y)
    return svg.chart(body, WIDTH, frame.height, words.label, words.description)


def _frame(rows: Sequence[Bar], x: Axis, row: int, head: int) -> Frame:
    left = 14 + _LETTER * max((svg.letters(svg.fitted(b.label, _LABEL)) for b in rows), default=0)
    height = 54 + head + row * len(rows)
    return Frame(x, Axis("", "category"), WIDTH, height, left=left, top=8 + head, right=12)


def _label(bar: Bar, frame: Frame, y: float) -> str:
    shown, cls = svg.fitted(bar.label, _LABEL), "row whole" if bar.whole else "row"
    words = svg.text(frame.left - 8, y + 4, shown, "end", cls)
    return words if shown == bar.label else svg.linked("", plain(bar.label, 300), words)


def _dot(bar: Bar, frame: Frame, y: float) -> str:
    if bar.estimate is None:
        return ""
    verdict = bar.verdict if bar.verdict in VERDICTS else "plain"
    at, shown = _inside(bar.estimate, frame.x), px(y)
    middle = f"{px(frame.across(at))} {shown}"
    if bar.whole:
        shape = f'<path class="v-{verdict}" d="M{middle}m0-8l8 8l-8 8l-8-8z"/>'
    elif verdict == "rejected":
        shape = f'<path class="v-{verdict}" d="M{middle}m-4.5-4.5h9v9h-9z"/>'
    else:
        shape = f'<circle class="v-{verdict}" cx="{px(frame.across(at))}" cy="{shown}" r="4.5"/>'
    return f'<g class="k-{verdict}">{svg.linked(bar.href, _tip(bar), shape)}</g>'


def _bar(bar: Bar, frame: Frame, y: float) -> str:
    if bar.estimate is None:
        return ""
    kind = "bar" if bar.verdict == "supported" else "bar-unsure"
    end = px(frame.across(_inside(bar.estimate, frame.x)))
    shape = f'<path class="{kind}" d="M{frame.left} {px(y - 7.5)}H{end}v15H{frame.left}z"/>'
    return f'<g class="k-{kind}">{svg.linked(bar.href, _tip(bar), shape)}</g>'


def _tip(bar: Bar) -> str:
    verdict = bar.verdict if bar.verdict in VERDICTS else ""
    return f"{plain(bar.label, 300)}\n{estimate(bar.estimate, bar.low, bar.high)}\n{verdict}".strip()


def _interval(bar: Bar, frame: Frame, y: float) -> str:
    """The interval, as far as the axis goes; an end that the runs leave open is an arrow."""
    if bar.low is None and bar.high is None:
        return ""
    low, high = (_inside(v, frame.x) for v in (bar.low, bar.high))
    left, right = (px(frame.across(frame.x.domain[i] if v is None else v)) for i, v in enumerate((low, high)))
    at = px(y)
    arrows = (f"M{left} {at}m6-4l-6 4l6 4" if low is None else "") + (
        f"M{right} {at}m-6-4l6 4l-6 4" if high is None else ""
    )
    return f'<path class="rule k-interval" d="M{left} {at}H{right}{arrows}"/>'


def _references(references: Sequence[Mapping[str, Any]], frame: Frame) -> str:
    lines = names = ""
    for reference in references:
        at = frame.across(float(reference["value"]))
        lines += f"M{px(at)} {frame.top}V{frame.floor}"
        words = svg.fitted(reference["label"], _LABEL)
        half = _LETTER * svg.letters(words) / 2
        names += svg.text(min(max(at, half), WIDTH - half), frame.top - 8, words)
    return f'<path class="reference" d="{lines}"/>{names}' if lines else ""


def _inside(value: float | None, x: Axis) -> float | None:
    return None if value is None else min(max(value, x.domain[0]), x.domain[1])


def _near(ends: Sequence[float], known: Sequence[float]) -> list[float]:
    """Interval ends, cut at twice the spread of the estimates, so that one wide interval hides no other."""
    if not known:
        return list(ends)
    low, high = min(known), max(known)
    reach = 2 * (high - low) or max((abs(e - low) for e in ends), default=1.0)
    return [min(max(e, low - reach), high + reach) for e in ends]
