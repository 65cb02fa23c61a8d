"""The learning rate's schedule in canonical words, with the arguments that the script gave to torch's scheduler."""

from __future__ import annotations

import functools
import inspect
import weakref
from typing import Any, Mapping, NamedTuple  # torch has imported it by now

from .patch import call_after
from .session import Session

_WORDS = {
    "CosineAnnealingLR": "cosine",
    "CosineAnnealingWarmRestarts": "warm_restarts",
    "CyclicLR": "cyclical",
    "ExponentialLR": "exponential",
    "LambdaLR": "lambda",
    "LinearLR": "linear",
    "MultiStepLR": "multistep",
    "MultiplicativeLR": "multiplicative",
    "OneCycleLR": "one_cycle",
    "PolynomialLR": "polynomial",
    "ReduceLROnPlateau": "plateau",
    "StepLR": "step",
}
_CERTAIN = frozenset(
    (
        "constant", "cosine", "cyclical", "exponential", "inverse_sqrt", "linear", "multistep", "one_cycle", "plateau",
        "polynomial", "step", "warm_restarts",
    )
)  # fmt: skip
_NOT_ARGUMENTS = ("self", "optimizer", "last_epoch", "verbose")


class _Made(NamedTuple):
    """One scheduler of the job, without a reference that would keep anything of the job alive."""

    scheduler: weakref.ref[Any]
    kind: str  # its class, with those that it is made of
    word: str  # "" where only the course of the rate shows what it is
    arguments: dict[str, Any]
    is_warmup: bool
    inner: tuple[int, ...]  # the ids of the schedulers that it is made of


_made: dict[int, _Made] = {}  # by the scheduler's id, in the order of their making


def watch_schedulers(lr_scheduler: Any) -> None:
    """Hooks the constructors of torch's schedulers; a class of the script's own is seen through its base."""
    classes = [kind for kind in vars(lr_scheduler).values() if inspect.isclass(kind) and hasattr(kind, "step")]
    for kind in dict.fromkeys(classes):
        if kind.__module__ == lr_scheduler.__name__ and "__init__" in vars(kind):
            _watch(kind)


def _watch(kind: Any) -> None:
    signature = inspect.signature(kind.__init__)

    def note(_live: Session, _result: None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        _note(args[0], kind.__name__, dict(bound.arguments))

    call_after(kind, "__init__", note)


def _note(scheduler: Any, kind: str, arguments: dict[str, Any]) -> None:
    """Notes a scheduler; the outermost of torch's constructors returns last, so its word stands."""
    for number in [number for number, made in _made.items() if made.scheduler() in (None, scheduler)]:
        del _made[number]
    reference, name = weakref.ref(scheduler), type(scheduler).__name__
    if kind in ("LRScheduler", "_LRScheduler"):  # a class of the script's own
        _made[id(scheduler)] = _Made(reference, name, "", {}, False, ())
        return
    inner = tuple(id(part) for part in arguments.get("schedulers", ()))
    parts = [_made[number] for number in inner if number in _made]
    word, plain = _tell(kind, arguments, parts)
    if parts:
        name += f"({', '.join(part.kind for part in parts)})"
    _made[id(scheduler)] = _Made(reference, name, word, plain, _is_warmup(kind, arguments), inner)


def describe_schedule(optimizer: Any) -> dict[str, Any]:
    """Returns `lr_schedule`, its arguments and class as `lr_schedule.NAME`; nothing where there is no scheduler.

    Several schedulers at work at once are joined with a plus. Of a warm-up followed by another schedule the other
    gives its name, and `lr_schedule.warmup` the steps of the scheduler before it.
    """
    mine = [made for made in _made.values() if _drives(made.scheduler(), optimizer)]
    inner = {number for made in mine for number in made.inner}
    outer = [made for made in mine if id(made.scheduler()) not in inner]
    if not outer:
        return {}
    values: dict[str, Any] = {}
    if all(made.word for made in outer):
        values["lr_schedule"] = "+".join(dict.fromkeys(made.word for made in outer))
    for made in outer:
        values.update({f"lr_schedule.{name}": value for name, value in made.arguments.items()})
    values["lr_schedule.class"] = "+".join(dict.fromkeys(made.kind for made in outer))
    return values


def _drives(scheduler: Any, optimizer: Any) -> bool:
    """Whether a scheduler sets the optimizer's rates, through a wrapper (accelerate's) or right away."""
    driven = getattr(scheduler, "optimizer", None)
    return driven is optimizer or (driven is not None and getattr(driven, "optimizer", None) is optimizer)


def is_certain(described: Mapping[str, Any]) -> bool:
    """Whether the word of a described schedule is its shape; torch's LinearLR may as well be a warm-up by itself."""
    rising = described.get("lr_schedule.start_factor", 1) < described.get("lr_schedule.end_factor", 1)
    return described.get("lr_schedule") in _CERTAIN and not rising


def _tell(kind: str, arguments: dict[str, Any], parts: list[_Made]) -> tuple[str, dict[str, Any]]:
    """Returns a scheduler's word and its arguments."""
    if kind == "SequentialLR":
        return _sequence(list(arguments["milestones"]), parts)
    if kind == "ChainedScheduler":
        return _joined(parts), {}
    if kind == "LambdaLR":
        return _function(arguments["lr_lambda"])
    if kind == "ConstantLR":  # torch's holds the rate at a fraction of itself for a while
        return ("constant", {}) if arguments["factor"] == 1 else ("constant_warmup", _plain(arguments))
    return _WORDS.get(kind, ""), _plain(arguments)


def _sequence(milestones: list[int], parts: list[_Made]) -> tuple[str, dict[str, Any]]:
    if len(parts) == 2 and parts[0].is_warmup:
        return parts[1].word, {**parts[1].arguments, "warmup": milestones[0]}
    return _joined(parts), {"milestones": str(milestones)}


def _joined(parts: list[_Made]) -> str:
    words = dict.fromkeys(part.word for part in parts)
    return "" if "" in words else "+".join(words)


def _is_warmup(kind: str, arguments: dict[str, Any]) -> bool:
    if kind == "LinearLR":
        return bool(arguments["start_factor"] < arguments["end_factor"])
    return kind == "ConstantLR" and bool(arguments["factor"] < 1)


def _function(multiplier: Any) -> tuple[str, dict[str, Any]]:
    """Names a schedule that is a function; those of transformers are partial functions with telling names."""
    if not isinstance(multiplier, functools.partial):
        return "lambda", {}
    name = getattr(multiplier.func, "__name__", "")
    words = ("hard_restarts", "cosine", "linear", "polynomial", "inverse_sqrt", "constant")
    word = next((word for word in words if word in name), "lambda")
    return ("warm_restarts" if word == "hard_restarts" else word), _plain(multiplier.keywords)


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments that are numbers, truth values, texts, or lists of numbers (as text)."""
    plain: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in _NOT_ARGUMENTS:
            continue
        if isinstance(value, (bool, int, float, str)):
            plain[name] = value
        elif isinstance(value, (list, tuple)) and all(isinstance(item, (int, float)) for item in value):
            plain[name] = str(list(value))
    return plain
