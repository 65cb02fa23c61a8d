"""The charts over runs: a finding's figure in, a Vega-Lite specification out. Numbers are placed, never estimated.

Colours are CSS variables, so that one drawing serves the light and the dark page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpkb.pages.axes import Axis, axis
from hpkb.pages.formats import estimate, number, plain, spoken
from hpkb.pages.vega import (
    BOTTOM,
    DOT,
    TOP,
    Layer,
    Row,
    Spec,
    cross,
    finished,
    finite,
    layer,
    linked,
    within_reach,
)

WIDTH, HEIGHT = 480, 300
_MAP = [f"var(--map-{i})" for i in range(7)]

#: What a point says and where it leads: run id to (href below the handbook's root, words).
Lookup = Callable[[str], tuple[str, str]]
Figure = Mapping[str, Any]


@dataclass(frozen=True)
class Trace:
    """One curve: its points, and whether it is one of the best runs or one that failed."""

    label: str
    href: str
    failed: bool
    rank: int
    points: tuple[tuple[int, float | None], ...]


def response(figure: Figure, lookup: Lookup, value_label: str = "") -> Spec:
    """Returns runs as points, the estimated curve with its band, the plateau as a shaded range, the optimum."""
    points, line = figure.get("points", []), figure.get("line", [])
    tried = [p["x"] for p in points]
    x = axis(figure["x"], tried + [r["x"] for r in line], named=tried)
    band = [row.get(key) for row in line for key in ("y", "low", "high")]
    y = axis(figure["y"], within_reach([p["y"] for p in points], band), value_label)
    rows = [_point(p, x, y, lookup) for p in points]
    layers = [*_plateau(figure.get("plateau") or [], x), *_points(rows, x, y), *_curve(line, x, y)]
    return finished([*layers, *_optimum(figure.get("optimum") or {}, x)], WIDTH, HEIGHT)


def ridge_map(figure: Figure, lookup: Lookup, upright: bool = False) -> Spec:
    """Returns runs coloured by their value over two hyperparameters, and where the best x lies at each y.

    `upright` draws the figure's x upwards, for a best learning rate that is read as a function of the batch size.
    """
    points, ridge = figure.get("points", []), figure.get("ridge", [])
    x = axis(figure["x"], [p["x"] for p in points] + [r.get(k) for r in ridge for k in ("x", "low", "high")])
    tried = [p["y"] for p in points]
    y = axis(figure["y"], tried + [r["y"] for r in ridge], named=tried)
    rows = [_map_point(p, x, y, str(figure["value"]["label"]), lookup) for p in points]
    spine = [
        {"best": x.place(r["x"]), "at": y.place(r["y"]), **{k: x.place(r.get(k)) for k in ("low", "high")}}
        for r in ridge
    ]  # fmt: skip
    spine = sorted(spine, key=lambda row: row["at"])
    if upright:
        marks = [*_map_points(rows, y.encode("y"), x.encode("x")), *_ridge(spine, x, y, upright)]
    else:
        marks = [*_map_points(rows, x.encode("x"), y.encode("y")), *_ridge(spine, x, y, upright)]
    return finished(marks, WIDTH, 330)


def curves(traces: Sequence[Trace], label: str) -> Spec:
    """Returns learning curves; where a failed run's values end, it has a cross."""
    values = finite([v for t in traces for _, v in t.points])
    good = finite([v for t in traces if not t.failed for _, v in t.points])
    scale = "log" if values and min(values) > 0 else "linear"
    reach = [v for v in values if not good or v <= 4 * max(good)]
    x = axis({"scale": "linear"}, [0, *(step for t in traces for step, _ in t.points)], "optimizer step")
    y = axis({"scale": scale}, reach, label)
    layers = [one for t in sorted(traces, key=lambda t: (not t.failed, -t.rank)) for one in _trace(t, x, y)]
    ends = [one for t in traces if t.failed for one in _end(t, x, y)]
    return finished([*layers, *ends], WIDTH, HEIGHT)


# --- runs as points -----------------------------------------------------------------------------------------


