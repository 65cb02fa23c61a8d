"""Averages of the weights over steps: torch's AveragedModel, and the moving averages of common libraries.

They count once they are updated; one that a script makes and never updates averages nothing.
"""

from __future__ import annotations

from typing import Any, Callable  # torch has imported it by now

from .imports import when_imported
from .optimizer import number
from .patch import call_after
from .session import Session

_LIBRARIES = (  # module, class, the method that updates it, the attribute that is its decay
    ("timm.utils.model_ema", "ModelEma", "update", "decay"),
    ("timm.utils.model_ema", "ModelEmaV2", "update", "decay"),
    ("timm.utils.model_ema", "ModelEmaV3", "update", "decay"),
    ("torch_ema.ema", "ExponentialMovingAverage", "update", "decay"),
    ("ema_pytorch.ema_pytorch", "EMA", "update", "beta"),
    ("diffusers.training_utils", "EMAModel", "step", "decay"),
)


def watch_averaging(torch: Any) -> None:
    """Hooks the updates of averaged models."""
    call_after(torch.optim.swa_utils.AveragedModel, "update_parameters", _of_torch)
    for module in dict.fromkeys(name for name, *_ in _LIBRARIES):
        when_imported(module, _on_library)


def _on_library(module: Any) -> None:
    for name, kind, method, attribute in _LIBRARIES:
        if name == module.__name__ and method in vars(getattr(module, kind, object)):
            call_after(getattr(module, kind), method, _updated(attribute))


def _updated(attribute: str) -> Callable[[Session, Any, tuple[Any, ...], dict[str, Any]], None]:
    def note(live: Session, _result: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        if live.parameter("weight_averaging") is None:
            _record(live, "ema", getattr(args[0], attribute, None))

    return note


def _of_torch(live: Session, _result: None, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    """Tells a plain average from a moving one, whose decay torch's own function keeps in its closure."""
    if live.parameter("weight_averaging") is not None:
        return
    average = getattr(args[0], "multi_avg_fn", None) or getattr(args[0], "avg_fn", None)
    name = getattr(average, "__qualname__", "")
    if average is None or name.startswith(("get_swa_avg_fn", "get_swa_multi_avg_fn")):
        _record(live, "swa", None)
    elif name.startswith(("get_ema_avg_fn", "get_ema_multi_avg_fn")):
        while hasattr(average, "__wrapped__"):  # by `torch.no_grad`
            average = average.__wrapped__
        held = dict(zip(average.__code__.co_freevars, average.__closure__ or ()))
        _record(live, "ema", held["decay"].cell_contents if "decay" in held else None)


def _record(live: Session, kind: str, decay: Any) -> None:
    decay = number(decay)
    live.params({"weight_averaging": kind, **({} if decay is None else {"ema_decay": decay})}, "averaging")
