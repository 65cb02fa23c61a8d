"""Whether torch.compile compiled the model."""

from __future__ import annotations

from typing import Any, Optional  # torch has imported it by now

from .modules import descendants
from .patch import call_after
from .session import Session

_calls: list[bool] = []


def watch_compile(torch: Any) -> None:
    """Hooks `torch.compile`, which `Module.compile` calls too."""
    if hasattr(torch, "compile"):
        call_after(torch, "compile", _called)


def compile_was_called() -> bool:
    """Whether anything at all was compiled: hooks set on modules later would have it compiled anew."""
    return bool(_calls)


def compiled(models: list[Any], kinds: Optional[set[str]]) -> Optional[bool]:
    """Whether a model, or a part of it, is compiled; None where something was that may or may not hold it.

    `kinds` are those of the autograd graph's nodes, as far as it was seen.
    """
    for model in models:
        for _, part in descendants(model):
            if part.__dict__.get("_compiled_call_impl") is not None or type(part).__name__ == "OptimizedModule":
                return True
    if kinds is not None and "CompiledFunction" in kinds:
        return True
    return None if _calls else False


def _called(_live: Session, _result: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    _calls[:] = [True]