def _point(point: Figure, x: Axis, y: Axis, lookup: Lookup) -> Row:
    href, who = lookup(str(point["run_id"]))
    known = point["y"] is not None
    above = known and point["y"] > y.domain[1]
    what = f"{y.label} {number(point['y'])}" if known else "infeasible"
    kind = "infeasible" if point.get("infeasible") else "above" if above else "run"
    tip = plain(f"{who}\n{x.label} {number(point['x'])}\n{what}")
    return {
        "x": x.place(point["x"]),
        "y": None if above else y.place(point["y"]),
        "kind": kind,
        "href": href,
        "tip": tip,
    }


def _points(rows: Sequence[Row], x: Axis, y: Axis) -> list[Layer]:
    # steps of the golden ratio spread the runs of one category evenly, in the same way each time
    rows = [{**row, "jitter": (i * 0.618 % 1) - 0.5} for i, row in enumerate(rows)]
    at: dict[str, Any] = {"x": x.encode("x")}
    if x.scale == "category":
        at["xOffset"] = {"field": "jitter", "type": "quantitative", "scale": {"domain": [-1, 1]}}
    failed = [r for r in rows if r["kind"] == "infeasible"]
    return [
        *linked([r for r in rows if r["kind"] == "run"], DOT, **at, y=y.encode("y")),
        *linked([r for r in rows if r["kind"] == "above"], {**DOT, "shape": "triangle-up"}, **at, y=TOP),
        *linked([r for r in failed if r["y"] is not None], cross(40, 1.5), **at, y=y.encode("y")),
        *linked([r for r in failed if r["y"] is None], cross(40, 1.5), **at, y=TOP),
    ]


def _map_point(point: Figure, x: Axis, y: Axis, label: str, lookup: Lookup) -> Row:
    href, who = lookup(str(point["run_id"]))
    failed = point.get("infeasible") or point["value"] is None
    what = "infeasible" if failed else f"{spoken(label)} {number(point['value'])}"
    tip = plain(f"{who}\n{x.label} {number(point['x'])}\n{y.label} {number(point['y'])}\n{what}")
    value = None if failed else point["value"]
    return {"x": x.place(point["x"]), "y": y.place(point["y"]), "value": value, "href": href, "tip": tip}


def _map_points(rows: Sequence[Row], x: Row, y: Row) -> list[Layer]:
    """Crosses below, then the runs from the worst to the best, coloured by the seventh that their value is in."""
    valued = sorted((r for r in rows if r["value"] is not None), key=lambda r: -float(r["value"]))
    colour = {
        "field": "value",
        "type": "quantitative",
        "scale": {"type": "quantile", "range": _MAP},
        "legend": None,
    }
    dot = {**DOT, "size": 62, "opacity": 1, "stroke": "var(--surface)", "strokeWidth": 0.8}
    del dot["color"]
    failed = [r for r in rows if r["value"] is None]
    return [
        *linked(failed, {**cross(44, 1.6), "opacity": 0.8}, x=x, y=y),
        *linked(valued, dot, x=x, y=y, color=colour),
    ]


def _ridge(spine: Sequence[Row], x: Axis, y: Axis, upright: bool) -> list[Layer]:
    bounded = [row for row in spine if row["low"] is not None and row["high"] is not None]
    best, along = ("y", "x") if upright else ("x", "y")
    band = {
        "type": "area",
        "color": "var(--ink)",
        "opacity": 0.12,
        "clip": True,
        "orient": "vertical" if upright else "horizontal",
    }
    stroke = {"type": "line", "clip": True}
    line: dict[str, Any] = {
        best: x.encode("best"),
        along: y.encode("at"),
        "order": {"field": "at", "type": "quantitative"},
    }
    return [
        *layer(
            bounded, band, **{best: x.encode("low"), f"{best}2": {"field": "high"}, along: y.encode("at")}
        ),
        *layer(spine, {**stroke, "stroke": "var(--surface)", "strokeWidth": 5}, **line),
        *layer(spine, {**stroke, "stroke": "var(--ink)", "strokeWidth": 2.2}, **line),
    ]


# --- curves and ranges --------------------------------------------------------------------------------------


