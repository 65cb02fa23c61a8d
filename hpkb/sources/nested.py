"""Nested settings as parameters: a name for every leaf, its parts joined with dots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpkb.sources.optuna_values import text_of


def flattened(settings: Mapping[str, Any]) -> dict[str, str]:
    """Returns the settings under dotted names, as text: `{"optim": {"lr": 0.1}}` is `optim.lr`; a list is JSON."""
    return {name: text_of(value) for name, value in _leaves(settings)}


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
