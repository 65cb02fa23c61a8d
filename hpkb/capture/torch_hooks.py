"""The hooks on torch: optimizer steps, backward passes, schedulers, DataLoaders, and the scaling of mixed precision."""

from __future__ import annotations

import functools
from typing import Any  # torch has imported it by now

from . import session
from .averaging import watch_averaging
from .batches import watch_batches
from .checkpoints import watch_checkpoints
from .clipping import watch_clipping
from .compilation import watch_compile
from .imports import when_imported
from .initialization import watch_initialization
from .loss_functions import watch_loss_functions
from .modules import unwatch_modules, watch_modules
from .optimizer import number
from .outcome import watch_states
from .patch import call_after
from .precision import watch_scaler
from .regularization import watch_mixing
from .scheduler import watch_schedulers
from .session import Session
from .splitting import watch_random_split
from .tracebacks import leave_out_this_frame
from .training import training_of


def watch_torch(torch: Any) -> None:
    """Hooks a torch that has just been imported."""
    from torch.optim import lr_scheduler
    from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

    when_imported("torch._dynamo", _skip_capture)
    register_optimizer_step_post_hook(_stepped)
    call_after(Optimizer, "__init__", _created)
    watch_modules(torch)
    watch_initialization(torch)
    watch_compile(torch)
    watch_scaler(torch)
    _watch_backward(torch)
    watch_loss_functions(torch)
    watch_mixing(torch)
    watch_checkpoints(torch)
    watch_states(torch)
    watch_schedulers(lr_scheduler)
    watch_clipping(torch)
    watch_averaging(torch)
    call_after(getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler, "scale", _scaled)
    watch_random_split(torch)
    watch_batches(torch)


def _skip_capture(dynamo: Any) -> None:
    """Tells torch.compile to run capture as it is rather than to compile it along with the job."""
    from torch._dynamo import trace_rules

    unwatch_modules()
    trace_rules.add(__package__)


def _stepped(optimizer: Any, args: Any, kwargs: Any) -> None:
    live = session._current
    if live is not None:
        try:
            alone = len(args) == 1 and not kwargs
            closure = None if alone else args[1] if len(args) > 1 else kwargs.get("closure")
            (live.training or training_of(live)).stepped(optimizer, closure is not None)
        except Exception as error:
            live.failed("an optimizer step", error)


def _created(live: Session, _result: None, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    """Keeps the rates that the optimizer was created with: a script with a warm-up of its own soon changes them."""
    rates = [number(group.get("lr")) for group in args[0].param_groups]
    if all(rate is not None for rate in rates):
        training_of(live).created[args[0]] = rates


def _watch_backward(torch: Any) -> None:
    """Hooks `torch.autograd.backward`, which `Tensor.backward` calls too."""
    original = torch.autograd.backward
    tensor = torch.Tensor
    running = False  # a reentrant checkpoint calls backward inside of backward

    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal running
        outermost, training = not running, None
        live = session._current if outermost else None
        if live is not None:
            try:
                loss = tensors[0] if type(tensors) in (list, tuple) and len(tensors) == 1 else tensors
                if type(loss) is tensor:
                    training = live.training or training_of(live)
                    training.backward(loss)
            except Exception as error:
                live.failed("a training loss", error)
        running = True
        try:
            original(tensors, *args, **kwargs)
        except BaseException as error:
            leave_out_this_frame(error)
            raise
        finally:
            if outermost:
                running = False
        if training is not None and training.after_backward.functions:
            training.after_backward.tell()

    torch.autograd.backward = backward


def _scaled(live: Session, scaled: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    """Remembers the loss behind the scaled one, on which mixed precision calls `backward`."""
    loss = args[1] if len(args) > 1 else None
    if scaled is not loss and hasattr(loss, "backward"):
        scaled._hpkb_unscaled = loss
        training_of(live).scales = True
