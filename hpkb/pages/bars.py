"""The charts over estimates: one row each, with its interval; as a forest plot or as bars from zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpkb.pages.axes import Axis, axis
from hpkb.pages.formats import estimate, plain
from hpkb.pages.vega import Layer, Row, Spec, finished, layer, linked

WIDTH = 480
_ROW = 30
_LETTER = 7  # pixels
#: Full, square and hollow: the verdicts are told apart without colour.
_DOTS: dict[str, Row] = {
    "supported": {"shape": "circle", "fill": "var(--accent)", "stroke": "var(--accent)"},
    "rejected": {"shape": "square", "fill": "var(--rejected)", "stroke": "var(--rejected)"},
    "insufficient": {"shape": "circle", "fill": "var(--surface)", "stroke": "var(--muted)"},
    "": {"shape": "circle", "fill": "var(--ink)", "stroke": "var(--ink)"},
}


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
    references: Sequence[Mapping[str, Any]] = (),
    log: bool = False,
    top: float = 0.0,
) -> Spec:
    """Returns one row an estimate with its interval, and the reference values as dashed lines.

    `top` is where the axis of a share ends that several charts have in common; they begin at 0.
    """
    known = [b.estimate for b in rows if b.estimate is not None]
    marks = [float(r["value"]) for r in references]
    ends = [value for b in rows for value in (b.low, b.high) if value is not None]
    scale = "log" if log and all(v > 0 for v in [*known, *ends]) else "linear"
    x = axis({"scale": scale}, [*known, *marks, *_near(ends, [*known, *marks])], label)
    x = replace(x, domain=(0.0, 1.04 * top) if top else x.domain)
    data = [_row(b, x) for b in rows]
    head = 22 if references else 0
    return finished(
        [*_references(references, x), *_intervals(data, x), *_dots(data, x)],
        WIDTH,
        58 + head + _ROW * len(rows),
    )


def bars(rows: Sequence[Bar], label: str) -> Spec:
    """Returns horizontal bars from zero with their intervals."""
    ends = [v for b in rows for v in (b.estimate, b.high) if v is not None]
    x = replace(axis({"scale": "linear"}, [0.0, *ends], label), domain=(0.0, 1.04 * max([0.01, *ends])))
    data = [{**_row(b, x), "zero": 0.0} for b in rows]
    test = {"test": "datum.verdict === 'supported'", "value": "var(--accent)"}
    bar = linked(
        [row for row in data if row["x"] is not None], {"type": "bar", "height": 15, "cornerRadiusEnd": 2},
        x=x.encode("x", grid=True), x2={"field": "zero"}, y=_labels(data),
        color={"condition": test, "value": "var(--unsure)"},
    )  # fmt: skip
    return finished([*bar, *_intervals(data, x)], WIDTH, 58 + 26 * len(rows))


def _row(bar: Bar, x: Axis) -> Row:
    low, high = (_inside(v, x) for v in (bar.low, bar.high))
    open_low, open_high = low is None and high is not None, high is None and low is not None
    tip = plain(f"{bar.label}\n{estimate(bar.estimate, bar.low, bar.high)}\n{bar.verdict}")
    return {
        "label": plain(bar.label, 42), "x": bar.estimate,
        "low": x.domain[0] if open_low else low, "high": x.domain[1] if open_high else high,
        "open_low": open_low, "open_high": open_high,
        "verdict": bar.verdict if bar.verdict in _DOTS else "", "href": bar.href,
        "tip": tip, "whole": bar.whole,
    }  # fmt: skip


def _intervals(rows: Sequence[Row], x: Axis) -> list[Layer]:
    bounded = [r for r in rows if r["low"] is not None and r["high"] is not None]
    rule = {"type": "rule", "stroke": "var(--ink)", "strokeWidth": 1.6}
    arrow = {"type": "point", "filled": True, "size": 50, "color": "var(--ink)", "opacity": 1}
    left = [r for r in bounded if r["open_low"]]
    right = [r for r in bounded if r["open_high"]]
    return [
        *layer(bounded, rule, x=x.encode("low"), x2={"field": "high"}, y=_labels(rows)),
        *layer(left, {**arrow, "shape": "triangle-left"}, x=x.encode("low"), y=_labels(rows)),
        *layer(right, {**arrow, "shape": "triangle-right"}, x=x.encode("high"), y=_labels(rows)),
    ]


def _dots(rows: Sequence[Row], x: Axis) -> list[Layer]:
    layers = []
    for verdict, look in _DOTS.items():
        chosen = [r for r in rows if r["x"] is not None and r["verdict"] == verdict]
        mark = {"type": "point", "size": 80, "strokeWidth": 2, "opacity": 1, **look}
        at = {"x": x.encode("x"), "y": _labels(rows)}
        layers += linked([r for r in chosen if not r["whole"]], mark, **at)
        layers += linked([r for r in chosen if r["whole"]], {**mark, "shape": "diamond", "size": 170}, **at)
    return layers


def _references(references: Sequence[Mapping[str, Any]], x: Axis) -> list[Layer]:
    rows = [{"x": float(r["value"]), "label": plain(r["label"], 30)} for r in references]
    rule = {"type": "rule", "stroke": "var(--muted)", "strokeDash": [4, 3]}
    text = {"type": "text", "dy": -6, "fill": "var(--muted)", "fontSize": 12, "baseline": "bottom"}
    return [
        *layer(rows, rule, x=x.encode("x")),
        *layer(rows, text, x=x.encode("x"), y={"value": 0}, text={"field": "label"}),
    ]


def _labels(rows: Sequence[Row]) -> dict[str, Any]:
    order = list(dict.fromkeys(row["label"] for row in rows))
    room = 10 + _LETTER * max(
        map(len, order), default=0
    )  # Vega has no fonts here: it takes every letter for a wide one
    look = {
        "title": None, "grid": False, "labelFontSize": 13, "labelColor": "var(--ink)",
        "minExtent": room, "maxExtent": room,
    }  # fmt: skip
    return {"field": "label", "type": "nominal", "sort": order, "scale": {"domain": order}, "axis": look}


def _inside(value: float | None, x: Axis) -> float | None:
    return None if value is None else min(max(value, x.domain[0]), x.domain[1])


def _near(ends: Sequence[float], known: Sequence[float]) -> list[float]:
    """Interval ends, cut at twice the spread of the estimates, so that one wide interval hides no other."""
    if not known:
        return list(ends)
    low, high = min(known), max(known)
    reach = 2 * (high - low) or max((abs(e - low) for e in ends), default=1.0)
    return [min(max(e, low - reach), high + reach) for e in ends]
