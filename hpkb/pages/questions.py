"""A miner's docstring as the text of its page: the question, the method, how to read it, when it misleads."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from markupsafe import Markup, escape

_HEADINGS = ("Question", "Method", "How to read it", "When it misleads")
_HEADING = re.compile(rf"^[*_#\s]*({'|'.join(_HEADINGS)})[*_]*[:.]?[*_]*\s*(.*)$", re.IGNORECASE)
_RULER = re.compile(r"^\s*[-=~]{3,}\s*$")


@dataclass(frozen=True)
class Docstring:
    """The four parts of a miner's docstring as markup; empty where a part is not there."""

    question: Markup
    method: Markup
    reading: Markup
    misleads: Markup


def docstring(miner: str) -> Docstring:
    """Returns the parts of a miner's docstring; it is read from the source, so that nothing is imported for a page."""
    parts = sections(_source_docstring(miner))
    return Docstring(*(prose(parts.get(heading, "")) for heading in _HEADINGS))


def _source_docstring(miner: str) -> str:
    source = _sources().get(f"{miner}.py")
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "") if source else ""


def _sources() -> dict[str, Traversable]:
    return {entry.name: entry for entry in resources.files("hpkb").joinpath("miners").iterdir()}


def sections(text: str) -> dict[str, str]:
    """Returns the text below each of the four headings."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        heading = _HEADING.match(line)
        if heading:
            name = next(h for h in _HEADINGS if h.lower() == heading[1].lower())
            current = found.setdefault(name, [])
            line = heading[2]
        if not _RULER.match(line):
            current.append(line.strip())
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def prose(text: str) -> Markup:
    """Returns plain text as paragraphs and lists; `code` and *emphasis* are the only marks that mean something."""
    blocks = [block for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]
    return Markup("\n").join(_block(block) for block in blocks)


def _block(block: str) -> Markup:
    items = re.split(r"(?m)^[-*] ", block)
    if len(items) > 1 and not items[0].strip():
        inside = Markup("").join(Markup("<li>{}</li>").format(_inline(item)) for item in items[1:])
        return Markup("<ul>{}</ul>").format(inside)
    return Markup("<p>{}</p>").format(_inline(block))


def _inline(text: str) -> Markup:
    escaped = str(escape(" ".join(text.split())))
    escaped = re.sub(r"`+([^`]+)`+", r"<code>\1</code>", escaped)
    return Markup(re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<em>\1</em>", escaped))
