"""Weights & Biases, in every mode: what is logged to a run, and the run's configuration."""

from __future__ import annotations

from .loggers import argument, record_configuration, record_metrics, watch_logger
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WAYS_TO_SET = ("_update", "__setitem__", "__setattr__", "setdefaults", "update_locked", "merge_locked")


def watch_run(module: Any) -> None:
    """Hooks `Run.log`, which `wandb.log` is once a run has begun."""
    watch_logger(module.Run, "log", _log)


def watch_disabled_run(module: Any) -> None:
    """Hooks the run that `mode="disabled"` gives: what goes nowhere is still a metric."""
    watch_logger(module.NoopRun, "log", _log)


def watch_configuration(module: Any) -> None:
    """Hooks every way into `wandb.config`."""
    for name in _WAYS_TO_SET:
        if hasattr(module.Config, name):
            watch_logger(module.Config, name, _configured)


def _log(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    step = argument(args, kwargs, 2, "step")
    commit = argument(args, kwargs, 3, "commit")
    if step is None:  # the run counts its calls itself, and has counted this one unless more is to come
        counted = getattr(args[0], "step", None)
        step = counted - (commit is not False) if isinstance(counted, int) and counted else counted
        step = step if live.training is None or not live.training.begun else None
    record_metrics(live, "W&B", argument(args, kwargs, 1, "data"), step)


def _configured(live: Session, _result: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    items = getattr(args[0], "_items", None)
    if isinstance(items, dict):
        record_configuration(live, "W&B", {name: value for name, value in items.items() if not name.startswith("_")})
