"""The charts over runs: a finding's figure in, an SVG out. Numbers are placed, never estimated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpkb.pages import svg
from hpkb.pages.axes import Axis, axis
from hpkb.pages.formats import estimate, number, plain, spoken
from hpkb.pages.parts import Listed
from hpkb.pages.svg import Dot, Frame, px

WIDTH, HEIGHT = 480, 300
_SHADES = 7  # of the map
_EDGE = 18  # pixels below the upper edge at which a run without a value stands
_CROSS = "m-3-3l6 6m0-6l-6 6"
_TRIANGLE = "m-4 3h8l-4-7z"
_DIAMOND = "m0-6l6 6l-6 6l-6-6z"

#: From a run's id to where it is listed.
Lookup = Callable[[str], Listed]
Figure = Mapping[str, Any]


@dataclass(frozen=True)
class Trace:
    """One curve: its points, and whether it is one of the best runs or one that failed."""

    label: str
    href: str
    failed: bool
    rank: int
    points: tuple[tuple[int, float | None], ...]


@dataclass(frozen=True)
class Words:
    """What a screen reader says of a chart."""

    label: str
    description: str


def response(figure: Figure, lookup: Lookup, words: Words, value_label: str = "") -> str:
    """Returns runs as points, the estimated curve with its band, the plateau as a shaded range, the optimum."""
    points, line = figure.get("points", []), figure.get("line", [])
    tried = [p["x"] for p in points]
    x = axis(figure["x"], tried + [r["x"] for r in line], named=tried)
    ends = [row.get(key) for row in line for key in ("y", "low", "high")]
    y = axis(figure["y"], within_reach([p["y"] for p in points], ends), value_label)
    frame = Frame(x, y, WIDTH, HEIGHT)
    behind = _plateau(figure.get("plateau") or [], frame)
    front = frame.inside(_curve(line, frame)) + _optimum(figure.get("optimum") or {}, frame)
    body = behind + frame.axes() + _points(points, frame, str(figure["x"].get("label")), lookup) + front
    data = _Data((x.label, y.label), [str(figure["x"].get("label"))], x, points)
    return _finished(body, HEIGHT, words, data, lookup)


def ridge_map(figure: Figure, lookup: Lookup, words: Words, upright: bool = False) -> str:
    """Returns runs coloured by their value over two hyperparameters, and where the best x lies at each y.

    `upright` draws the figure's x upwards, for a best learning rate that is read as a function of the batch size.
    """
    points, ridge = figure.get("points", []), figure.get("ridge", [])
    best = axis(figure["x"], [p["x"] for p in points] + [r.get(k) for r in ridge for k in ("x", "low", "high")])
    tried = [p["y"] for p in points]
    at = axis(figure["y"], tried + [r["y"] for r in ridge], named=tried)
    frame = Frame(*((at, best) if upright else (best, at)), WIDTH, 330)
    value = spoken(str(figure["value"]["label"]))
    names = [str(figure[key].get("label")) for key in ("yx" if upright else "xy")]
    runs = _map_points(points, frame, names, upright, lookup)
    body = frame.axes() + runs + frame.inside(_ridge(ridge, frame, upright))
    data = _Data((frame.x.label, frame.y.label, value), names, frame.x, points)
    return _finished(body, 330, words, data, lookup)


def curves(traces: Sequence[Trace], label: str, words: Words) -> str:
    """Returns learning curves; where a failed run's values end, it has a cross."""
    values = finite([v for t in traces for _, v in t.points])
    good = finite([v for t in traces if not t.failed for _, v in t.points])
    scale = "log" if values and min(values) > 0 else "linear"
    reach = [v for v in values if not good or v <= 4 * max(good)]
    x = axis({"scale": "linear"}, [0, *(step for t in traces for step, _ in t.points)], "optimizer step")
    frame = Frame(x, axis({"scale": scale}, reach, label), WIDTH, HEIGHT)
    ordered = sorted(traces, key=lambda t: (not t.failed, -t.rank))
    lines = "".join(_trace(t, frame) for t in ordered)
    ends = "".join(_end(t, frame) if t.failed else _last(t, frame) for t in ordered)
    return svg.chart(frame.axes() + lines + ends, WIDTH, HEIGHT, words.label, words.description)


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


@dataclass(frozen=True)
class _Data:
    """What the script says dots by: the labels of their values, the names of the hyperparameters among these."""

    labels: Sequence[str]
    names: Sequence[str]
    x: Axis
    points: Sequence[Figure]


