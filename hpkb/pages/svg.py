"""Charts as SVG, drawn here: a frame with its axes, marks placed in it, words escaped on the way in.

The charts of a handbook are few in kind and many in number: two thousand for fifty tasks. Vega takes a tenth of a
second and fifteen kilobytes for one; this takes a millisecond and five. How a mark looks is the style sheet's: a class
is shorter than its attributes, and one drawing serves the light page, the dark page and the print.

Each group of marks has a class `k-NAME`; NAME is the entry of the key below the chart that speaks of it. Points of
runs are one path of dots (a subpath of no length with a round end is a disc) with `data-p`: for each dot the number of
its run in the task's file `runs/TASK.js`, given as the distance from the dot before, and its values as they are
written for people, of what `data-labels` says. A value is left empty where that file has it: the last where it is the
run's objective, others where they are the run's own values of the hyperparameters `data-names`. The handbook without
JavaScript shows the dots; with it, each says what it is and leads to its run.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from hpkb.pages.axes import Axis
from hpkb.pages.formats import plain

#: What stands in a stored chart where each page writes its own way to the handbook's root.
ROOT = "@root/"
#: Pixels by which a line may be off after points have been left out.
_OFF = 0.2
#: Letters that the levels of an axis have together.
_TICKS = 60
#: Paths that the dots of one kind are spread over: within one, dots above each other look like one.
_LAYERS = 3

Place = tuple[float, float]


@dataclass(frozen=True)
class Dot:
    """One run in a chart: where it stands (pixels), its number in its task's file, its values in words."""

    x: float
    y: float
    run: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """The rectangle that an x and a y axis span, in pixels of a chart of this width and height."""

    x: Axis
    y: Axis
    width: int
    height: int
    left: int = 66
    top: int = 10
    right: int = 8
    bottom: int = 46

    def across(self, value: object) -> float:
        """Returns the pixel of a value on the x axis."""
        return self.left + self.x.at(value) * (self.width - self.left - self.right)

    def up(self, value: object) -> float:
        """Returns the pixel of a value on the y axis."""
        return self.floor - self.y.at(value) * (self.floor - self.top)

    @property
    def floor(self) -> int:
        """The pixel of the x axis."""
        return self.height - self.bottom

    def axes(self) -> str:
        """Returns both axes: lines of the grid across, ticks below, their names."""
        lines, names = [], []
        for value, name in self.y.ticks():
            at = px(self.up(value))
            lines.append(f"M{self.left} {at}H{self.width - self.right}")
            shown = fitted(name, 7) if self.y.scale == "category" else name
            names.append(text(self.left - 5, float(at) + 4, shown, "end"))
        grid = "" if self.y.scale == "category" else f'<path class="lines" d="{"".join(lines)}"/>'
        middle = (self.top + self.floor) / 2
        turned = f'transform="translate(14 {px(middle)})rotate(-90)"'
        label = f'<text class="name" {turned}>{escape(fitted(self.y.label, 34))}</text>'
        return grid + "".join(names) + label + self.base()

    def base(self) -> str:
        """Returns the x axis alone."""
        ticks, names = [], []
        room = max(5, _TICKS // max(1, len(self.x.levels)))  # all of it for a number
        for value, name in self.x.ticks():
            at = px(self.across(value))
            ticks.append(f"M{at} {self.floor}v4")
            names.append(text(float(at), self.floor + 18, fitted(name, room)))
        line = f"M{self.left} {self.floor}H{self.width - self.right}"
        middle = (self.left + self.width - self.right) / 2
        label = text(middle, self.floor + 38, fitted(self.x.label, 54), cls="name")
        return f'<path class="axis" d="{line}{"".join(ticks)}"/>' + "".join(names) + label

    def inside(self, marks: str) -> str:
        """Returns marks that are cut where they leave the frame."""
        if not marks:
            return ""
        width, height = self.width - self.left - self.right, self.floor - self.top
        box = f"{self.left} {self.top} {width} {height}"
        return f'<svg x="{self.left}" y="{self.top}" width="{width}" height="{height}" viewBox="{box}">{marks}</svg>'


def chart(body: str, width: int, height: int, label: str, description: str, data: str = "") -> str:
    """Returns a chart as an `<svg>`; `label` and `description` are what a screen reader says, `data` its attributes."""
    role = "group" if "<a " in body else "img"
    about = f"<desc>{escape(plain(description, 2000))}</desc>" if description else ""
    named = f'role="{role}" aria-label="{escape(plain(label, 300))}"'
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" {named}{data}>'
        f"{about}{body}</svg>"
    )


