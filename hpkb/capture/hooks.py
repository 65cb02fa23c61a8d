"""Puts every hook in place, once a process; each finds the session of the moment by itself."""

from __future__ import annotations

from .end import watch_end
from .imports import when_imported
from .output import watch_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from .session import Session

_installed = False


def install(live: Session) -> None:
    """Hooks the end, the output, and argparse, random, numpy and torch as soon as the job imports them."""
    global _installed
    if _installed:
        return
    _installed = True
    watch_end()
    if live.rank:  # the first process of a distributed job speaks for all; of the others only a failure is told
        return
    watch_output()
    when_imported("argparse", _on_argparse)
    when_imported("random", _on_random)
    when_imported("numpy.random", _on_numpy)
    when_imported("torch", _on_torch)


def _on_argparse(module: ModuleType) -> None:
    from .arguments import watch_arguments

    watch_arguments(module)


def _on_random(module: ModuleType) -> None:
    from .seeds import watch_seed

    watch_seed(module, "seed", "random")


def _on_numpy(module: ModuleType) -> None:
    from .seeds import watch_seed

    watch_seed(module, "seed", "numpy")


def _on_torch(module: ModuleType) -> None:
    from .seeds import watch_seed
    from .torch_hooks import watch_torch

    watch_seed(module, "manual_seed", "torch")
    watch_torch(module)
