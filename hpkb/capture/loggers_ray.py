"""Ray Train and Ray Tune: the metrics that a worker reports.

Ray ends its workers without letting them come to their own end, so that what capture keeps until the next optimizer
step, as the loss of the last evaluation, is never told. What the worker reports itself is recorded at once.
"""

from __future__ import annotations

from .loggers import argument, record_metrics, watch_logger
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def watch_report(module: Any) -> None:
    """Hooks `report`, which `ray.train` and `ray.tune` take from this module."""
    watch_logger(module, "report", _reported)


def _reported(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    record_metrics(live, "Ray", argument(args, kwargs, 0, "metrics"))
