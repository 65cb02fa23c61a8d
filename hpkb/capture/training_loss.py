"""What a training loss is made of: one call of a loss function, or something else."""

from __future__ import annotations

from typing import Any, Optional  # torch has imported it by now

from .loss_functions import Call

_MARK = "hpkb.loss"
_CONSTANT_FACTOR = ("DivBackward0", "MulBackward0")
_MEAN = ("MeanBackward0", "MeanBackward1")
_SAME_VALUE = ("ToCopyBackward0", "SqueezeBackward0", "ViewBackward0", "AliasBackward0", "CloneBackward0")


def function_behind(loss: Any) -> Optional[str]:
    """Returns the loss function that gave a loss, but for a constant factor; None for a sum or an unknown one."""
    node = loss.grad_fn
    averaged = False
    for _ in range(8):
        if node is None:
            return None
        mark: Optional[str] = node.metadata.get(_MARK)
        if mark is not None:
            return mark
        inputs = [following for following, _ in node.next_functions if following is not None]
        kind = type(node).__name__
        averaged = averaged or kind in _MEAN
        if len(inputs) != 1 or kind not in _SAME_VALUE + _MEAN + (() if averaged else _CONSTANT_FACTOR):
            return None  # a factor under a mean is a weight of each example
        node = inputs[0]
    return None


def mark(call: Call) -> None:
    """Leaves a mark on the autograd node of a training's loss."""
    node = getattr(call.result, "grad_fn", None)
    if node is not None:
        node.metadata[_MARK] = call.name
