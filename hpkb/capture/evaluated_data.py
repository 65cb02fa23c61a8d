"""The data behind an evaluation's batches, as far as its DataLoader shows it."""

from __future__ import annotations

from typing import Any  # torch has imported it by now

from .evaluation_pass import Source


def is_part(loader: Any) -> bool:
    """Whether the loader gives this process only its part of the data."""
    for sampler in (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        if max(getattr(sampler, "num_replicas", 1) or 1, getattr(sampler, "num_processes", 1) or 1) > 1:
            return True
    return False


def length(loader: Any) -> float:
    """Returns how many batches a loader has, infinity where it cannot say."""
    try:
        return len(loader)
    except (TypeError, AttributeError, NotImplementedError):
        return float("inf")


def dataset_of(source: Source) -> Any:
    """Returns the dataset that batches came from; where it is gone, the source stands for it."""
    loader = source.use.loader()
    return source if loader is None else loader.dataset


def same_data(loader: Any, other: Any) -> bool:
    """Whether two loaders go over the very same data; samplers that choose from it may make them differ."""
    chosen = [getattr(getattr(one, "sampler", None), "indices", None) for one in (loader, other)]
    return loader.dataset is other.dataset and chosen == [None, None]
