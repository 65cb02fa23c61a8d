"""What Optuna keeps encoded, as text: parameters by their distributions, attributes by their JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from hpkb.sources.objectives import is_objective

_Decoder = Callable[[float | None], str]


def parameter_texts(values: pa.ChunkedArray, distributions: pa.ChunkedArray) -> tuple[pa.Array, int]:
    """Returns the parameters' values as a script would have them, and how many of them could not be decoded.

    Those stay the numbers that the store has.
    """
    encoded = distributions.combine_chunks().dictionary_encode()
    decoders = [_decoder(text) for text in encoded.dictionary.to_pylist()]
    failed = 0
    texts = []
    for code, value in zip(encoded.indices.to_pylist(), values.to_pylist(), strict=True):
        try:
            texts.append(decoders[code](value))
        except (IndexError, TypeError, ValueError, OverflowError):
            failed += 1
            texts.append(text_of(value))
    return pa.array(texts, pa.string()), failed


def attribute_texts(values: pa.ChunkedArray) -> pa.Array:
    """Returns attributes as text: a string without its quotes, a structure as JSON."""
    return pa.array([text_of(_loaded(value)) for value in values.to_pylist()], pa.string())


def metric_values(names: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.Array:
    """Returns the value of each attribute that is a number and has the name of a known metric, else NULL."""
    named = {name for name in names.unique().to_pylist() if is_objective(name)}
    pairs = zip(names.to_pylist(), values.to_pylist(), strict=True)
    return pa.array(
        [_number(_loaded(value)) if name in named else None for name, value in pairs], pa.float64()
    )


def text_of(value: Any) -> str:
    """Returns a value as text."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


def _decoder(distribution: str) -> _Decoder:
    """What turns a stored number into text: the choice of that number, a whole number, or the number itself."""
    described = _loaded(distribution)
    if not isinstance(described, dict):
        return _undecoded
    name = str(described.get("name", described.get("type", "")))
    attributes = described.get("attributes", described)
    if name.lower().startswith("categorical"):
        choices = [text_of(choice) for choice in attributes.get("choices", ())]
        return lambda value: choices[_index(value)]
    if name.lower().startswith("int"):
        return lambda value: str(int(_present(value)))
    return lambda value: (
        str(_present(value)) if "float" in name.lower() or "Uniform" in name else _undecoded(value)
    )


def _undecoded(value: float | None) -> str:
    raise ValueError(value)


def _index(value: float | None) -> int:
    index = int(_present(value))
    if index < 0:
        raise IndexError(index)
    return index


def _present(value: float | None) -> float:
    if value is None:
        raise ValueError(value)
    return value


def _loaded(text: str) -> Any:
    """What the JSON says; the text itself where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)
