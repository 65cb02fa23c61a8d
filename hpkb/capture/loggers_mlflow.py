"""MLflow as the script itself uses it: its metrics, its parameters, and the run that it starts.

Where the script's run can be the run that this job is shipped to, it becomes that (`mlflow_run.py`). What the script
then logs is in that run already, so it is not recorded once more, except under names that capture uses itself.
"""

from __future__ import annotations

import functools

from .loggers import argument, record_configuration, record_metrics, watch_logger
from .metric_names import CURVES
from .mlflow_run import OwnRuns
from .session import Session, current
from .tracebacks import leave_out_this_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def watch_client(module: Any) -> None:
    """Hooks the client's methods, through which the fluent functions and autologging go too."""
    client = module.MlflowClient
    client.log_param = _forgiving(client.log_param, _without_param)
    client.log_batch = _forgiving(client.log_batch, _without_params)
    watch_logger(client, "log_metric", _metric)
    watch_logger(client, "log_param", _param)
    watch_logger(client, "log_batch", _batch)


def _metric(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    name, value = argument(args, kwargs, 2, "key"), argument(args, kwargs, 3, "value")
    _record(live, argument(args, kwargs, 1, "run_id"), {name: value}, argument(args, kwargs, 5, "step"))


def _param(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    record_configuration(live, "MLflow", {argument(args, kwargs, 2, "key"): argument(args, kwargs, 3, "value")})


def _batch(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    by_step: dict[Any, dict[str, Any]] = {}
    for metric in argument(args, kwargs, 2, "metrics", ()):
        by_step.setdefault(metric.step, {})[metric.key] = metric.value
    for step, metrics in by_step.items():
        _record(live, argument(args, kwargs, 1, "run_id"), metrics, step)
    record_configuration(live, "MLflow", {one.key: one.value for one in argument(args, kwargs, 3, "params", ())})


def _record(live: Session, run_id: Any, metrics: dict[str, Any], step: Any) -> None:
    if live.part(OwnRuns).is_shipped_to(run_id):
        metrics = {name: value for name, value in metrics.items() if name in CURVES}
    record_metrics(live, "MLflow", metrics, step)


def _forgiving(original: Any, without: Callable[..., Any]) -> Any:
    """Returns the method, for which a parameter that capture has put into the shared run before is no error.

    A parameter of MLflow cannot change, so that without this a script would fail only because it is captured.
    """

    @functools.wraps(original)
    def log(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except Exception as error:
            leave_out_this_frame(error)
            live = current()
            if live is None or "Changing param values" not in str(error):
                raise
            if not live.part(OwnRuns).is_shipped_to(argument(args, kwargs, 1, "run_id")):
                raise
            again = without(live, original, args, kwargs)
            if again is None:
                raise
        return again()

    return log


def _without_param(live: Session, _original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name, value = argument(args, kwargs, 2, "key"), argument(args, kwargs, 3, "value")
    return (lambda: value) if _is_captures(live, name, value) else None


def _without_params(live: Session, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    params = list(argument(args, kwargs, 3, "params", ()))
    others = [one for one in params if not _is_captures(live, one.key, one.value)]
    if len(others) == len(params):
        return None
    if len(args) > 3:
        return lambda: original(*args[:3], others, *args[4:], **kwargs)
    return lambda: original(*args, **{**kwargs, "params": others})


def _is_captures(live: Session, name: Any, value: Any) -> bool:
    """Whether capture has recorded another value under the name, and the script none that differs."""
    recorded, own = live.parameter(str(name)), live.parameter(f"config.{name}")
    return recorded is not None and str(recorded) != str(value) and own in (None, value, str(value))
