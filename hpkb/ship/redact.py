"""Command lines and parameters without the secrets that people put into them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpkb.ship.address import without_credentials

HIDDEN = "***"

_SECRET_WORDS = frozenset("password passwd passphrase secret token apikey credential credentials".split())
_SECRET_PAIRS = frozenset([("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key")])
_WORDS = re.compile(r"[A-Za-z0-9]+")


def names_secret(name: str) -> bool:
    """Whether an option or variable of that name holds a secret: `--api-key`, `HF_TOKEN`; not `--max-tokens`."""
    words = _WORDS.findall(name.lower())
    return not _SECRET_WORDS.isdisjoint(words) or any(pair in _SECRET_PAIRS for pair in zip(words, words[1:], strict=False))


def command(arguments: Sequence[str]) -> tuple[str, ...]:
    """The command line with the values of secret options, and the passwords inside URLs, replaced by `***`."""
    shown: list[str] = []
    hide_next = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if hide_next and not argument.startswith("-"):
            shown.append(HIDDEN)
        elif equals and names_secret(name):
            shown.append(f"{name}={HIDDEN}")
        else:
            shown.append(without_credentials(argument))
        hide_next = not equals and argument.startswith("-") and names_secret(argument)
    return tuple(shown)


def value(name: str, text: str) -> str:
    """The parameter's value, or `***` where its name says that it is a secret."""
    return HIDDEN if names_secret(name) else without_credentials(text)
