"""The number format of the forward pass, and the steps that the gradient scaler skipped."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any, Iterable, Optional  # torch has imported it by now

from .modules import all_parameters, descendants
from .patch import Replaced, call_after
from .session import Session, current

_SHARE = 0.9  # of the parameters in the format that is told

_autocast: list[Any] = []  # formats entered with gradients on, the last one last
_replaced = Replaced()


def watch_scaler(torch: Any) -> None:
    """Hooks the gradient scaler."""
    call_after(getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler, "step", _scaler_stepped)


def watch_autocast(torch: Any) -> None:
    """Hooks `autocast`, from the making of the first optimizer to its first step."""
    _autocast.clear()
    owner = torch.autocast
    original = owner.__enter__

    @functools.wraps(original)
    def __enter__(self: Any) -> Any:
        if current() is not None and getattr(self, "_enabled", False) and torch.is_grad_enabled():
            _autocast[:] = [self.fast_dtype]
        return original(self)

    _replaced.put(owner, "__enter__", __enter__)


def unwatch_autocast() -> None:
    """Puts torch's own `autocast` back."""
    _replaced.restore()


def precision(models: list[Any], parameters: Iterable[Any], compiled: Optional[bool]) -> Optional[str]:
    """Returns "float32", "bfloat16-mixed" and the like; None where formats are mixed or cannot be seen."""
    held = {id(p): p for p in parameters}
    for model in models:
        held.update(all_parameters(model))
    sizes: Counter[str] = Counter()
    for parameter in held.values():
        if parameter.dtype.is_floating_point:
            sizes[str(parameter.dtype).rpartition(".")[2]] += parameter.numel()
    if not sizes or sizes.most_common(1)[0][1] < _SHARE * sum(sizes.values()) or _has_policy(models):
        return None
    stored = sizes.most_common(1)[0][0]
    if _autocast:
        mixed = str(_autocast[0]).rpartition(".")[2]
        return stored if mixed == stored else mixed + "-mixed"
    # An `autocast` inside of what torch.compile compiles need not be called as a function of Python.
    return None if stored == "float32" and compiled is not False else stored


def _has_policy(models: list[Any]) -> bool:
    """Whether the model's wrapper computes in a format other than that of the parameters."""
    names = {base.__name__ for model in models for _, part in descendants(model) for base in type(part).__mro__}
    return bool(names & {"FullyShardedDataParallel", "FSDPModule", "DeepSpeedEngine"})


def _scaler_stepped(live: Session, _result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Counts a step that the scaler skipped: the optimizer did not take one."""
    from .training import training_of

    training = training_of(live)
    scaler, optimizer = args[0], args[1] if len(args) > 1 else kwargs["optimizer"]
    counts = training.__dict__.setdefault("scaler_steps", {})
    if not scaler.is_enabled() or getattr(optimizer, "_step_supports_amp_scaling", False):
        return  # a fused optimizer takes the step and leaves it without effect
    if not counts:
        live.closing.append(lambda: live.params({"grad_scaler.skipped_steps": skipped_steps(counts)}, "precision"))
    track = training._tracks.get(id(optimizer))
    stepped_at = track.stepped_at if track is not None else -1
    last, skipped = counts.get(id(optimizer), (-1, 0))
    counts[id(optimizer)] = (stepped_at, skipped + (stepped_at == last))


def skipped_steps(counts: dict[int, tuple[int, int]]) -> int:
    """Returns the steps skipped, over all optimizers."""
    return sum(skipped for _, skipped in counts.values())
