"""TensorBoard's SummaryWriter, torch's and that of tensorboardX: scalars and hyperparameters."""

from __future__ import annotations

import os

from .loggers import argument, record_configuration, record_metrics, watch_logger
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLACEHOLDER = ("hp_metric", -1)  # what Lightning writes where a run has no metric yet


def watch_tensorboard(writer: Any) -> None:
    """Hooks the writer of the module."""
    watch_logger(writer.SummaryWriter, "add_scalar", _scalar)
    watch_logger(writer.SummaryWriter, "add_scalars", _scalars)
    watch_logger(writer.SummaryWriter, "add_hparams", _hyperparameters)


class Writers:
    """Which writer of a session used a tag first; `runs/train` and `runs/val` often share theirs."""

    def __init__(self, _live: Session) -> None:
        self._first: dict[str, str] = {}

    def tag(self, writer: Any, tag: str) -> str:
        """Returns the tag, behind the name of the writer's folder where another writer has used it first."""
        folder = str(getattr(writer, "log_dir", None) or getattr(writer, "logdir", None))
        if self._first.setdefault(tag, folder) == folder:
            return tag
        return f"{os.path.basename(os.path.normpath(folder))}/{tag}"


def _scalar(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    tag, value = argument(args, kwargs, 1, "tag"), argument(args, kwargs, 2, "scalar_value")
    if (tag, value) != _PLACEHOLDER:
        _record(live, args, kwargs, {tag: value})


def _scalars(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    main = argument(args, kwargs, 1, "main_tag")
    values = argument(args, kwargs, 2, "tag_scalar_dict")
    _record(live, args, kwargs, {f"{main}/{tag}": value for tag, value in values.items()})


def _record(live: Session, args: tuple[Any, ...], kwargs: dict[str, Any], values: dict[str, Any]) -> None:
    writers = live.part(Writers)
    step = argument(args, kwargs, 3, "global_step")
    record_metrics(live, "TensorBoard", {writers.tag(args[0], tag): value for tag, value in values.items()}, step)


def _hyperparameters(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    record_configuration(live, "TensorBoard", argument(args, kwargs, 1, "hparam_dict"))
    record_metrics(live, "TensorBoard", argument(args, kwargs, 2, "metric_dict"))
