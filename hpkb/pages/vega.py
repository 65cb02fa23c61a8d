"""The words that the charts are written in: a layer of marks, a position, the look they share.

Specifications are plain Vega-Lite JSON. (Altair builds the same JSON, at a quarter of a second a chart: twice what
drawing it costs.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hpkb.pages.formats import plain

Row = dict[str, Any]
Layer = dict[str, Any]
Spec = dict[str, Any]

#: What stands for the end of a line on the way through Vega.
LINE = "\u2028"
#: Pixels below the upper edge at which a run without a value stands.
TOP = {"value": 8}
BOTTOM = {"value": "height"}
CROSS = "M-0.7,-0.7L0.7,0.7M0.7,-0.7L-0.7,0.7"
DOT = {
    "type": "point",
    "shape": "circle",
    "filled": True,
    "size": 34,
    "color": "var(--point)",
    "opacity": 0.6,
}
LOOK = {
    "background": "transparent",
    "font": "Arial",
    "padding": 4,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)", "titleColor": "var(--ink)", "labelFontSize": 12, "titleFontSize": 13,
        "titleFontWeight": "normal", "gridColor": "var(--grid)", "domainColor": "var(--axis)",
        "tickColor": "var(--axis)", "labelLimit": 0, "tickSize": 4, "labelPadding": 5, "titlePadding": 8,
    },
    "axisX": {"grid": False},
    "axisY": {"domain": False, "ticks": False, "minExtent": 40, "maxExtent": 40},
}  # fmt: skip


def layer(rows: Sequence[Row], mark: Mapping[str, Any], **encoding: Any) -> list[Layer]:
    """Returns one layer of marks in a list, an empty list where there is nothing to draw."""
    clean = [{key: _safe(value) for key, value in row.items()} for row in rows]
    return [{"data": {"values": clean}, "mark": dict(mark), "encoding": encoding}] if rows else []


def _safe(value: Any) -> Any:
    """Text that XML can hold; an XML attribute would turn a line's end into a space."""
    return plain(value).replace("\n", LINE) if isinstance(value, str) else value


def linked(rows: Sequence[Row], mark: Mapping[str, Any], **encoding: Any) -> list[Layer]:
    """Returns a layer whose marks lead to their row's `href` and say its `tip`."""
    return layer(rows, mark, **encoding, href={"field": "href"}, description={"field": "tip"})


def cross(size: int, width: float) -> dict[str, Any]:
    """Returns the mark of a run that failed."""
    return {
        "type": "point",
        "shape": CROSS,
        "filled": False,
        "size": size,
        "stroke": "var(--bad)",
        "strokeWidth": width,
    }


def within_reach(values: Sequence[float | None], always: Sequence[float | None]) -> list[float]:
    """Returns the values that an axis must hold: all of them, but for a far tail that would flatten the rest.

    The tail is at most a twentieth of the values and more than three times as far from the lowest as the others; it
    is drawn as triangles on the upper edge.
    """
    known = sorted(finite(values))
    kept = finite(always)
    if len(known) < 20:
        return [*known, *kept]
    low, body, top = known[0], known[int(0.95 * len(known)) - 1], known[-1]
    far = top - low > 3 * (body - low) > 0
    return [*(v for v in known if not far or v <= body), *kept]


def finite(values: Sequence[Any]) -> list[float]:
    """Returns the numbers among the values that are finite."""
    return [v for v in values if isinstance(v, int | float) and math.isfinite(v)]


def finished(layers: Sequence[Layer], width: int, height: int) -> Spec:
    """Returns the whole specification, of a fixed outer size."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": width, "height": height, "autosize": {"type": "fit", "contains": "padding"},
        "layer": list(layers) or [{"data": {"values": []}, "mark": "point"}],
        "config": LOOK,
    }  # fmt: skip
