"""A data set read at once, which capture reads in slices beside the training."""

from __future__ import annotations

from typing import Any

import torch

from hpkb.capture.digest import Content, Keys, Pass, content_of, keys_of
from hpkb.capture.examples import base_of, examples_of


def content(dataset: Any, indices: Any = None) -> Content:
    """The content of a data set, or of its examples at `indices`, in their order."""
    base, chosen = base_of(torch, dataset, indices)
    examples = examples_of(torch, base, torch)  # torch stays: nothing is dropped before this returns
    return content_of(read(keys_of(torch, examples)), chosen)


def read(reading: Pass) -> Keys:
    """The keys without a rest."""
    while True:
        try:
            next(reading)
        except StopIteration as end:
            found: Keys = end.value
            return found
