"""Gradient clipping as the script does it: the bound, the norm before clipping, and how often the bound was exceeded.

Lightning, accelerate and the Hugging Face Trainer call the same two functions of torch. The norm is what the script
computes anyway; it becomes a point of the optimizer step that follows.
"""

from __future__ import annotations

import functools
import math
import sys
from typing import Any, Callable, Optional, Union  # torch has imported it by now

from . import session
from .imports import when_imported
from .losses import Late, read
from .optimizer import number
from .patch import call_after
from .session import Session
from .tracebacks import leave_out_this_frame
from .training import training_of

_NUMBERS = (float, int)
_NO_BOUND = 1e6  # scripts that only measure the norm clip to infinity, or to something as good

Reading = Union[float, Late]
Counter = Optional[Callable[[float], None]]


def watch_clipping(torch: Any) -> None:
    """Hooks torch's clipping functions, under all names that they have so far, and FSDP's own."""
    utils, module = torch.nn.utils, torch.nn.utils.clip_grad
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        original = getattr(module, name)
        if name == "clip_grad_norm_":
            setattr(module, name, _telling(original))
        else:
            call_after(module, name, _clipped_to_value)
        for namespace in (utils, sys.modules["__main__"]):  # a notebook may have imported it before capture began
            for known in [known for known, value in vars(namespace).items() if value is original]:
                setattr(namespace, known, getattr(module, name))
    when_imported("torch.distributed.fsdp.fully_sharded_data_parallel", _on_fsdp)


def _on_fsdp(module: Any) -> None:
    owner = module.FullyShardedDataParallel
    owner.clip_grad_norm_ = _telling(owner.clip_grad_norm_)


def _telling(original: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that also has the norm noted: the usual call in place, as every further call is felt."""

    @functools.wraps(original)
    def clip_grad_norm_(*args: Any, **kwargs: Any) -> Any:
        try:
            norm = original(*args, **kwargs)
        except BaseException as error:
            leave_out_this_frame(error)
            raise
        live = session._current
        if live is None:
            return norm
        try:
            training = live.training or training_of(live)
            clipping = training.clipping or _clipping(training)
            bound = args[1] if len(args) > 1 else kwargs.get("max_norm")
            kind = args[2] if len(args) > 2 else kwargs.get("norm_type", 2.0)
            if type(bound) in _NUMBERS and bound == clipping.usual and kind == 2.0 and clipping.reading is None:
                clipping.at = training.passes
                clipping.reading = norm.item() if norm.is_cpu else read(training.torch, norm)
            else:
                clipping.note(norm, number(bound), kind)
        except Exception as error:
            live.failed(original.__name__, error)
        return norm

    return clip_grad_norm_


def _clipped_to_value(live: Session, _result: None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    bound = number(args[1] if len(args) > 1 else kwargs.get("clip_value"))
    if bound is not None and bound < _NO_BOUND and live.parameter("gradient_clip_value") is None:
        live.params({"gradient_clip_value": bound}, "clipping")


def _clipping(training: Any) -> Clipping:
    """Returns the training's record of its clipping, begun at the first call."""
    if training.clipping is None:
        training.clipping = Clipping(training)
    clipping: Clipping = training.clipping
    return clipping


class Clipping:
    """The clipping to a norm of one training.

    Before a step a script clips once, or once more after each backward pass, of which the last counts. Several calls
    after one pass clip parts of the model; no one of them is the whole gradient's norm, so none is recorded.
    """

    __slots__ = (
        "_in_parts", "_live", "_recorded", "_training", "at", "bound", "exceeded", "measured", "reading", "usual",
    )  # fmt: skip

    def __init__(self, training: Any) -> None:
        self._training = training
        self._live: Session = training.live
        self._in_parts = False
        self._recorded = False  # the bound
        self.reading: Optional[Reading] = None  # of the norm, until the step that follows takes it
        self.bound: Optional[float] = None  # of that call; None where it only measured
        self.at = -1  # the backward passes at that call
        self.usual = math.nan  # the bound of the calls of which only the norm is to be read
        self.measured = self.exceeded = 0  # steps
        self._live.closing.append(self._finish)

    def note(self, norm: Any, bound: Optional[float], kind: float) -> None:
        """Takes note of a call that returned the norm before clipping."""
        training = self._training
        clips = bound is not None and 0 < bound < _NO_BOUND
        if clips and not self._recorded:
            self._recorded = True
            extra = {} if kind == 2 else {"gradient_clip_norm.type": float(kind)}
            self._live.params({"gradient_clip_norm": bound, **extra}, "clipping")
        if self._in_parts or kind != 2:
            return
        if self.reading is not None and training.passes == self.at:
            self._again(bound if clips else None)
            return
        reading = norm if type(norm) is float else norm.item() if norm.is_cpu else read(training.torch, norm)
        if reading is not None:
            self.reading, self.at, self.bound = reading, training.passes, bound if clips else None
            training.clip_measures_norm = True
            plain = type(self.bound) in _NUMBERS and type(norm) is training.torch.Tensor
            self.usual = self.bound if self.bound is not None and plain else math.nan

    def taken(self) -> Counter:
        """Returns what counts the norm that the step has just taken, None where the call did not clip."""
        self.reading, bound = None, self.bound
        if bound is None:
            return None

        def count(norm: float) -> None:
            self.measured += 1
            self.exceeded += norm > bound

        return count

    def _again(self, bound: Optional[float]) -> None:
        """Takes note of a second call after one backward pass; the first may have done nothing but measure."""
        if self.bound is None and bound is not None:
            self.bound = bound
            return
        self._in_parts, self.usual, self.reading = True, math.nan, None
        self._training.clip_measures_norm = False

    def _finish(self) -> None:
        """Records the share of the leading optimizer's steps whose gradients were clipped."""
        if self.measured and not self._in_parts:
            steps = max(self._live.step, self.measured)
            self._live.params({"gradient_clip_share": self.exceeded / steps}, "clipping")
