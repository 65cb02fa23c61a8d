"""The files that exports of W&B runs come in: JSON, JSON lines, YAML, CSV and Parquet, and Python's dictionaries."""

from __future__ import annotations

import ast
import csv
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import yaml

from hpkb.errors import SourceError

_CONFIGS = ("config.json", "config.yaml")
_SUMMARIES = ("wandb-summary.json", "summary.json")
_METAS = ("run.json", "metadata.json", "wandb-metadata.json")
_HISTORIES = ("history.jsonl", "history.json", "history.csv", "history.parquet")
_NAMES = (*_CONFIGS, *_SUMMARIES, *_METAS, *_HISTORIES)
_OF_RUN = frozenset({"config", "summary"})
_BEGINNING = 1 << 20  # bytes in which a table shows what it is
_WORDS = {"nan": math.nan, "NaN": math.nan, "inf": math.inf, "Infinity": math.inf, "null": None, "true": True}
_UNREADABLE = (OSError, ValueError, SyntaxError, RecursionError, yaml.YAMLError, pa.ArrowException)
Row = Mapping[str, Any]


def _none() -> Iterator[Row]:
    return iter(())


@dataclass
class Exported:
    """A run: what it is called, the files that it is in (none for a row of a table), and what they say."""

    id: str
    name: str | None
    files: tuple[Path, ...] = ()
    meta: Row = field(default_factory=dict)
    config: Row = field(default_factory=dict)
    summary: Row = field(default_factory=dict)
    rows: Callable[[], Iterator[Row]] = _none
    damaged_files: int = 0
    damaged_history: int = 0

    def history(self) -> Iterator[Row]:
        """Yields the rows of the history, up to where it can be read."""
        self.damaged_history = 0
        try:
            yield from self.rows()
        except _UNREADABLE:
            self.damaged_history = 1


def run_folders(root: Path) -> Iterator[Path]:
    """Yields the folders that have settings of a run, and its history or summary."""
    for place, _, names in os.walk(root):
        if not {*_CONFIGS}.isdisjoint(names) and not {*_SUMMARIES, *_HISTORIES}.isdisjoint(names):
            yield Path(place)


def runs_of_folder(root: Path) -> Iterator[Exported]:
    """Yields the runs of folders."""
    for folder in sorted(run_folders(root)):
        files = tuple(folder / name for name in _NAMES if (folder / name).exists())
        said = {kind: _first(files, names) for kind, names in (("config", _CONFIGS), ("summary", _SUMMARIES))}
        meta, config, summary = _meta(files), said["config"], said["summary"]
        history = next((file for file in files if file.name in _HISTORIES), None)
        own = folder.parent.name if folder.name == "files" else folder.name
        yield Exported(
            str(_id(meta) or own),
            _text(meta.get("name") or meta.get("display_name")),
            files,
            meta,
            {key: _value(value) for key, value in (config or {}).items() if key != "wandb_version"},
            summary or {},
            partial(_rows, history) if history else _none,
            sum(found is None for found in said.values()),
        )


def is_run_table(path: Path) -> bool:
    """Returns whether a file has a run a row, with its `config` and `summary` in one column each."""
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
                return set(next(csv.reader(file), [])) >= _OF_RUN
        with path.open(encoding="utf-8", errors="replace") as file:
            beginning = file.read(_BEGINNING)
    except OSError as error:
        raise SourceError(f"Cannot read '{path}': {error.strerror}.") from None
    return path.suffix in (".json", ".jsonl") and all(f'"{name}"' in beginning for name in _OF_RUN)


def runs_of_table(path: Path) -> Iterator[Exported]:
    """Yields the runs of a table; raises SourceError where it cannot be read."""
    try:
        rows = list(_rows(path))
    except _UNREADABLE as error:
        raise SourceError(f"Cannot read '{path}': it is damaged, or no export of W&B's ({error}).") from None
    for index, row in enumerate(rows):
        said = {name: _dictionary(row.get(name)) for name in ("config", "summary")}
        history = row.get("history") or []
        yield Exported(
            str(_id(row) or f"{path.name.partition('.')[0]}/{index}"),
            _text(row.get("name")),
            meta={key: value for key, value in row.items() if key not in (*_OF_RUN, "history")},
            config=said["config"] or {},
            summary=said["summary"] or {},
            rows=partial(iter, history),
            damaged_files=sum(found is None for found in said.values()),
        )


def number(value: Any, gaps: bool = True) -> float | None:
    """Returns a number as a double, None for what is none; with `gaps`, a NaN that is no text is none."""
    if isinstance(value, str):
        try:
            return float(value) if value.strip() else None
        except ValueError:
            return None
    if not isinstance(value, (bool, int, float)) or (gaps and value != value):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _first(files: tuple[Path, ...], names: tuple[str, ...]) -> Row | None:
    """What the first of the files with these names says, None where it cannot be read."""
    file = next((file for file in files if file.name in names), None)
    if file is None:
        return {}
    try:
        text = file.read_text(encoding="utf-8")
        said = yaml.safe_load(text) if file.suffix == ".yaml" else json.loads(text)
    except _UNREADABLE:
        return None
    return said if isinstance(said, dict) else None


def _meta(files: tuple[Path, ...]) -> Row:
    """What all files about the run itself say; a `run.json` goes first."""
    said: dict[str, Any] = {}
    for name in reversed(_METAS):
        said |= _first(files, (name,)) or {}
    return said


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a file, each a dictionary."""
    if path.suffix == ".parquet":
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        if path.suffix == ".csv":
            csv.field_size_limit(1 << 30)
            yield from csv.DictReader(file)
        elif path.suffix == ".jsonl":
            yield from (json.loads(line) for line in file if line.strip())
        else:
            yield from _list(json.load(file))


def _list(said: Any) -> list[Row]:
    """The rows of a JSON document: a list, pandas' columns of rows, or one row."""
    if isinstance(said, list):
        return [row for row in said if isinstance(row, dict)]
    columns = [column for column in said.values() if isinstance(column, dict)]
    if len(columns) == len(said) and len({tuple(column) for column in columns}) == 1:
        return [{name: column[key] for name, column in said.items()} for key in columns[0]]
    return [said]


def _dictionary(value: Any) -> Row | None:
    """A dictionary, or one as JSON or as Python's text; None where it is none."""
    if isinstance(value, dict) or not value:
        return value or {}
    try:
        said = json.loads(value)
    except ValueError:
        try:
            said = ast.literal_eval(_Words().visit(ast.parse(value.strip(), mode="eval")))
        except _UNREADABLE:
            return None
    return said if isinstance(said, dict) else None


class _Words(ast.NodeTransformer):
    """Puts numbers for the words that Python writes for them and does not read."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.copy_location(ast.Constant(_WORDS[node.id]), node) if node.id in _WORDS else node


def _value(setting: Any) -> Any:
    """A setting without W&B's wrapping."""
    wrapped = isinstance(setting, dict) and {"value"} <= setting.keys() <= {"value", "desc"}
    return setting["value"] if wrapped else setting


def _id(said: Row) -> Any:
    return said.get("id") or said.get("run_id")


def _text(value: Any) -> str | None:
    return str(value) if value else None
