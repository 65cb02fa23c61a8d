"""Findings and what an analysis did, on a terminal or in a pipe: tables, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hpkb.findings import Finding
from hpkb.names import lookup
from hpkb.vocabulary import AMBIGUOUS

if TYPE_CHECKING:
    from hpkb.demo import DemoReport
    from hpkb.kb.ingest import IngestReport
    from hpkb.kb.judging import TaskSummary
    from hpkb.kb.readings import Question
    from hpkb.pipeline import AnalysisReport

_TASKS = 50  # tasks that a table shows
_FINDINGS = 1_000  # findings that a terminal shows
_WIDTH = 400  # of a table in a pipe
_OTHERS = 12  # names of their own that a dry run lists
_FLAT = json.JSONEncoder(separators=(",\n  ", ": "))
_EMOJI = re.compile(r":\S+:")  # which rich would replace
_STYLE = {"supported": "green", "rejected": "red", "insufficient": "dim"}
_CSV = (
    *("id", "miner", "task", "hyperparameters", "quantity", "verdict", "estimate", "low", "high"),
    *("unit", "p_value", "q_value", "n_runs", "claim"),
)


@contextmanager
def stages(stream: IO[str]) -> Iterator[Callable[[str], None]]:
    """Yields a function that shows the stage now running; on a terminal only."""
    console = Console(file=stream)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("starting") as status:
        yield lambda text: status.update(escape(text))


def findings(found: Sequence[Finding], format_: str) -> Iterator[str]:
    """Yields the findings as a JSON array or CSV, in parts: there may be thousands."""
    if format_ == "json":
        yield from _json(found)
    else:
        yield _csv(found)


def claims(found: Sequence[tuple[str | None, str, str]]) -> str:
    """Returns a table of task, verdict and claim."""
    if not found:
        return "No findings. Try: hpkb analyze"
    rows = [("all tasks" if task is None else task, verdict, claim) for task, verdict, claim in found]
    if not Console().is_terminal and (plain := _plain_table([("task", "verdict", "finding"), *rows])):
        return plain
    shown = rows[:_FINDINGS] if Console().is_terminal else rows
    table = Table("task", "verdict", "finding", box=None, pad_edge=False)
    for task, verdict, claim in shown:
        table.add_row(escape(task), f"[{_STYLE[verdict]}]{verdict}[/]", escape(claim))
    more = len(rows) - len(shown)
    told = f"and {more:,} more: choose with --task, --miner or --verdict; --format csv has all" if more else ""
    return "\n".join([text(table), *([told] if told else [])])


def _plain_table(rows: Sequence[Sequence[str]]) -> str | None:
    """The rows as `text` would print them to a pipe; None where it takes more than padding. Rich takes 0.5 ms a row."""
    cells = [cell for row in rows for cell in row]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    if sum(widths) + 2 * len(widths) > _WIDTH or not all(c.isprintable() and not _EMOJI.search(c) for c in cells):
        return None
    return "\n".join("  ".join(map(_padded, row, widths)).rstrip() for row in rows)


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - cell_len(cell))


def _json(found: Sequence[Finding]) -> Iterator[str]:
    """The array as `json.dumps` indents it; a list of runs that many findings have is made a text once."""
    lists: dict[int, str] = {}
    for number, finding in enumerate(found):
        runs = id(finding.run_ids)
        if runs not in lists:
            lists[runs] = _json_list(finding.run_ids)
        yield (",\n " if number else "[\n ") + _json_object(finding, lists[runs])
    yield "\n]\n" if found else "[]\n"


def _json_object(finding: Finding, runs: str) -> str:
    document = finding.to_json(runs=False)
    lists = {name: _json_list(value) for name, value in document.items() if isinstance(value, list)}
    inner = _FLAT.encode({**document, **{name: [] for name in lists}})[1:-1]
    for name, listed in (lists | {"run_ids": runs}).items():
        inner = inner.replace(f'"{name}": []', f'"{name}": {listed}', 1)  # within a text, a quote has a backslash
    return f"{{\n  {inner}\n }}"


def _json_list(values: Iterable[str]) -> str:
    lines = ",\n   ".join(map(json.dumps, values))
    return f"[\n   {lines}\n  ]" if lines else "[]"


def analysis(report: AnalysisReport, format_: str) -> str:
    """Returns what an analysis did: what came in, what was found, where the pages are."""
    if format_ == "json":
        return json.dumps(report.to_json(), indent=1)
    lines = [] if report.ingested is None else [ingested(report.ingested)]
    lines.append(f"{report.n_runs} runs with an outcome, on {_count(report.n_tasks, 'task')}")
    if report.verdicts:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in report.verdicts.items())
        lines.append(f"{_count(sum(report.verdicts.values()), 'finding')}: {counts}")
    if report.handbook:
        lines.append(f"Handbook: {report.handbook / 'index.html'}")
    if report.published:
        lines.append(f"In MLflow: experiment 'hpkb handbook', run {report.published}")
    if report.dry_run:
        return "\n".join([*lines, *names(report), "", "Dry run: nothing was written."])
    return "\n".join([*lines, *_open_questions(report.questions)])


def names(report: AnalysisReport) -> list[str]:
    """Returns what the names of a store were read as, and what is asked of them with the answers' form."""
    known = [r for r in report.readings if lookup(r.name) or r.name.startswith(AMBIGUOUS)]
    recorded: dict[str, list[str]] = {}
    for reading in known:
        recorded.setdefault(reading.name, []).append(f"{reading.recorded} ({_count(reading.n_runs, 'run')})")
    table = Table("hyperparameter", "read from", box=None, pad_edge=False)
    for name, sources in recorded.items():
        table.add_row(escape(name), escape(", ".join(sources)))
    others = sorted({r.name for r in report.readings} - recorded.keys())
    lines = ["", text(table)] if known else []
    if others:
        more = f" and {len(others) - _OTHERS} more" if len(others) > _OTHERS else ""
        lines += ["", f"Kept under their own names: {', '.join(others[:_OTHERS])}{more}"]
    for question in report.questions:
        lines += [
            "",
            f"{question.asks} For example:",
            *(f"    {line}" for line in question.answer.splitlines()),
        ]
    return lines


