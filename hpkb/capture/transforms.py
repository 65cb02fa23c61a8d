"""What a dataset does to its examples, as text."""

from __future__ import annotations

import functools
import re
import types
from typing import Any, Optional  # torch has imported it by now

_NAMES = (("transform", "transforms"), ("augment",), ("augmentation",), ("augmentations",))
_LONGEST = 1000
_DEPTH = 10  # datasets inside of one another
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodDescriptorType)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def transform_of(dataset: Any) -> Optional[str]:
    """Returns the transforms of a dataset and of those inside of it, the innermost first, as one line."""
    texts: list[str] = []
    for _ in range(_DEPTH):
        held = getattr(dataset, "__dict__", {})
        texts += [text for names in _NAMES for text in [_first(held, names)] if text]
        inner = held.get("dataset")
        parts = held.get("datasets")
        if inner is None and type(parts) in (list, tuple) and parts:  # a ConcatDataset: what all have in common
            common = {transform_of(part) for part in parts}
            texts += [text for text in common if text] if len(common) == 1 else []
        if inner is None:
            break
        dataset = inner
    whole = "; ".join(reversed(texts))
    return (whole if len(whole) <= _LONGEST else whole[: _LONGEST - 1] + "…") or None


def text_of(transform: Any) -> str:
    """Returns a transform as one line without memory addresses; functions by their qualified names."""
    if isinstance(transform, functools.partial):
        given = [text_of(value) for value in transform.args]
        given += [f"{name}={text_of(value)}" for name, value in transform.keywords.items()]
        return f"{text_of(transform.func)}({', '.join(given)})"
    if isinstance(transform, _FUNCTIONS):
        module = getattr(transform, "__module__", None)
        return f"{module}.{transform.__qualname__}" if module else transform.__qualname__
    if isinstance(transform, (list, tuple)):
        return "[" + ", ".join(map(text_of, transform)) + "]"
    if isinstance(transform, dict):
        return "{" + ", ".join(f"{name}: {text_of(value)}" for name, value in transform.items()) + "}"
    kind = type(transform)
    if getattr(kind, "__repr__", None) is object.__repr__:
        return f"{kind.__module__}.{kind.__qualname__}"
    return _ADDRESS.sub("", " ".join(repr(transform).split())).replace("( ", "(").replace(" )", ")")


def _first(held: dict[str, Any], names: tuple[str, ...]) -> Optional[str]:
    return next((text_of(held[name]) for name in names if held.get(name) is not None), None)
