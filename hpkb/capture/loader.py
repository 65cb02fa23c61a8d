"""Which data the job trains on and which it evaluates on, seen from its DataLoaders.

A loader is for training when a batch of it was drawn with gradients on and a backward pass followed. One that was
drawn without gradients, or to its end with no backward pass, is for evaluation; whether it is the test set only its
name in the script can say. The record says by which of these the role was decided.
"""

from __future__ import annotations

import weakref
from typing import Any, Optional  # torch has imported it by now

from .process import world_size as world_size_of_launcher
from .roles import role_in_names
from .session import Session
from .splits import Splits


class Use:
    """One DataLoader of the job and what it has been used for."""

    __slots__ = ("__weakref__", "batch_size", "followed", "loader", "looked_at", "role", "settings")

    def __init__(self, torch: Any, loader: Any) -> None:
        self.loader = weakref.ref(loader)
        self.batch_size = _batch_size(loader)
        self.settings = _settings(torch, loader)
        self.role: Optional[str] = None
        self.looked_at = 0  # batches drawn with gradients on; those of the followed iterator it counts itself
        self.followed: Any = None

    @property
    def drawn(self) -> int:
        """Returns how many batches were drawn with gradients on."""
        return self.looked_at + self.counted

    @property
    def counted(self) -> int:
        """Returns how many batches the followed iterator has given since it is followed."""
        return 0 if self.followed is None else int(self.followed.batches - self.followed.since)


class Loaders:
    """The DataLoaders of one session."""

    def __init__(self, live: Session, torch: Any) -> None:
        self._live = live
        self._torch = torch
        self._uses: weakref.WeakKeyDictionary[Any, Use] = weakref.WeakKeyDictionary()
        self._splits = Splits(live, torch)
        self.latest: Optional[Use] = None  # the last one drawn from with gradients on
        self.untold = False  # whether a backward pass would be news of it

    def use(self, loader: Any) -> Use:
        """Returns what is known of a loader's use."""
        found = self._uses.get(loader)
        if found is None:
            found = self._uses[loader] = Use(self._torch, loader)
        return found

    def drawn(self, use: Use, with_gradients: bool) -> None:
        """Takes note of a batch."""
        if with_gradients:
            use.looked_at += 1
            self.latest = use
            self.untold = use.role != "training"
        elif use.role is None:
            self._evaluates(use, "drawn without gradients")

    def trained(self) -> None:
        """Takes note of a backward pass."""
        use, self.untold = self.latest, False
        if use is not None and use.role != "training":
            use.role = "training"
            self._live.params(use.settings, "loader")
            self._add(use, None, "a backward pass followed")

    def evaluated(self, use: Use) -> None:
        """Takes note of a loader that was drawn to its end without training."""
        self._evaluates(use, "drawn to its end without a backward pass")

    def settle(self) -> None:
        """Records the evaluation splits that are not the training data over again."""
        self._splits.settle()

    def _evaluates(self, use: Use, why: str) -> None:
        loader = use.loader()
        if use.role is not None or loader is None:
            return
        if self.latest is use:
            self.latest, self.untold = None, False
        named = role_in_names(loader) or role_in_names(loader.dataset)
        use.role = named if named in ("validation", "test") else "validation"
        self._add(use, named, why)

    def _add(self, use: Use, named: Optional[str], why: str) -> None:
        """Has the split of a loader told; a stream has none, but it is said that it is one."""
        loader, role = use.loader(), str(use.role)
        if loader is None:
            return
        facts = _facts(self._torch, loader)
        facts["role_by"] = why if named != role else f"{why}, and its name"
        if _has_length(loader.dataset):
            self._splits.add(loader, _chosen(self._torch, loader), role, named, facts)
        else:
            self._live.tags({f"hpkb.split.{role}.dataset": f"{type(loader.dataset).__name__} (a stream, n unknown)"})


