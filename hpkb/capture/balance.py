"""How many examples of each class a split has, where the labels can be had without asking for an example."""

from __future__ import annotations

import json
from typing import Any, Optional  # torch has imported it by now

from .examples import base_of, index_tensor

MOST_CLASSES = 1000  #: with more, they are no labels
_LISTED = 50  # classes that are counted one by one
_NAMES = ("targets", "labels", "_labels", "y")
_ITEMS = 2_000_000  # entries of a list that are looked at


def balance_of(torch: Any, dataset: Any, chosen: Any) -> Optional[str]:
    """Returns the classes' counts as JSON: `{"0": 600, "1": 590}`, or how many there are and the extremes of more.

    None where the labels are not known, or are no classes.
    """
    labels = _labels(torch, dataset)
    if labels is None or len(labels) == 0:
        return None
    if chosen is not None:
        labels = labels[chosen]
    if len(labels) == 0:
        return None
    lowest, highest = int(labels.min()), int(labels.max())
    if highest - lowest >= MOST_CLASSES:
        return None
    counts = torch.bincount(labels - lowest).tolist()
    found = {str(lowest + i): count for i, count in enumerate(counts) if count}
    if len(found) <= _LISTED:
        return json.dumps(found)
    return json.dumps({"classes": len(found), "min": min(found.values()), "max": max(found.values())})


def _labels(torch: Any, dataset: Any) -> Any:
    """Returns the label of each example as 64-bit integers on the CPU, None where they are not known."""
    data = torch.utils.data
    if isinstance(dataset, data.TensorDataset):
        return _whole_numbers(torch, dataset.tensors[-1]) if len(dataset.tensors) > 1 else None
    if isinstance(dataset, data.ConcatDataset):
        return _of_parts(torch, dataset.datasets)
    if isinstance(dataset, (list, tuple)):
        return _of_pairs(torch, dataset)
    held = getattr(dataset, "__dict__", {})
    for name in _NAMES:
        if name in held:
            labels = _whole_numbers(torch, held[name])
            return labels if labels is not None and len(labels) == len(dataset) else None
    samples = held.get("samples")
    return _of_pairs(torch, samples) if isinstance(samples, list) and len(samples) == len(dataset) else None


def _of_parts(torch: Any, datasets: Any) -> Any:
    found = []
    for part in datasets:
        base, chosen = base_of(torch, part)
        labels = _labels(torch, base)
        if labels is None:
            return None
        found.append(labels if chosen is None else labels[chosen])
    return torch.cat(found) if found else None


def _of_pairs(torch: Any, items: Any) -> Any:
    """Returns the labels of a list of (something, label)."""
    if len(items) > _ITEMS or not all(type(item) is tuple and len(item) == 2 for item in items):
        return None
    return _whole_numbers(torch, [item[1] for item in items])


def _whole_numbers(torch: Any, values: Any) -> Any:
    if isinstance(values, (list, tuple)):
        kinds = set(map(type, values)) if len(values) <= _ITEMS else set()
        if not kinds or not kinds <= {int, bool}:
            return None
        return index_tensor(torch, values)
    shape = getattr(values, "shape", ())
    if len(shape) != 1 or str(getattr(values, "dtype", "")).rpartition(".")[2] not in _INTEGERS:
        return None
    if hasattr(values, "data_ptr"):
        return values.detach().to(torch.int64) if values.is_cpu else None
    return index_tensor(torch, values) if hasattr(values, "tolist") else None


_INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "bool")