def _curve(line: Sequence[Figure], x: Axis, y: Axis) -> list[Layer]:
    rows = [
        {"x": x.place(r["x"]), **{key: y.place(r.get(key)) for key in ("y", "low", "high")}}
        for r in line if r.get("y") is not None
    ]  # fmt: skip
    ends = {"x": x.encode("x"), "y": y.encode("low"), "y2": {"field": "high"}}
    middle = {"x": x.encode("x"), "y": y.encode("y")}
    if x.scale == "category":
        bar = {"type": "bar", "size": 34, "color": "var(--accent)", "opacity": 0.22}
        tick = {
            "type": "tick",
            "thickness": 2.5,
            "size": 34,
            "orient": "horizontal",
            "color": "var(--accent)",
            "opacity": 1,
        }
        return [*layer(rows, bar, **ends), *layer(rows, tick, **middle)]
    band = {"type": "area", "color": "var(--accent)", "opacity": 0.2, "clip": True}
    stroke = {"type": "line", "stroke": "var(--accent)", "strokeWidth": 2.2, "clip": True}
    return [*layer(rows, band, **ends), *layer(rows, stroke, **middle)]


def _plateau(ends: Sequence[Any], x: Axis) -> list[Layer]:
    if len(ends) != 2 or x.scale == "category" or None in ends:
        return []
    row = {"low": x.place(ends[0]), "high": x.place(ends[1])}
    return layer(
        [row],
        {"type": "rect", "color": "var(--plateau)", "clip": True},
        x=x.encode("low"),
        x2={"field": "high"},
    )


def _inside(value: float | None, first: float, last: float) -> float | None:
    """The value, or the end of the axis beyond which it lies: what is drawn outside would squeeze all the rest."""
    return None if value is None else min(max(value, first), last)


def _optimum(optimum: Figure, x: Axis) -> list[Layer]:
    """A dashed line at the optimum and, on the lower edge, its interval: both as far as the axis goes."""
    if optimum.get("x") is None or x.scale == "category":
        return []
    low, high = optimum.get("low"), optimum.get("high")
    first, last = x.domain
    row: Row = {key: _inside(x.place(optimum.get(key)), first, last) for key in ("x", "low", "high")}
    row["tip"] = f"{x.label} {estimate(optimum['x'], low, high)}"
    rule = {"type": "rule", "stroke": "var(--ink)", "clip": True}
    diamond = {
        "type": "point",
        "shape": "diamond",
        "filled": True,
        "size": 80,
        "color": "var(--ink)",
        "opacity": 1,
    }
    span = [row] if low is not None and high is not None else []
    return [
        *layer([row], {**rule, "strokeDash": [2, 3]}, x=x.encode("x")),
        *layer(
            span, {**rule, "strokeWidth": 4, "clip": False}, x=x.encode("low"), x2={"field": "high"}, y=BOTTOM
        ),
        *layer([row], diamond, x=x.encode("x"), y=BOTTOM, description={"field": "tip"}),
    ]


def _trace(trace: Trace, x: Axis, y: Axis) -> list[Layer]:
    """One line, broken where a value is not finite and cut where it leaves the chart."""
    drawn = [
        v if v is not None and math.isfinite(v) and y.domain[0] <= v <= y.domain[1] else None
        for _, v in trace.points
    ]
    rows = [{"x": step, "y": value} for (step, _), value in zip(trace.points, drawn, strict=True)]
    failed = {"stroke": "var(--bad)", "strokeWidth": 1.4, "strokeDash": [4, 3]}
    good = {"stroke": f"var(--rank-{min(trace.rank, 2)})", "strokeWidth": 2.2}
    stroke = {"type": "line", **(failed if trace.failed else good)}
    last = [{**row, "href": trace.href, "tip": trace.label} for row in rows if row["y"] is not None][-1:]
    dot = {**DOT, "size": 46, "color": good["stroke"], "opacity": 1}
    at = {"x": x.encode("x"), "y": y.encode("y")}
    return [*layer(rows, stroke, **at), *([] if trace.failed else linked(last, dot, **at))]


def _end(trace: Trace, x: Axis, y: Axis) -> list[Layer]:
    """A cross at the last value of a failed run that the chart can show, with its last finite value in words."""
    known = [(s, v) for s, v in trace.points if v is not None and math.isfinite(v)]
    shown = [(s, v) for s, v in known if y.domain[0] <= v <= y.domain[1]]
    said = (
        f"last finite value {number(known[-1][1])} at step {known[-1][0]:,}" if known else "no finite value"
    )
    step, value = shown[-1] if shown else (trace.points[0][0], None)
    row = {"x": step, "y": value, "href": trace.href, "tip": plain(f"{trace.label}\n{said}")}
    return linked([row], cross(60, 2), x=x.encode("x"), y=TOP if value is None else y.encode("y"))
