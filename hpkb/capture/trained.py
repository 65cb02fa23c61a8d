"""The models that an optimizer trains, looked for once an optimizer."""

from __future__ import annotations

import weakref
from typing import Any  # torch has imported it by now

from .modules import models_of

_found: weakref.WeakKeyDictionary[Any, list[weakref.ref[Any]]] = weakref.WeakKeyDictionary()


def trained_models(torch: Any, optimizer: Any) -> list[Any]:
    """Returns the outermost models that hold an optimizer's parameters; none where that is ambiguous."""
    known = _found.get(optimizer)
    if known is None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        known = _found[optimizer] = [weakref.ref(model) for model in models_of(torch, parameters)]
    return [model for model in (reference() for reference in known) if model is not None]
