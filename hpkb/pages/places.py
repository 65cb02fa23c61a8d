"""Where everything stands in the handbook: the file of each task and hyperparameter, the anchor of each run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from hpkb.pages import formats
from hpkb.pages.formats import plain
from hpkb.pages.parts import Link, Listed, Store
from hpkb.pages.slugs import anchor, digest, slug
from hpkb.pages.store import Knowledge, Run, Task
from hpkb.sources import is_lake

ACROSS = "evidence/index.html"  # the page of evidence of what holds over all tasks
_NOWHERE = Listed("", -1, None, {})
#: Characters of a name that the files of runs are searched by.
LONGEST_COLUMN = 80
_RUNS_SHOWN = re.compile(r"^[0-9a-f]{32}$")


@dataclass(frozen=True)
class Places:
    """The links of one handbook; all below its root."""

    tasks: Mapping[str, Link]
    runs: Mapping[str, Link]
    listed: Mapping[str, Listed]
    known: Mapping[str, Run]
    names: frozenset[str]

    def task(self, name: str | None) -> Link | None:
        """Returns the link to a task by its id or its name, words alone where there is no such task."""
        if not name:
            return None
        return self.tasks.get(name) or Link(plain(name, 80), "")

    def run(self, run_id: str) -> tuple[str, str]:
        """Returns where a point of a chart leads and who it is."""
        link, run = self.runs.get(run_id), self.known.get(run_id)
        if not link or not run:
            return "", f"run {short(run_id)}"
        seed = "" if run.seed is None else f" · seed {run.seed}"
        return link.href, f"run {link.text}{seed}"

    def in_list(self, run_id: str) -> Listed:
        """Returns where a run is listed for the charts; the number is -1 where it is not."""
        return self.listed.get(run_id, _NOWHERE)

    def hyperparameter(self, name: str) -> Link:
        """Returns the link to a hyperparameter's page, words alone where it has none."""
        href = f"hyperparameters/{slug(name)}.html" if name in self.names else ""
        return Link(name, href)


def evidence_of(task: str) -> str:
    """Returns the page of evidence of the task that has this page."""
    return f"evidence/{task.removeprefix('tasks/')}"


def runs_anchor(run_ids: Sequence[str]) -> str:
    """Returns the element id of a set of runs."""
    return f"runs-{digest(chr(10).join(run_ids))}"


def places(knowledge: Knowledge, names: Iterable[str]) -> Places:
    """Returns where everything stands."""
    tasks: dict[str, Link] = {}
    runs: dict[str, Link] = {}
    listed: dict[str, Listed] = {}
    for task in knowledge.tasks:
        link = Link(plain(task.name, 80), f"tasks/{slug(task.task_id)}.html")
        tasks[task.task_id] = link
        file, own = runs_file(link.href), [name for name in varying(task) if len(name) <= LONGEST_COLUMN]
        for number, run in enumerate(task.runs):
            values = {name: run.parameters[name].number for name in own if name in run.parameters}
            listed[run.run_id] = Listed(file, number, run.objective, values)
            runs[run.run_id] = Link(short(run.run_id), f"{link.href}#{anchor('run', run.run_id)}")
    for task in knowledge.tasks:
        tasks.setdefault(task.name, tasks[task.task_id])
    return Places(tasks, runs, listed, knowledge.runs, frozenset(names))


def runs_file(task_href: str) -> str:
    """Returns the file that lists the runs of a task for the charts, given the task's page."""
    return f"runs/{task_href.removeprefix('tasks/').removesuffix('.html')}.js"


def short(run_id: str) -> str:
    """Returns the first eight characters of an MLflow run id, another id cut where it is long."""
    return run_id[:8] if _RUNS_SHOWN.match(run_id) else plain(run_id, 24)


def store(source: str) -> Store:
    """Returns how to open a source in the MLflow UI.

    A file is named without its folder: a handbook is handed on, and where it was made is nobody's business.
    """
    cleaned = plain(without_password(source), 300)
    if cleaned.startswith(("http://", "https://")):
        return Store(cleaned, cleaned.rstrip("/"), "")
    scheme, separator, path = cleaned.rpartition("://")
    if scheme in ("sqlite", "") or scheme.startswith("file"):
        kept = path.rstrip("/").rpartition("/")[2]
        cleaned = f"{scheme}:///{kept}" if separator else kept
    is_store = bool(separator) and not is_lake(source) and not cleaned.endswith((".csv", ".parquet"))
    return Store(cleaned, "", f"mlflow ui --backend-store-uri {shlex.quote(cleaned)}" if is_store else "")


def without_password(source: str) -> str:
    """Returns an address without the user and password that may stand in it."""
    try:
        parts = urlsplit(source)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=host)) if "@" in parts.netloc else source
    except ValueError:  # no address at all
        return source


def run_in_ui(place: Store, run_id: str) -> str:
    """Returns the address of a run in a served MLflow UI, nothing for a store that is a file."""
    return f"{place.ui}/#/runs/{quote(run_id, safe='')}" if place.ui else ""


def value(run: Run, name: str) -> str:
    """Returns a run's value of a hyperparameter as people write it."""
    parameter = run.parameters.get(name)
    if parameter is None:
        return "–"
    return plain(parameter.text, 40) if parameter.number is None else formats.number(parameter.number)


def varying(task: Task) -> tuple[str, ...]:
    """Returns the hyperparameters that are part of a configuration and differ between the task's runs.

    Of two that have the same value in every run (batch size and micro batch size, say) the first is enough.
    """
    from hpkb.configuration import in_configuration
    from hpkb.names import rank_of

    columns: dict[str, list[str | None]] = {}
    for i, run in enumerate(task.runs):
        for name, parameter in run.parameters.items():
            if in_configuration(name):
                columns.setdefault(name, [None] * len(task.runs))[i] = parameter.text
    found: dict[tuple[str | None, ...], str] = {}
    for name in sorted(columns, key=rank_of):
        if len({text for text in columns[name] if text is not None}) > 1:
            found.setdefault(tuple(columns[name]), name)
    return tuple(found.values())