def _finished(body: str, height: int, words: Words, data: _Data, lookup: Lookup) -> str:
    files = (lookup(str(p["run_id"])).file for p in data.points)
    given = {
        "runs": next((file for file in files if file), ""), "labels": _json(plain(label, 60) for label in data.labels),
        "names": _json(plain(name, 80) for name in data.names),
        "levels": _json(data.x.levels) if data.x.scale == "category" else "",
    }  # fmt: skip
    attributes = "".join(f" data-{name}='{svg.in_single_quotes(value)}'" for name, value in given.items() if value)
    return svg.chart(body, WIDTH, height, words.label, words.description, attributes if data.points else "")


def _json(values: Iterable[str]) -> str:
    return json.dumps(list(values), ensure_ascii=False, separators=(",", ":"))


# --- runs as points -----------------------------------------------------------------------------------------


def _points(points: Sequence[Figure], frame: Frame, name: str, lookup: Lookup) -> str:
    x, y = frame.x, frame.y
    kinds: dict[str, list[Dot]] = {"run": [], "above": [], "failed": []}
    for i, point in enumerate(points):
        known, failed = point["y"] is not None, bool(point.get("infeasible"))
        above = known and point["y"] > y.domain[1]
        at = frame.up(y.place(point["y"])) if known and not above else _EDGE
        # steps of the golden ratio spread the runs of one category evenly, in the same way each time
        aside = 0.5 * ((i * 0.618 % 1) - 0.5) / len(x.levels) if x.scale == "category" else 0.0
        across = frame.across(x.place(point["x"])) + aside * (WIDTH - frame.left - frame.right)
        run = lookup(str(point["run_id"]))
        said = (_said(point["x"], x, run, name), _value(point["y"], run))
        kind = "failed" if failed else "above" if above else "run"
        kinds[kind].append(Dot(across, at, run.number, said))
    return (
        svg.dots("dot k-run", kinds["run"])
        + svg.dots("far k-run", kinds["above"], _TRIANGLE)
        + svg.dots("cross k-infeasible", kinds["failed"], _CROSS)
    )


def _said(value: Any, axis: Axis, run: Listed, name: str) -> str:
    """A value as a dot says it: a number, which of the axis' levels it is, nothing where it is the run's own."""
    if axis.scale == "category":
        return f"#{axis.levels.index(axis.place(value))}"
    return "" if run.values.get(name) == value else number(value)


def _value(value: float | None, run: Listed) -> str:
    """What came of a run, as a dot says it: nothing where it is the run's objective, `x` where it is infeasible."""
    if value is None:
        return "x"
    return "" if value == run.objective else number(value)