def _open_questions(questions: Sequence[Question]) -> list[str]:
    if not questions:
        return []
    asked = _count(len(questions), "question")
    return [f"{asked} about names: hpkb analyze --dry-run asks them and shows how to answer."]


def demo(trained: DemoReport, report: AnalysisReport) -> str:
    """Returns what the demo did and where to go on."""
    ran = f"{trained.trained} runs in {trained.seconds:.0f} s" + (
        f", {trained.skipped} before" * bool(trained.skipped)
    )
    lines = [ran, analysis(report, "table")]
    if not report.verdicts.get("supported"):
        lines.append("So few runs support no claim. The full demo goes on from these: hpkb demo")
    lines.append(f"Open it:  hpkb browse {report.handbook}    or the file itself in a browser")
    lines.append(f"The runs: mlflow ui --backend-store-uri {trained.tracking_uri}")
    return "\n".join(lines)


def ingested(report: IngestReport) -> str:
    """Returns what came in from a store, in a line, and what had to be altered on the way, in lines of their own."""
    changes = (
        f"{report.new} new, {report.changed} changed, {report.removed} removed, {report.unchanged} as before"
    )
    lines = [f"{report.source}: {changes}; {report.points:,} points read", *report.notes]
    if report.tasks_shown:
        lines.append(tasks(report.tasks_shown))
    if report.without_objective:
        lines.append(
            f"No objective is known for {', '.join(report.without_objective)}. "
            "Give one: --objective METRIC:min or METRIC:max, or in hpkb.toml"
        )
    return "\n".join(lines)


def tasks(shown: Sequence[TaskSummary]) -> str:
    """Returns a table of tasks: how many runs each has, what made them one task, what it is judged by and why."""
    table = Table("task", "runs", "grouped by", "objective", "because", box=None, pad_edge=False)
    for task in shown[:_TASKS]:
        cells = (task.task, str(task.n_runs), task.grouped_by, task.objective or "none", task.reason)
        table.add_row(*map(escape, cells))
    more = (
        [f"and {_count(len(shown) - _TASKS, 'task')} more; --format json lists all"]
        if len(shown) > _TASKS
        else []
    )
    return "\n".join([text(table), *more])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _csv(found: Sequence[Finding]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for finding in found:
        row = finding.to_json()
        writer.writerow(row | {"hyperparameters": " ".join(finding.hyperparameters)})
    return out.getvalue()


def text(table: Table) -> str:
    """Returns the table as text: coloured and as wide as the terminal, or plain and unwrapped for a pipe."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
