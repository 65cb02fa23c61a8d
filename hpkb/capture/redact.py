"""Arguments without the secrets that people put into them."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

HIDDEN = "***"

_WORD = re.compile(r"[a-z0-9]+")
_NAMES = frozenset(
    ["key", "apikey", "token", "password", "passwd", "passphrase", "secret", "credential", "credentials", "auth"]
)
_VALUE = re.compile(
    r"^(sk-|hf_|gh[pousr]_|github_pat_|glpat-|xox[abp]-|AKIA|AIza|eyJ)[\w.-]{12,}$"  # keys and tokens by their issuer
)
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/@\s]+@", re.IGNORECASE)


def names_secret(name: str) -> bool:
    """Whether an argument of that name holds a secret: `--api-key`, `HF_TOKEN`; not `--max-tokens`."""
    return not _NAMES.isdisjoint(_WORD.findall(name.lower()))


def value(name: str, text: str) -> str:
    """Returns the argument's text, or `***` where its name or its look says that it is a secret."""
    if names_secret(name) or _VALUE.match(text):
        return HIDDEN
    return _IN_URL.sub(rf"\1{HIDDEN}@", text)


def parameter(name: str, content: Any) -> Any:
    """Returns the argument as it is recorded: numbers and truth values as they are, the rest as text."""
    if content is None or isinstance(content, (bool, int, float)):
        return content
    return value(name, str(content))[:2000]


def command(arguments: Sequence[str]) -> list[str]:
    """Returns the command line with the values of secret options replaced by `***`."""
    shown: list[str] = []
    hide = False
    for argument in arguments:
        name, equals, rest = argument.partition("=")
        if hide and not argument.startswith("-"):
            shown.append(HIDDEN)
        elif equals and name.startswith("-"):
            shown.append(f"{name}={value(name, rest)}")
        else:
            shown.append(value("", argument))
        hide = not equals and argument.startswith("-") and names_secret(argument)
    return shown