def escape(words: str) -> str:
    """Returns text as it may stand in an element and in a quoted attribute."""
    return html.escape(words, quote=True)


def fitted(words: object, room: int) -> str:
    """Returns text that is at most so many letters wide, cut in its middle."""
    whole = plain(words)
    return next((cut for limit in range(room, 4, -4) if letters(cut := plain(whole, limit)) <= room), "…")


def letters(words: str) -> int:
    """Returns how many letters wide a text is; East Asian ones and pictures take two."""
    return len(words) if words.isascii() else sum(2 if east_asian_width(c) in "WF" else 1 for c in words)


def in_single_quotes(words: str) -> str:
    """Returns text as it may stand in an attribute in single quotes, where the double ones of JSON stay short."""
    return html.escape(words, quote=False).replace("'", "&#39;")


def px(value: float) -> str:
    """Returns a number of pixels to a tenth, as short as it can be written."""
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, words: str, anchor: str = "", cls: str = "") -> str:
    """Returns words that are centred at x, or end there where `anchor` is "end"."""
    kind = " ".join(filter(None, (cls, anchor)))
    head = f' class="{kind}"' if kind else ""
    return f'<text{head} x="{px(x)}" y="{px(y)}">{escape(words)}</text>'


def line(kind: str, places: Sequence[Place], upright: bool = False) -> str:
    """Returns a line through some points."""
    return f'<path class="{kind}" d="{drawn(places, upright)}"/>' if places else ""


def drawn(places: Sequence[Place], upright: bool = False) -> str:
    """Returns a line through some points as the data of a path, without those that it passes through anyway.

    The points go on along one axis, the y axis where `upright`. One is left out as long as a straight line from the
    last that is kept passes all that were left out since by no more than `_OFF`.
    """
    if not places:
        return ""
    along = 1 if upright else 0
    kept, held = [places[0]], places[0]
    least, most = -math.inf, math.inf
    for place in places[1:]:
        slope, room = _slope(kept[-1], place, along)
        if not least <= slope <= most:
            kept.append(held)
            least, most = -math.inf, math.inf
            slope, room = _slope(held, place, along)
        least, most, held = max(least, slope - room), min(most, slope + room), place
    return "M" + " ".join(f"{px(x)} {px(y)}" for x, y in [*kept, held])


def _slope(start: Place, end: Place, along: int) -> tuple[float, float]:
    """The slope from one point to another, and by how much it may differ so that the end is off by `_OFF`."""
    run = abs(end[along] - start[along]) or 1e-6
    return (end[1 - along] - start[1 - along]) / run, _OFF / run


def band(kind: str, low: Sequence[Place], high: Sequence[Place], upright: bool = False) -> str:
    """Returns the area between two lines."""
    return f'<path class="{kind}" d="{drawn(low, upright)}L{drawn(high[::-1], upright)[1:]}Z"/>'


def dots(kind: str, points: Sequence[Dot], shape: str = "z") -> str:
    """Returns runs as dots, or as another shape that is drawn from its centre on."""
    layers = _LAYERS if shape == "z" and len(points) > _LAYERS else 1
    parts = []
    for layer in range(layers):
        chosen = points[layer::layers]
        if chosen:
            places = "".join(f"M{p.x:.0f} {p.y:.0f}{shape}" for p in chosen)
            before = [0, *(p.run for p in chosen)]
            said = ";".join(
                " ".join((str(p.run - b), *p.values)).rstrip(" ") for p, b in zip(chosen, before, strict=False)
            )
            parts.append(f'<path class="{kind}" d="{places}" data-p="{escape(said)}"/>')
    return "".join(parts)


def linked(href: str, tip: str, marks: str) -> str:
    """Returns marks that say something, and lead to a place below the handbook's root where there is one."""
    title = f"<title>{escape(tip)}</title>"
    if not href:
        return f'<g class="tip">{title}{marks}</g>'
    return f'<a href="{ROOT}{escape(href)}">{title}{marks}</a>'