def world_size(torch: Any) -> int:
    """Returns how many processes train together."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_world_size())
    return world_size_of_launcher()


def _has_length(dataset: Any) -> bool:
    try:
        len(dataset)
    except (TypeError, AttributeError, NotImplementedError):
        return False
    return True


def _batch_size(loader: Any) -> Optional[int]:
    """Returns the examples of a batch, None where the loader's own sampler decides."""
    size = loader.batch_size
    if size is None:
        size = getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    return size if isinstance(size, int) else None


def _sampler(torch: Any, loader: Any) -> Any:
    """Returns what chooses the examples: the loader's sampler, its batch sampler's, or the batch sampler itself."""
    batches = getattr(loader, "batch_sampler", None)
    if loader.batch_size is None and batches is not None:
        inner = getattr(batches, "sampler", None)
        return inner if isinstance(inner, torch.utils.data.Sampler) else batches
    return getattr(loader, "sampler", None)


def _chosen(torch: Any, loader: Any) -> Any:
    """Returns the indices that a sampler is restricted to, None for all of the data set.

    A sampler that gives each process its part (`DistributedSampler`) is seen as the whole.
    """
    sampler = _sampler(torch, loader)
    if isinstance(sampler, torch.utils.data.SubsetRandomSampler):
        return sampler.indices
    if type(sampler).__module__.startswith("torch.") or not hasattr(sampler, "indices"):
        return None
    indices, n = sampler.indices, len(loader.dataset)
    inside = hasattr(indices, "__len__") and all(type(i) is int and 0 <= i < n for i in indices)
    return indices if inside else None


def _facts(torch: Any, loader: Any) -> dict[str, Any]:
    """Returns how a loader goes through its data, as far as it can be known."""
    settings = _settings(torch, loader)
    facts = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith("loader.")}
    return {**facts, "batch_size": settings.get("micro_batch_size")}


def _settings(torch: Any, loader: Any) -> dict[str, Any]:
    sampler = _sampler(torch, loader)
    stream = isinstance(loader.dataset, torch.utils.data.IterableDataset)
    values = {
        "micro_batch_size": _batch_size(loader),
        "world_size": world_size(torch),
        "loader.workers": loader.num_workers,
        "loader.shuffle": None if stream else _shuffles(torch, sampler),
        "loader.sampler": None if stream or sampler is None else type(sampler).__name__,
        "loader.drop_last": _drops_last(loader),
        "loader.last_batch_size": None if stream else _last_batch_size(loader, sampler),
    }
    return {name: value for name, value in values.items() if value is not None}


def _shuffles(torch: Any, sampler: Any) -> Optional[bool]:
    """Whether the order is random; None for a sampler of the script's own class that does not say."""
    data = torch.utils.data
    if isinstance(sampler, (data.RandomSampler, data.SubsetRandomSampler, data.WeightedRandomSampler)):
        return True
    told = getattr(sampler, "shuffle", None)
    if isinstance(told, bool):
        return told
    return False if isinstance(sampler, data.SequentialSampler) else None


def _drops_last(loader: Any) -> Optional[bool]:
    told = loader.drop_last
    if loader.batch_size is None:  # then the loader's own says nothing
        told = getattr(getattr(loader, "batch_sampler", None), "drop_last", None)
    return told if isinstance(told, bool) else None


def _last_batch_size(loader: Any, sampler: Any) -> Optional[int]:
    """Returns the examples in an epoch's last batch of one process, None for a sampler of the script's own class."""
    size = _batch_size(loader)
    if size is None or size < 1 or not type(sampler).__module__.startswith("torch."):
        return None
    try:
        n = len(sampler)
    except (TypeError, NotImplementedError):
        return None
    if loader.batch_size is None and type(loader.batch_sampler).__module__.partition(".")[0] != "torch":
        return None
    if _drops_last(loader):
        return size if n >= size else None
    return (n % size or size) if n else None
