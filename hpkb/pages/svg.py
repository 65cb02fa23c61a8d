"""Vega's SVG made fit for a page: only known elements and attributes, short, with links relative to the page.

Text that comes from a run reaches this point inside an XML tree and leaves it through an XML writer, so no name can
become markup; whatever is not on the two lists below is dropped, `style` and scripts among it.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

import vl_convert

from hpkb.pages.formats import plain
from hpkb.pages.vega import LINE

#: What Vega puts before a relative `href`.
VEGA_BASE = "https://vega.github.io/vega-datasets/"
#: What stands in a stored chart where each page writes its own way to the handbook's root.
ROOT = "@root/"

_TAGS = frozenset(
    {"svg", "g", "path", "line", "rect", "circle", "text", "tspan", "a", "defs", "clipPath", "title"}
)
_ATTRIBUTES = frozenset({
    "d", "transform", "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity",
    "fill-opacity", "stroke-opacity", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "dx", "dy", "width",
    "height", "viewBox", "text-anchor", "font-size", "font-weight", "clip-path", "id", "href",
})  # fmt: skip
_DECIMALS = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_CIRCLE = re.compile(r"M([\d.]+),0A\1,\1,0,1,1,-\1,0A\1,\1,0,1,1,\1,0")
_TRANSLATE = re.compile(r"translate\((-?[\d.]+),(-?[\d.]+)\)")
_DEFAULTS = {"opacity": "1", "stroke-width": "0", "fill-opacity": "1"}


def draw(spec: dict[str, object], name: str, label: str, description: str) -> str:
    """Returns a Vega-Lite specification as one `<svg>` element.

    `name` makes its ids unique on a page; `label` and `description` are what a screen reader says. A chart whose
    points are links is a document to be walked through, any other one an image.
    """
    text = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    drawn = ElementTree.fromstring(text)
    _number_ids(drawn)
    root = _cleaned(drawn, name)
    linked = root.find(".//a") is not None
    root.set("class", "chart")
    root.set("role", "graphics-document document" if linked else "img")
    root.set("aria-label", plain(label, 300))
    about = ElementTree.Element("desc")
    about.text = plain(description, 2000)
    root.insert(0, about)
    for link in root.iter("a"):
        link.set(
            "tabindex", "-1"
        )  # hundreds of points are no tab stops; the arrow keys and the table reach them
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _number_ids(root: ElementTree.Element) -> None:
    """Numbers the ids of one drawing from 0: Vega counts on from one drawing to the next."""
    found = [element.get("id", "") for element in root.iter() if element.get("id")]
    numbers = {f"url(#{old})": f"url(#{i})" for i, old in enumerate(found)}
    for element in root.iter():
        if element.get("id"):
            element.set("id", str(found.index(element.get("id", ""))))
        if element.get("clip-path"):
            element.set("clip-path", numbers.get(element.get("clip-path", ""), ""))


def _cleaned(element: ElementTree.Element, name: str) -> ElementTree.Element:
    """A copy of an element with what is allowed of it, and of what is below it."""
    tag = _local(element.tag)
    copy = ElementTree.Element(tag, _attributes(element, name))
    copy.text = element.text if tag in ("text", "tspan", "title") else None
    title = element.get("aria-label") if tag in ("path", "rect", "line") else None
    for child in element:
        _append(copy, child, name)
    if title and element.get("aria-roledescription") in ("point", "bar", "rule", "circle"):
        ElementTree.SubElement(copy, "title").text = title.replace(LINE, "\n")
    return _as_circle(copy)


def _append(parent: ElementTree.Element, child: ElementTree.Element, name: str) -> None:
    if _local(child.tag) not in _TAGS or _is_empty(child):
        return
    copy = _cleaned(child, name)
    if copy.tag == "g" and not copy.attrib:
        parent.extend(list(copy))
    elif copy.tag != "g" or len(copy):
        parent.append(copy)


def _is_empty(element: ElementTree.Element) -> bool:
    """Whether an element draws nothing: Vega's placeholders for backgrounds and foregrounds."""
    kind = element.get("class", "")
    return element.get("display") == "none" or (
        kind in ("background", "foreground") and not ({"fill", "stroke"} & element.attrib.keys())
    )


def _attributes(element: ElementTree.Element, name: str) -> dict[str, str]:
    kept = {}
    for key, value in element.attrib.items():
        plain_key = _local(key)
        if plain_key not in _ATTRIBUTES or _DEFAULTS.get(plain_key) == value:
            continue
        kept[plain_key] = _value(plain_key, value, name)
    if kept.get("transform") == "translate(0,0)":
        del kept["transform"]
    if _local(element.tag) == "svg":
        kept |= {"fill": "none"}
    return kept


def _value(key: str, value: str, name: str) -> str:
    if key == "href":
        return ROOT + value.removeprefix(VEGA_BASE) if value.startswith(VEGA_BASE) else "#"
    if key == "id":
        return f"{name}-{value}"
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    if key in (
        "d",
        "transform",
        "x",
        "y",
        "x1",
        "y1",
        "x2",
        "y2",
        "r",
        "cx",
        "cy",
        "width",
        "height",
        "stroke-width",
    ):
        return _DECIMALS.sub(lambda match: f"{round(float(match[0]), 2):g}", value)
    return value


def _as_circle(element: ElementTree.Element) -> ElementTree.Element:
    """Vega's path of a point as the `<circle>` that it is, a third as long."""
    round_one = _CIRCLE.fullmatch(element.get("d", ""))
    place = _TRANSLATE.fullmatch(element.get("transform", ""))
    if element.tag != "path" or not round_one or not place:
        return element
    rest = {k: v for k, v in element.attrib.items() if k not in ("d", "transform")}
    circle = ElementTree.Element("circle", {"cx": place[1], "cy": place[2], "r": round_one[1], **rest})
    circle.extend(list(element))
    return circle


def _local(name: str) -> str:
    return name.rpartition("}")[2]
