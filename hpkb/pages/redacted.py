"""What comes from runs without the secrets in it, once more on the way out: other tools recorded what capture hides.

A text loses what looks like a secret (`hpkb.capture.redact`); a parameter whose name says that it is one loses its
value, here and wherever else that value stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hpkb.capture import redact

_SHORTEST = 6  # characters of a secret that is looked for elsewhere: a shorter one stands in too many words


def parameter(name: str, text: str) -> str:
    """Returns the text of a recorded parameter, hidden where its name or its look says that it is a secret."""
    return redact.value(name, text)


def hidden(parameters: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Returns the texts that are secrets by the names that they stand under, the longest first."""
    found = {
        text for name, text in set(parameters)
        if len(text) >= _SHORTEST and text != redact.HIDDEN and redact.value(name, text) == redact.HIDDEN
    }  # fmt: skip
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def document(text: str, secrets: Iterable[str]) -> Any:
    """Returns a JSON document with its texts free of secrets; the names in it too."""
    parsed = json.loads(text)
    there = [secret for secret in secrets if json.dumps(secret)[1:-1] in text or secret in text]
    return _without(parsed, there) if there else parsed


def _without(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, redact.HIDDEN)
        return value
    if isinstance(value, list):
        return [_without(item, secrets) for item in value]
    if isinstance(value, dict):
        return {_without(name, secrets): _without(item, secrets) for name, item in value.items()}
    return value
