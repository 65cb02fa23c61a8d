"""The pages as text: dataclasses into Jinja2 templates, which format and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from hpkb.pages import formats, machine, markdown, search
from hpkb.pages.formats import number, plain
from hpkb.pages.glossary import TERMS
from hpkb.pages.model import Handbook, TaskPage
from hpkb.pages.parts import Link, Words
from hpkb.pages.places import LONGEST_COLUMN, runs_file, short
from hpkb.pages.slugs import slug
from hpkb.pages.svg import ROOT
from hpkb.pages.writer import HandbookError

_DEFAULT_PARTIAL = "findings/_default.html"
_LAST = 100
_LONGEST = 1000  # characters
_ASSETS = ("style.css", "handbook.js", "charts.js", "icon.svg")
_FIXED = ("index", "changes", "gaps", "glossary", "about", "names")  # pages that there is one of
_ADDED = "pages"  # the folder, among somebody's own templates, of pages that are added


@dataclass(frozen=True)
class Page:
    """One file of the handbook: its path below the root, with slashes, and what is in it."""

    path: str
    content: str


@dataclass(frozen=True)
class Templates:
    """The templates: hpkb's own, each of them replaced by the file of its name in `folder` where there is one.

    What lies in the folder's own folder `pages` is added to the handbook, under `pages/` and in its menu.
    """

    folder: Path | None = None

    @cached_property
    def environment(self) -> jinja2.Environment:
        """The environment of the pages: everything is escaped, an unknown name is an error."""
        made = self._environment(autoescape=True, finalize=_printable)
        made.filters |= {"drawing": _drawing, "key": _key}
        return made

    @cached_property
    def markdown(self) -> jinja2.Environment:
        """The environment of what is Markdown: everything is escaped for it."""
        made = self._environment(autoescape=False, finalize=markdown.escaped)
        for name in ("prose", "code", "block", "target"):
            made.filters[name] = getattr(markdown, name)
        return made

    @cached_property
    def partials(self) -> frozenset[str]:
        """The miners that have a partial of their own."""
        found = [entry.name for entry in resources.files("hpkb.templates").joinpath("findings").iterdir()]
        if self.folder and (self.folder / "findings").is_dir():
            found += [entry.name for entry in (self.folder / "findings").iterdir()]
        return frozenset(name.removesuffix(".html") for name in found if name.endswith(".html"))

    @cached_property
    def added(self) -> dict[str, Link]:
        """The pages that are added, by template: what they are called in the menu, and where they stand."""
        files = sorted((self.folder / _ADDED).glob("*.html")) if self.folder else []
        links = (Link(formats.title(f.stem.replace("-", " ")), f"{_ADDED}/{slug(f.stem)}.html") for f in files)
        return {f"{_ADDED}/{file.name}": link for file, link in zip(files, links, strict=True)}

    def source(self, name: str) -> str | None:
        """Returns the text of a template, None where there is none; names come from this package and miners' names.

        Raises HandbookError where somebody's own template is no text.
        """
        own = self.folder.joinpath(*name.split("/")) if self.folder else None
        if own is not None and own.is_file():
            try:
                return own.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise HandbookError(f"The template {own} cannot be read: {error}.") from error
        found = resources.files("hpkb.templates").joinpath(*name.split("/"))
        return found.read_text(encoding="utf-8") if found.is_file() else None

    def partial(self, miner: str) -> str:
        """Returns the name of a miner's partial."""
        return f"findings/{miner}.html" if miner in self.partials else _DEFAULT_PARTIAL

    def words(self, miner: str) -> Words:
        """Returns what a miner's partial sets: `title`, `settle`, `quantity` and `rank`; the title may be left out."""
        exported: Any = self.environment.get_template(self.partial(miner)).module
        name = getattr(exported, "title", formats.title(miner))
        return Words(name, exported.settle, getattr(exported, "quantity", ""), getattr(exported, "rank", _LAST))

    def _load(self, name: str) -> tuple[str, str, None] | None:
        text = self.source(name)
        return None if text is None else (text, name, None)

    def _environment(self, **options: Any) -> jinja2.Environment:
        made = jinja2.Environment(
            loader=jinja2.FunctionLoader(self._load), undefined=jinja2.StrictUndefined, trim_blocks=True,
            lstrip_blocks=True, **options,
        )  # fmt: skip
        for name in ("number", "interval", "matched", "share", "probability", "count", "spoken", "estimate"):
            made.filters[name] = getattr(formats, name)
        made.filters |= {"zip": zip, "short": short}
        made.globals |= {"terms": TERMS, "added": tuple(self.added.values())}
        return made


TEMPLATES = Templates()


def pages(handbook: Handbook, templates: Templates = TEMPLATES) -> Iterator[Page]:
    """Yields every file of the handbook.

    Raises HandbookError for a fault in somebody's own template, with its name and line.
    """
    try:
        yield from _pages(handbook, templates)
    except jinja2.TemplateSyntaxError as error:
        raise HandbookError(f"The template {error.name}, line {error.lineno}: {error.message}.") from error
    except jinja2.TemplateError as error:
        if templates.folder is None:
            raise
        raise HandbookError(f"A template in {templates.folder}: {error}.") from error


def _pages(handbook: Handbook, templates: Templates) -> Iterator[Page]:
    def page(path: str, template: str, **context: Any) -> Page:
        root = Markup("../" * path.count("/"))
        found = templates.environment.get_template(template)
        return Page(path, found.render(handbook=handbook, root=root, here=path, **context) + "\n")

    yield from (page(f"{name}.html", f"{name}.html") for name in _FIXED)
    for task in handbook.tasks:
        yield page(task.href, "task.html", page=task)
        yield Page(runs_file(task.href), _runs(task))
    for question in handbook.questions:
        yield page(question.href, "question.html", page=question, partial=templates.partial(question.miner))
    for hyperparameter in handbook.hyperparameters:
        yield page(hyperparameter.href, "hyperparameter.html", page=hyperparameter)
    for evidence in handbook.evidence:
        yield page(evidence.href, "evidence.html", page=evidence)
    yield Page("search.js", search.script(handbook))
    yield from (page(link.href, name) for name, link in templates.added.items())
    for name in _ASSETS:
        yield Page(name, templates.source(name) or "")
    for name in ("handbook.md", "llms.txt"):
        yield Page(name, templates.markdown.get_template(name).render(handbook=handbook) + "\n")
    yield Page("findings.json", machine.findings(handbook))
    yield Page("defaults.yaml", machine.defaults(handbook))


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
