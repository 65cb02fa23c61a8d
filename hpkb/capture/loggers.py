"""What the script sends to a logger, seen on the way: its metrics, and its configuration as `config.NAME`.

One call often passes through several layers: Lightning's loop calls a logger, that calls TensorBoard's writer. The
outermost of them tells of it, since it has the names that the script gave; those inside keep silent.

A metric is recorded at capture's own step, the optimizer steps taken. The script's own step is a position: it is
recorded as `logged.step` wherever its distance to capture's changes, and holds alone where nothing is trained.
"""

from __future__ import annotations

import sys

from .flatten import flattened
from .metric_names import MetricNames, sending
from .patch import call_after_outermost
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Mapping

    from .patch import Then

_MOST = 1000  # metrics of one call
_DEEPEST = 5  # levels of nested metrics


def watch_logger(owner: Any, name: str, note: Then) -> None:
    """Makes `owner.name` call `note(live, result, args, kwargs)` after itself, unless another logger called it."""
    call_after_outermost(owner, name, sending, note, f"what {name} was given")


def argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str, default: Any = None) -> Any:
    """Returns what a call was given for one of its parameters, by place (a method's own object is 0) or by name."""
    return args[position] if len(args) > position else kwargs.get(name, default)


def nothing(_live: Session, _result: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    """Tells nothing: for a layer whose inner calls are no metrics of the script."""


class Logged:
    """The metrics of one session that went to loggers."""

    def __init__(self, live: Session) -> None:
        self._live = live
        self._names = live.part(MetricNames)
        self._distance = 0

    def record(self, logger: str, metrics: Mapping[Any, Any], step: Any = None) -> None:
        """Records the numbers among the metrics; one on a GPU is read later, without waiting for it."""
        now: dict[str, float] = {}
        late: dict[str, Any] = {}
        for name, value in _flat(metrics, 0):
            number = as_number(value)
            known = self._names.of_logged(name, logger) if number is not None and len(now) < _MOST else None
            if known is None:
                continue
            if type(number) is float:
                now[known] = number
            else:
                late[known] = number
        if now or late:
            at = self._step(step, now)
            if now:
                self._live.points(at, now)
            if late:
                self._live.log(late, at)

    def _step(self, given: Any, values: dict[str, float]) -> int:
        """Returns the step to record at, and adds the script's own to the values where that is news."""
        live = self._live
        own = _whole(given)
        if live.training is None or not live.training.begun:
            return live.step if own is None else own
        if own is not None and own - live.step != self._distance:
            self._distance = own - live.step
            values["logged.step"] = float(own)
        return live.step


def record_metrics(live: Session, logger: str, metrics: Any, step: Any = None) -> None:
    """Records metrics that went to a logger; what is no mapping is left alone."""
    if hasattr(metrics, "items"):
        live.part(Logged).record(logger, metrics, step)


def record_configuration(live: Session, logger: str, content: Any) -> None:
    """Records what a logger was told of the run's configuration, as `config.NAME`."""
    if type(content).__name__ == "DictConfig":  # OmegaConf's
        from omegaconf import OmegaConf

        from .omega import resolved

        plain: Any = OmegaConf.to_container(content, resolve=False)
        content = resolved(plain, plain)
    elif hasattr(content, "items") and not isinstance(content, dict):
        content = dict(content.items())
    values = flattened("config", content)
    live.params({name: value for name, value in values.items() if name != "config"}, logger, opens=live.own_script)


def as_number(value: Any) -> Any:
    """Returns a float, or a tensor of one element that is on a GPU; None for anything else. Waits for no device."""
    if type(value) is float:
        return value
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, getattr(torch, "Tensor", ())):
        return _of_tensor(torch, value)
    if isinstance(value, (int, float)):
        return float(value)
    if getattr(value, "size", None) == 1 and hasattr(value, "item") and hasattr(value, "dtype"):
        return float(value.item()) if str(value.dtype).startswith(("float", "int", "uint", "bool", "bfloat")) else None
    return None


def _of_tensor(torch: Any, value: Any) -> Any:
    if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.is_complex() or value.numel() != 1:
        return None
    if value.is_cpu:
        return float(value.item())
    return value.detach().reshape(()) if value.is_cuda else None


def _flat(metrics: Mapping[Any, Any], depth: int) -> Iterator[tuple[str, Any]]:
    """Yields the metrics by name, those of a nested mapping with a dot in between; W&B keeps its own behind `_`."""
    for name, value in list(metrics.items()):
        if not isinstance(name, str) or not name:
            continue
        if isinstance(value, dict) and depth < _DEEPEST:
            yield from ((f"{name}.{inner}", item) for inner, item in _flat(value, depth + 1))
        elif not name.startswith("_"):
            yield name, value


def _whole(step: Any) -> int | None:
    """Returns a script's step as a whole number, None where it gave none that can be had now."""
    number = None if step is None or isinstance(step, str) else as_number(step)
    return int(number) if type(number) is float and number == number and abs(number) < 2**53 else None
