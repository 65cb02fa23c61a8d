"""What `hpkb import SOURCE` is given: a store is known by what is there, decided here and nowhere else.

| what is there | source |
| --- | --- |
| `sqlite:///studies.db` or another URI, or a SQLite file | Optuna's or MLflow's store, as `open_source` knows it |
| a file of lines with `op_code` | Optuna's journal |
| a folder with `run-ID.wandb` in it or below | W&B's own folders |
| a folder with `config.json`, `history.jsonl` and the like, or a table of `config`, `summary` | a W&B export |
| a folder with event files | TensorBoard |
| a folder with experiments' `meta.yaml` | an MLflow file store |
| a Parquet or CSV file | a table with one row a run |

A folder with several of them is refused, since the same runs may lie in it twice. Event files in a W&B run's folder
are that run's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpkb.errors import SourceError, UsageError
from hpkb.sources import (
    Source,
    mlflow_files,
    open_source,
    optuna_storage,
    tensorboard,
    wandb_export,
    wandb_offline,
)
from hpkb.sources.relabelled import Relabelled
from hpkb.sources.table import Layout, TableSource
from hpkb.sources.tensorboard_folders import event_files

_SQLITE = b"SQLite format 3\0"
_URI = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_OF_WANDB = re.compile(r"(offline-)?run-\d{8}_\d{6}-")
_KNOWN = (
    "a table (.parquet, .csv), a folder of W&B, TensorBoard or MLflow, a W&B export (.json, .csv) or an Optuna storage "
    "(sqlite:///studies.db, journal.log)"
)


@dataclass(frozen=True)
class Import:
    """An opened source, and the objective that holds for its tasks; None where the source states its own."""

    source: Source
    objective: str | None


def open_import(path: str, layout: Layout, curves: Path | None) -> Import:
    """Returns the source at a path or URI, opened, with what the layout says of it.

    Raises SourceError where there is nothing that can be imported, UsageError for an option that is of no use there.
    """
    opener = _opener(path)
    if opener is None:
        return Import(TableSource(path, layout, curves), None)
    _check_layout(path, layout, curves)
    source = opener()
    named = layout.mapping or layout.fixed or layout.seed_column or layout.task_column
    return Import(Relabelled(source, layout) if named else source, layout.objective)


def _opener(path: str) -> Callable[[], Source] | None:
    """What opens the store; None for a table."""
    if _URI.match(path):
        return lambda: open_source(path)
    place = Path(path)
    if place.is_dir():
        return _folder_opener(place)
    if not place.exists():
        raise SourceError(f"Nothing at '{path}'. Give {_KNOWN}.")
    if _is_sqlite(place):
        return lambda: open_source(f"sqlite:///{place.absolute()}")
    if optuna_storage.is_journal(place):
        return lambda: optuna_storage.of_journal(place)
    if wandb_export.is_export(place):
        return lambda: wandb_export.WandbExport(place)
    return None


def _folder_opener(folder: Path) -> Callable[[], Source]:
    openers = _folder_openers(folder)
    if len(openers) > 1:
        kinds = " and ".join(openers)
        raise SourceError(f"'{folder}' has {kinds} in it. Import them one by one, each with its own folder.")
    if not openers:
        raise SourceError(f"Nothing to import in '{folder}'. Give {_KNOWN}.")
    return next(iter(openers.values()))


def _folder_openers(folder: Path) -> Mapping[str, Callable[[], Source]]:
    """What is in the folder, and what opens it."""
    if mlflow_files.is_store(folder):
        return {"an MLflow file store": lambda: mlflow_files.MlflowFiles(folder)}
    found: dict[str, Callable[[], Source]] = {}
    if wandb_offline.is_wandb(folder):
        found["W&B runs"] = lambda: wandb_offline.WandbOffline(folder)
    elif wandb_export.is_export(folder):
        found["a W&B export"] = lambda: wandb_export.WandbExport(folder)
    if any(not _is_of_wandb(file.relative_to(folder)) for file in event_files(folder)):
        found["TensorBoard runs"] = lambda: tensorboard.TensorBoard(folder)
    return found


def _is_of_wandb(file: Path) -> bool:
    return any(_OF_WANDB.match(part) for part in file.parts)


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _check_layout(path: str, layout: Layout, curves: Path | None) -> None:
    """Refuses the options that are for tables only."""
    infeasible = layout.mapping.get("infeasible")
    given = {"--run-column": layout.run_column, "--curves": curves, "--map infeasible": infeasible}
    for option, value in given.items():
        if value:
            raise UsageError(
                f"{option} is for tables, and '{path}' is none: it has its own run ids, curves and ends."
            )
