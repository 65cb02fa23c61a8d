"""A configuration as a person hands it over: NAME=VALUE, or a JSON or YAML file, under the canonical names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hpkb.errors import UsageError
from hpkb.names import lookup
from hpkb.recommend.candidates import Value
from hpkb.vocabulary import ABSENT, read_level, read_name, read_number

_PAIR = {"betas": ("beta1", "beta2"), "adam_betas": ("beta1", "beta2")}


def read_configuration(arguments: Sequence[str]) -> dict[str, Value]:
    """Returns the configuration of one file, of NAME=VALUE pairs, or of both, the pairs going first.

    Nested settings are told by their path: `optimizer.lr` is learning_rate. Raises UsageError for what cannot be read,
    or where two settings of the file say different things of one hyperparameter.
    """
    files = [a for a in arguments if "=" not in a]
    if len(files) > 1:
        raise UsageError(f"One configuration file at a time, or NAME=VALUE: '{files[1]}' is neither.")
    values = canonical_values(_read(Path(files[0]))) if files else {}
    pairs: dict[str, str] = {}
    for text in arguments:
        name, equals, value = text.partition("=")
        if equals:
            if not name.strip() or not value.strip():
                raise UsageError(f"'{text}' is not NAME=VALUE.")
            pairs[name.strip()] = value.strip()
    values |= canonical_values(pairs)
    if not values:
        raise UsageError(
            "No configuration to check: give a JSON or YAML file, or NAME=VALUE. Try: hpkb check lr=3e-4"
        )
    return values


def canonical_values(settings: Mapping[str, Any]) -> dict[str, Value]:
    """Returns settings under canonical names where they have one; raises UsageError where two of them disagree."""
    values: dict[str, Value] = {}
    said: dict[str, str] = {}
    for path, value in _flat(settings):
        name = name_of(path)
        read = _value(name, value)
        if name in values and values[name] != read:
            raise UsageError(f"'{said[name]}' and '{path}' both say what {name} is, and disagree.")
        if read is not None:
            values[name], said[name] = read, path
    return values


def name_of(recorded: str) -> str:
    """Returns the canonical name of a recorded one, or the recorded one where it is not known."""
    known = read_name(recorded)
    return known.name if known else recorded


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (
            "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )
        raise UsageError(f"The configuration file '{path}' {reason}, and it is no NAME=VALUE.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"'{path}' is no JSON or YAML file: it is not text.") from error
    try:
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"'{path}' is no JSON or YAML file that can be read: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"'{path}' holds no mapping of names to values.")
    return document


def _flat(settings: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        path = f"{above}{name}"
        last = str(name).lower()
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        elif last in _PAIR and isinstance(value, list) and len(value) == 2:
            yield from zip((above + part for part in _PAIR[last]), value, strict=True)
        elif not isinstance(value, list) and value is not None:
            yield path, value


def _value(name: str, value: Any) -> Value | None:
    """A number, or the word for a level; None where the setting is said to be absent."""
    text = str(value)
    known = lookup(name)
    if text.strip().lower() in ABSENT:
        return None
    if not (known and known.scale == "category") and not isinstance(value, bool):
        found = read_number(text)
        if found is not None:
            return found
    return read_level(name, text)
