"""Options and arguments that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from hpkb.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

KB = click.option(
    "--kb", default="hpkb.duckdb", show_default=True, metavar="FILE", help="The knowledge base."
)
TRACKING = click.option(
    "--tracking-uri",
    metavar="URI",
    help="The MLflow store. Default: MLFLOW_TRACKING_URI, then sqlite:///mlflow.db.",
)
EXPERIMENTS = click.option(
    "--experiment", "experiments", multiple=True, metavar="NAME", help="Only this experiment; can be repeated."
)
CORRECTIONS = click.option(
    "--corrections",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What the store does not say right: names, tasks, objectives. Default: hpkb.toml where there is one.",
)

ENGINE = click.option(
    "--engine",
    default="local",
    show_default=True,
    metavar="local|ray|ray://HOST:PORT",
    help="Where the work is done: processes of this machine, Ray on this machine, a Ray cluster.",
)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Processes on this machine. Default: the cores there are.",
)


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def format_option(*choices: str) -> Callable[[Command], Command]:
    """The option --format with these choices."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice(choices),
        default="table",
        show_default=True,
        help="How to print it; json is one document and nothing else.",
    )


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE arguments as a mapping; raises UsageError for one that is none."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} takes NAME=VALUE, not '{text}'.")
        found[name.strip()] = value
    return found