def _map_points(points: Sequence[Figure], frame: Frame, names: Sequence[str], upright: bool, lookup: Lookup) -> str:
    """Crosses below, then the runs from the worst to the best, coloured by the seventh that their value is in."""

    def dot(point: Figure, value: float | None) -> Dot:
        across, up = (point["y"], point["x"]) if upright else (point["x"], point["y"])
        run = lookup(str(point["run_id"]))
        said = (_said(across, frame.x, run, names[0]), _said(up, frame.y, run, names[1]), _value(value, run))
        return Dot(frame.across(frame.x.place(across)), frame.up(frame.y.place(up)), run.number, said)

    parts: tuple[list[Figure], list[Figure]] = ([], [])
    for point in points:
        parts[bool(point.get("infeasible")) or point["value"] is None].append(point)
    valued, failed = sorted(parts[0], key=lambda p: -float(p["value"])), parts[1]
    shades: dict[int, list[Dot]] = {shade: [] for shade in reversed(range(_SHADES))}
    for rank, point in enumerate(valued):
        shades[_SHADES - 1 - rank * _SHADES // len(valued)].append(dot(point, point["value"]))
    crosses = svg.dots("cross k-infeasible", [dot(p, None) for p in failed], _CROSS)
    return crosses + "".join(svg.dots(f"dot k-ramp m{shade}", found) for shade, found in shades.items())


def _ridge(ridge: Sequence[Figure], frame: Frame, upright: bool) -> str:
    best, at = (frame.y, frame.x) if upright else (frame.x, frame.y)
    rows = sorted(ridge, key=lambda row: at.at(at.place(row["y"])))

    def along(key: str, rows: Sequence[Figure]) -> list[svg.Place]:
        pairs = [(best.place(r[key]), at.place(r["y"])) for r in rows]
        return [(frame.across(b if upright else a), frame.up(a if upright else b)) for a, b in pairs]

    bounded = [r for r in rows if r.get("low") is not None and r.get("high") is not None]
    area = svg.band("band k-ridge", along("low", bounded), along("high", bounded), not upright) if bounded else ""
    return area + "".join(svg.line(f"{kind} k-ridge", along("x", rows), not upright) for kind in ("under", "line"))


# --- curves and ranges --------------------------------------------------------------------------------------


def _curve(line: Sequence[Figure], frame: Frame) -> str:
    rows = [r for r in line if r.get("y") is not None]
    bounded = [r for r in rows if r.get("low") is not None and r.get("high") is not None]
    x, y = frame.x, frame.y
    if x.scale == "category":
        return "".join(_level(frame, r, r in bounded) for r in rows)

    across = {id(r): frame.across(x.place(r["x"])) for r in rows}

    def along(key: str, rows: Sequence[Figure]) -> list[svg.Place]:
        return [(across[id(r)], frame.up(y.place(r[key]))) for r in rows]

    area = svg.band("fit k-curve", along("low", bounded), along("high", bounded)) if bounded else ""
    return area + svg.line("fitted k-curve", along("y", rows))


def _level(frame: Frame, row: Figure, bounded: bool) -> str:
    """The estimate of one level of a category and its interval."""
    middle = frame.across(frame.x.place(row["x"]))
    tick = f'<path class="fitted k-curve" d="M{px(middle - 17)} {px(frame.up(frame.y.place(row["y"])))}h34"/>'
    if not bounded:
        return tick
    low, high = (frame.up(frame.y.place(row[key])) for key in ("low", "high"))
    return f'<path class="fit k-curve" d="M{px(middle - 17)} {px(low)}h34V{px(high)}h-34Z"/>{tick}'


def _plateau(ends: Sequence[Any], frame: Frame) -> str:
    if len(ends) != 2 or frame.x.scale == "category" or None in ends:
        return ""
    low, high = (px(frame.across(_inside(frame.x.place(end), *frame.x.domain))) for end in ends)
    return f'<path class="plateau k-plateau" d="M{low} {frame.top}V{frame.floor}H{high}V{frame.top}Z"/>'


def _inside(value: float | None, first: float, last: float) -> float | None:
    """The value, or the end of the axis beyond which it lies: what is drawn outside would squeeze all the rest."""
    return None if value is None else min(max(value, first), last)


def _optimum(optimum: Figure, frame: Frame) -> str:
    """A dashed line at the optimum and, on the lower edge, its interval: both as far as the axis goes."""
    x = frame.x
    if optimum.get("x") is None or x.scale == "category":
        return ""
    low, high = optimum.get("low"), optimum.get("high")
    place = {key: _inside(x.place(optimum.get(key)), *x.domain) for key in ("x", "low", "high")}
    at = px(frame.across(place["x"]))
    marks = f'<path class="best" d="M{at} {frame.top}V{frame.floor}"/>'
    if low is not None and high is not None:
        left, right = (px(frame.across(place[key])) for key in ("low", "high"))
        marks += f'<path class="span" d="M{left} {frame.floor}H{right}"/>'
    marks += f'<path class="full" d="M{at} {frame.floor}{_DIAMOND}"/>'
    tip = plain(f"{x.label} {estimate(optimum['x'], low, high)}")
    return f'<g class="k-optimum">{svg.linked("", tip, marks)}</g>'


def _trace(trace: Trace, frame: Frame) -> str:
    """One line, broken where a value is not finite and cut where it leaves the chart."""
    parts: list[list[svg.Place]] = [[]]
    for step, value in trace.points:
        if _drawable(value, frame.y):
            parts[-1].append((frame.across(step), frame.up(value)))
        elif parts[-1]:
            parts.append([])
    kind = "lost k-failed" if trace.failed else f"trace r{min(trace.rank, 2)} k-best"
    path = "".join(svg.drawn(part) for part in parts)
    return f'<path class="{kind}" d="{path}"/>' if path else ""


def _drawable(value: float | None, y: Axis) -> bool:
    return value is not None and math.isfinite(value) and y.domain[0] <= value <= y.domain[1]


def _last(trace: Trace, frame: Frame) -> str:
    """The end of a good run's curve, which says whose it is."""
    shown = [(step, value) for step, value in trace.points if _drawable(value, frame.y)]
    if not shown:
        return ""
    across, up = px(frame.across(shown[-1][0])), px(frame.up(shown[-1][1]))
    disc = f'<circle class="end r{min(trace.rank, 2)} k-best" cx="{across}" cy="{up}" r="4"/>'
    return svg.linked(trace.href, plain(trace.label), disc)


def _end(trace: Trace, frame: Frame) -> str:
    """A cross at the last value of a failed run that the chart can show, with its last finite value in words."""
    known = [(s, v) for s, v in trace.points if v is not None and math.isfinite(v)]
    shown = [(s, v) for s, v in known if _drawable(v, frame.y)]
    said = (
        f"last finite value {number(known[-1][1])} at step {known[-1][0]:,}" if known else "no finite value"
    )
    step, value = shown[-1] if shown else (trace.points[0][0], None)
    place = f"{px(frame.across(step))} {px(_EDGE if value is None else frame.up(value))}"
    cross = f'<path class="cross k-failed" d="M{place}{_CROSS}"/>'
    return svg.linked(trace.href, plain(f"{trace.label}\n{said}"), cross)
