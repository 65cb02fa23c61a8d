"""The hooks on torch: optimizer steps, backward passes, schedulers, DataLoaders, and the scaling of mixed precision."""

from __future__ import annotations

import functools
from time import perf_counter
from typing import Any, Callable, Iterator  # torch has imported it by now

from .averaging import watch_averaging
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
from .session import Session, current
from .splitting import watch_random_split
from .training import training_of


def watch_torch(torch: Any) -> None:
    """Hooks a torch that has just been imported."""
    from torch.optim import lr_scheduler
    from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
    from torch.utils.data import DataLoader, dataloader

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
    call_after(DataLoader, "__iter__", _opened)
    watch_random_split(torch)
    _watch_batches(dataloader._BaseDataLoaderIter)


def _skip_capture(dynamo: Any) -> None:
    """Tells torch.compile to run capture as it is rather than to compile it along with the job."""
    from torch._dynamo import trace_rules

    unwatch_modules()
    trace_rules.add(__package__)


def _stepped(optimizer: Any, args: Any, kwargs: Any) -> None:
    live = current()
    if live is not None:
        try:
            closure = args[1] if len(args) > 1 else kwargs.get("closure")
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
    running = False  # a reentrant checkpoint calls backward inside of backward

    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal running
        outermost = not running
        live = current() if outermost else None
        if outermost:
            if live is not None:
                _note_loss(live, torch, tensors)
            running = True
        try:
            original(tensors, *args, **kwargs)
        except BaseException as error:
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next
            raise
        finally:
            if outermost:
                running = False
        if outermost and live is not None:
            training = live.training
            if training is not None and training.after_backward.functions:
                training.after_backward.tell()

    torch.autograd.backward = backward


def _note_loss(live: Session, torch: Any, tensors: Any) -> None:
    try:
        loss = tensors[0] if type(tensors) in (list, tuple) and len(tensors) == 1 else tensors
        if type(loss) is torch.Tensor and loss.numel() == 1:
            (live.training or training_of(live)).backward(loss)
    except Exception as error:
        live.failed("a training loss", error)


def _scaled(_live: Session, scaled: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    """Remembers the loss behind the scaled one, on which mixed precision calls `backward`."""
    loss = args[1] if len(args) > 1 else None
    if scaled is not loss and hasattr(loss, "backward"):
        scaled._hpkb_unscaled = loss


def _opened(live: Session, iterator: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    loader = args[0]
    iterator._hpkb_use = training_of(live).loaders.use(loader)
    if not loader.persistent_workers:  # those hold their iterator, and a circle would keep the workers alive
        iterator._hpkb_loader = loader  # a loader without a name would be gone before its first batch


def _watch_batches(iterators: Any) -> None:
    original: Callable[[Iterator[Any]], Any] = iterators.__next__

    @functools.wraps(original)
    def __next__(self: Any) -> Any:
        self._hpkb_asked_at = asked_at = perf_counter()
        try:
            batch = original(self)
        except BaseException as error:
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next
            if isinstance(error, StopIteration):
                self._hpkb_waited = perf_counter() - asked_at
                _note_batch(self, exhausted=True)
            raise
        self._hpkb_waited = perf_counter() - asked_at
        _note_batch(self, exhausted=False)
        return batch

    iterators.__next__ = __next__


def _note_batch(iterator: Any, exhausted: bool) -> None:
    live = current()
    use = getattr(iterator, "_hpkb_use", None)
    if live is None or use is None:
        return
    try:
        training = live.training or training_of(live)
        if not exhausted:
            training.loaders.drawn(use)
        elif use.role is None:
            training.loaders.evaluated(use)
        training.after_batch.tell(use, iterator, exhausted)
    except Exception as error:
        live.failed("a batch", error)
