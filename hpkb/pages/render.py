"""The pages as text: dataclasses into Jinja2 templates, which format and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from hpkb.pages import formats
from hpkb.pages.model import Handbook, Words
from hpkb.pages.svg import ROOT

_DEFAULT_PARTIAL = "findings/_default.html"
_LAST = 100
_LONGEST = 1000  # characters
_ASSETS = ("style.css", "handbook.js", "icon.svg")


@dataclass(frozen=True)
class Page:
    """One file of the handbook: its path below the root, with slashes, and what is in it."""

    path: str
    content: str


def pages(handbook: Handbook) -> Iterator[Page]:
    """Yields every file of the handbook."""
    yield _page("index.html", "index.html", handbook)
    yield _page("about.html", "about.html", handbook)
    yield _page("names.html", "names.html", handbook)
    for task in handbook.tasks:
        yield _page(task.href, "task.html", handbook, page=task)
    for question in handbook.questions:
        yield _page(question.href, "question.html", handbook, page=question, partial=_partial(question.miner))
    for hyperparameter in handbook.hyperparameters:
        yield _page(hyperparameter.href, "hyperparameter.html", handbook, page=hyperparameter)
    for name in _ASSETS:
        yield Page(name, _source(name) or "")


def words(miner: str) -> Words:
    """Returns what a miner's partial sets: `title`, `settle`, `quantity` and `rank`; the title may be left out."""
    exported: Any = environment().get_template(_partial(miner)).module
    name = getattr(exported, "title", formats.title(miner))
    return Words(name, exported.settle, getattr(exported, "quantity", ""), getattr(exported, "rank", _LAST))


@cache
def environment() -> jinja2.Environment:
    """Returns the environment of the templates: everything is escaped, an unknown name is an error."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_printable,
    )  # fmt: skip
    for name in ("number", "interval", "matched", "share", "probability", "count", "spoken"):
        made.filters[name] = getattr(formats, name)
    made.filters |= {"drawing": _drawing, "zip": zip}
    return made


def _page(path: str, template: str, handbook: Handbook, **context: Any) -> Page:
    root = "../" * path.count("/")
    text = environment().get_template(template).render(handbook=handbook, root=root, here=path, **context)
    return Page(path, text + "\n")


def _partial(miner: str) -> str:
    return f"findings/{miner}.html" if miner in _partials() else _DEFAULT_PARTIAL


@cache
def _partials() -> frozenset[str]:
    """The miners that have a partial of their own."""
    found = (entry.name for entry in resources.files("hpkb.templates").joinpath("findings").iterdir())
    return frozenset(name.removesuffix(".html") for name in found if name.endswith(".html"))


@cache
def _source(name: str) -> str | None:
    """The text of a template, None where there is none; names come from this package and from miners' names only."""
    found = resources.files("hpkb.templates").joinpath(*name.split("/"))
    return found.read_text(encoding="utf-8") if found.is_file() else None


def _printable(value: Any) -> Any:
    """What an expression puts on a page: text without control characters, cut where it is no longer read."""
    return value if isinstance(value, Markup) else formats.plain(value, _LONGEST)


def _drawing(svg: str, root: str) -> Markup:
    """A drawing as it stands on a page: with the page's way to the root in its links. `svg.draw` has cleaned it."""
    return Markup(svg.replace(ROOT, root))
