"""The pages as text: dataclasses into Jinja2 templates, which format and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from hpkb.pages import formats, search
from hpkb.pages.formats import number, plain
from hpkb.pages.model import Handbook, TaskPage, Words
from hpkb.pages.places import LONGEST_COLUMN, runs_file, short
from hpkb.pages.svg import ROOT

_DEFAULT_PARTIAL = "findings/_default.html"
_LAST = 100
_LONGEST = 1000  # characters
_ASSETS = ("style.css", "handbook.js", "charts.js", "icon.svg")


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
        yield Page(runs_file(task.href), _runs(task))
    for question in handbook.questions:
        yield _page(question.href, "question.html", handbook, page=question, partial=_partial(question.miner))
    for hyperparameter in handbook.hyperparameters:
        yield _page(hyperparameter.href, "hyperparameter.html", handbook, page=hyperparameter)
    yield Page("search.js", search.script(handbook))
    for name in _ASSETS:
        yield Page(name, _source(name) or "")


def _runs(task: TaskPage) -> str:
    """The runs of a task for the script: what the dots of its charts are called, and their row on the task's page."""
    rows = [
        [row.anchor, f"run {short(row.run_id)}{_seed(row.seed)}", number(row.objective), *row.values]
        for row in task.rows
    ]
    columns = [plain(name, LONGEST_COLUMN) for name in task.columns]
    listed = {"file": runs_file(task.href), "page": task.href, "columns": columns, "rows": rows}
    return f"hpkb.runs({json.dumps(listed, separators=(',', ':'))});\n"


def _seed(seed: int | None) -> str:
    return "" if seed is None else f" · seed {seed}"


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
    made.filters |= {"drawing": _drawing, "key": _key, "zip": zip}
    return made


def _page(path: str, template: str, handbook: Handbook, **context: Any) -> Page:
    root = Markup("../" * path.count("/"))
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


def _key(value: Any, shown: str) -> Markup:
    """What a cell is sorted by, as its attribute; nothing where that is what it shows."""
    same = value is None or value == shown or (isinstance(value, float) and _read(shown) == value)
    return Markup("" if same else f' data-value="{escape(formats.plain(value, _LONGEST))}"')


def _read(shown: str) -> float | None:
    """The number that a script reads in a cell."""
    try:
        return float(shown)
    except ValueError:
        return None


def _drawing(svg: str, root: str) -> Markup:
    """A drawing as it stands on a page: with the page's way to the root in its links. `svg.draw` has cleaned it."""
    return Markup(svg.replace(ROOT, root))
