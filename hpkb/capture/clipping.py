"""Gradient clipping as the script does it: the bound, the norm before clipping, and how often the bound was exceeded.

Lightning, accelerate and the Hugging Face Trainer call the same two functions of torch. The norm is what the script
computes anyway; it becomes a point of the optimizer step that follows.
"""

from __future__ import annotations

import math
import sys
from typing import Any, Callable, Optional  # torch has imported it by now

from .imports import when_imported
from .losses import read
from .optimizer import number
from .patch import call_after
from .session import Session
from .training import training_of

_NO_BOUND = 1e6  # scripts that only measure the norm clip to infinity, or to something as good
_CURVE = "grad_norm"


def watch_clipping(torch: Any) -> None:
    """Hooks torch's clipping functions, under all names that they have so far, and FSDP's own."""
    utils, module = torch.nn.utils, torch.nn.utils.clip_grad
    for name, then in (("clip_grad_norm_", _clipped_to_norm), ("clip_grad_value_", _clipped_to_value)):
        original = getattr(module, name)
        call_after(module, name, then)
        for namespace in (utils, sys.modules["__main__"]):  # a notebook may have imported it before capture began
            for known in [known for known, value in vars(namespace).items() if value is original]:
                setattr(namespace, known, getattr(module, name))
    when_imported("torch.distributed.fsdp.fully_sharded_data_parallel", _on_fsdp)


def _on_fsdp(module: Any) -> None:
    call_after(module.FullyShardedDataParallel, "clip_grad_norm_", _clipped_to_norm)


def _clipped_to_norm(live: Session, norm: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    training = live.training or training_of(live)
    bound = args[1] if len(args) > 1 else kwargs.get("max_norm")
    kind = args[2] if len(args) > 2 else kwargs.get("norm_type", 2.0)
    (training.clipping or _clipping(training)).note(norm, bound if type(bound) is float else number(bound), kind)


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

    def __init__(self, training: Any) -> None:
        self._training = training
        self._live: Session = training.live
        self._in_parts = False
        self._recorded = False  # the bound
        self._bound: Optional[float] = None  # of the call that waits for its step
        self._usual: Optional[float] = math.nan  # the bound of the call before, where only the norm is to be read
        self._limit: Optional[float] = None  # of the counter
        self._counter: Optional[Callable[[float], None]] = None
        self._at = -1  # the backward passes at that call
        self._measured = self._exceeded = 0  # steps
        self._live.closing.append(self._finish)

    def note(self, norm: Any, bound: Optional[float], kind: float) -> None:
        """Takes note of a call that returned the norm before clipping."""
        training = self._training
        if bound == self._usual and kind == 2 and _CURVE not in training.with_step and norm.is_cpu:  # nearly always
            self._at, self._bound = training.passes, bound
            training.with_step[_CURVE] = (norm.item(), self._counter)
            return
        clips = bound is not None and 0 < bound < _NO_BOUND
        if clips and not self._recorded:
            self._recorded = True
            extra = {} if kind == 2 else {"gradient_clip_norm.type": float(kind)}
            self._live.params({"gradient_clip_norm": bound, **extra}, "clipping")
        if self._in_parts or kind != 2:
            return
        if _CURVE in training.with_step and training.passes == self._at:
            self._again(bound if clips else None)
            return
        reading = norm if type(norm) is float else norm.item() if norm.is_cpu else read(training.torch, norm)
        if reading is not None:
            self._at, self._bound = training.passes, bound if clips else None
            training.clip_measures_norm = True
            training.with_step[_CURVE] = (reading, self._exceeds(self._bound))
            if clips and type(norm) is training.torch.Tensor:
                self._usual = bound

    def _again(self, bound: Optional[float]) -> None:
        """Takes note of a second call after one backward pass; the first may have done nothing but measure."""
        training = self._training
        if self._bound is None and bound is not None:
            self._bound = bound
            training.with_step[_CURVE] = (training.with_step[_CURVE][0], self._exceeds(bound))
            return
        self._in_parts, self._usual = True, math.nan
        training.clip_measures_norm = False
        del training.with_step[_CURVE]

    def _exceeds(self, bound: Optional[float]) -> Optional[Callable[[float], None]]:
        """Returns what counts the norms above a bound, the same one while the bound is the same."""
        if bound is None or bound == self._limit:
            return None if bound is None else self._counter

        def count(norm: float) -> None:
            self._measured += 1
            self._exceeded += norm > bound

        self._limit, self._counter = bound, count
        return count

    def _finish(self) -> None:
        """Records the share of the leading optimizer's steps whose gradients were clipped."""
        if self._measured and not self._in_parts:
            steps = max(self._live.step, self._measured)
            self._live.params({"gradient_clip_share": self._exceeded / steps}, "clipping")
