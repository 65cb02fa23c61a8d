"""Which data the job trains on and which it evaluates on, seen from its DataLoaders.

A loader is for training when a batch of it was drawn with gradients on and a backward pass followed. One that was
drawn without gradients, or to its end with no backward pass, is for evaluation; whether it is the test set only its
name in the script can say.
"""

from __future__ import annotations

import weakref
from typing import Any, Optional  # torch has imported it by now

from .digest import Content, of_split
from .process import world_size as world_size_of_launcher
from .roles import named_role
from .session import Session

_SPLITS = 8  # splits told of one process; cross-validation makes many


class Use:
    """One DataLoader of the job and what it has been used for. `drawn` counts batches since the last optimizer step."""

    def __init__(self, torch: Any, loader: Any) -> None:
        self.loader = weakref.ref(loader)
        self.batch_size = _batch_size(loader)
        self.settings = _settings(torch, loader)
        self.role: Optional[str] = None
        self.drawn = 0


class Loaders:
    """The DataLoaders of one session."""

    def __init__(self, live: Session, torch: Any) -> None:
        self._live = live
        self._torch = torch
        self._uses: weakref.WeakKeyDictionary[Any, Use] = weakref.WeakKeyDictionary()
        self._waiting: list[tuple[str, str, Content]] = []  # evaluation splits seen before the first step
        self._told: set[tuple[str, str]] = set()
        self._training: set[str] = set()  # digests
        self.latest: Optional[Use] = None  # the last one drawn from with gradients on

    def use(self, loader: Any) -> Use:
        """Returns what is known of a loader's use."""
        found = self._uses.get(loader)
        if found is None:
            found = self._uses[loader] = Use(self._torch, loader)
        return found

    def drawn(self, use: Use) -> None:
        """Takes note of a batch."""
        if self._torch.is_grad_enabled():
            use.drawn += 1
            self.latest = use
        elif use.role is None:
            self.evaluated(use)

    def trained(self) -> None:
        """Takes note of a backward pass."""
        use = self.latest
        if use is not None and use.role != "training":
            use.role = "training"
            self._live.params(use.settings, "loader")
            loader = use.loader()
            if loader is not None:
                content = self._content(loader)
                if content is not None:
                    self._training.add(content.digest)
                    self._tell("training", type(loader.dataset).__name__, content)

    def evaluated(self, use: Use) -> None:
        """Takes note of a loader that is used without training."""
        loader = use.loader()
        if use.role is not None or loader is None:
            return
        if self.latest is use:
            self.latest = None
        use.role = named_role(loader) or "validation"
        content = self._content(loader)
        if content is not None:
            self._waiting.append((use.role, type(loader.dataset).__name__, content))
            if self._live.step:
                self.settle()

    def settle(self) -> None:
        """Records the evaluation splits that are not the training data over again."""
        waiting, self._waiting = self._waiting, []
        for role, dataset, content in waiting:
            if content.digest not in self._training:
                self._tell(role, dataset, content)

    def _content(self, loader: Any) -> Optional[Content]:
        try:
            sampler = loader.sampler
            chosen = sampler.indices if isinstance(sampler, self._torch.utils.data.SubsetRandomSampler) else None
            len(loader.dataset)
        except (TypeError, AttributeError, NotImplementedError):  # a stream has no length
            return None
        return of_split(self._torch, loader.dataset, chosen)

    def _tell(self, role: str, dataset: str, content: Content) -> None:
        if (role, content.digest) not in self._told and len(self._told) < _SPLITS:
            self._told.add((role, content.digest))
            self._live.split(role, dataset, content.n, content.digest, content.digest_of)


def _batch_size(loader: Any) -> Optional[int]:
    """Returns the examples of a batch, None where the loader's own sampler decides."""
    size = loader.batch_size
    if size is None:
        size = getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    return size if isinstance(size, int) else None


def world_size(torch: Any) -> int:
    """Returns how many processes train together."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_world_size())
    return world_size_of_launcher()


def _settings(torch: Any, loader: Any) -> dict[str, Any]:
    sampler = getattr(loader, "sampler", None)
    data = torch.utils.data
    shuffled = isinstance(sampler, (data.RandomSampler, data.SubsetRandomSampler, data.WeightedRandomSampler))
    values = {
        "micro_batch_size": _batch_size(loader),
        "world_size": world_size(torch),
        "loader.workers": loader.num_workers,
        "loader.shuffle": shuffled or bool(getattr(sampler, "shuffle", False)),
        "loader.drop_last": loader.drop_last,
    }
    return {name: value for name, value in values.items() if value is not None}
