"""Text and names as Markdown that shows them and does nothing else: no markup, no link, no page of HTML in it."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

from hpkb.pages import formats

_LONGEST = 1000  # characters
#: Signs that mean something; an underscore does not within a word.
_SPECIAL = re.compile(r"[\\`*\[\]|~#$@]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
#: What begins a list, a rule or a heading where it begins a line, and what is made a link of wherever it stands.
_FIRST = re.compile(r"^(?:[-+=]|\d+(?=[.)](?:\s|$)))")
_ADDRESS = re.compile(r"(?i)(\w):(?=//)|\b(www)\.|\b(mailto|xmpp):")


def escaped(value: Any) -> str:
    """Returns what an expression of a template puts into Markdown: text on one line, in which nothing has a meaning."""
    return str(value) if isinstance(value, Markup) else _text(formats.plain(value, _LONGEST))


def prose(value: Markup) -> Markup:
    """Returns hpkb's own text, which pages have as HTML, whole and without its marks."""
    return Markup(_text(value.striptags()))


def _text(given: str) -> str:
    text = " ".join(given.split())
    text = _SPECIAL.sub(r"\\\g<0>", "".join(_ENTITIES.get(c, c) for c in text))
    text = _ADDRESS.sub(_broken, text)
    return _FIRST.sub(lambda match: _marked(match[0]), text)


def code(value: Any) -> Markup:
    """Returns text as a span of code; in a table too, where a bar would end the cell."""
    text = " ".join(formats.plain(value, _LONGEST).split()).replace("|", "\N{BROKEN BAR}")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    space = " " if "`" in text else ""
    return Markup(f"{fence}{space}{text}{space}{fence}" if text else "")


def block(value: Any) -> Markup:
    """Returns one line of text as a block of code."""
    text = " ".join(formats.plain(value, _LONGEST).split())
    return Markup(f"    {text}")  # indented: nothing in it has a meaning


def target(path: str) -> Markup:
    """Returns a path below the handbook's root as the target of a link; paths are made of slugs."""
    return Markup(re.sub(r"[^A-Za-z0-9_./#-]", "", path))


def _broken(match: re.Match[str]) -> str:
    if match[2]:
        return f"{match[2]}\\."
    return f"{match[1] or match[3]}\\:"


def _marked(first: str) -> str:
    return f"{first}\\" if first.isdigit() else f"\\{first}"
