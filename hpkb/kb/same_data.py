"""Which runs of an experiment have the same data, by the digests of their splits.

Runs that share a split have the same data, if they train on as many examples. Besides, a script that splits its data at
random has other digests with every seed: splits of the same sizes are of the same data where their digests follow a
seed or a fold, or where nearly every run has digests of its own. Other digests of the same sizes are other data: MNIST
and Fashion-MNIST have as many examples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_FEWEST_SPLITS = 3  # of a single run each, before that is taken for chance


@dataclass(frozen=True)
class Split:
    """One split of a run: its role, digest and number of examples, if that is known."""

    role: str
    digest: str
    n_examples: int | None


@dataclass(frozen=True)
class Sample:
    """The splits of some runs that have the same ones, the name that they give their data, and what drew the splits.

    `draws` holds seeds and folds by their names.
    """

    splits: tuple[Split, ...]
    name: str | None
    draws: tuple[tuple[str, str], ...]
    n_runs: int

    def size(self, *roles: str) -> int | None:
        """The number of examples in all of these roles that there are; None where one is not known."""
        sizes = [split.n_examples for split in self.splits if split.role in roles]
        return sum(size or 0 for size in sizes) if sizes and None not in sizes else None


def same_data(samples: Sequence[Sample]) -> list[str | None]:
    """Returns for each sample what stands for its data, the smallest digest of them; None for one without splits."""
    merged = _Sets(range(len(samples)))
    _join_shared(samples, merged)
    for alike in _same_sizes(samples, merged).values():
        if len(alike) > 1 and (_follows_draw(samples, alike) or _each_its_own(samples, alike)):
            merged.join(i for members in alike for i in members)
    digests: dict[Hashable, str] = {}
    for i, sample in enumerate(samples):
        if sample.splits:
            root = merged.root(i)
            digests[root] = min(_digest(sample), digests.get(root, _digest(sample)))
    return [digests.get(merged.root(i)) if sample.splits else None for i, sample in enumerate(samples)]


def _digest(sample: Sample) -> str:
    order = {"training": 0, "validation": 1, "test": 2}
    return min((order.get(split.role, 3), split.digest) for split in sample.splits)[1]


def _join_shared(samples: Sequence[Sample], merged: _Sets) -> None:
    """Joins samples that share a split and train on as many examples, give or take one, as folds do."""
    sharing: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        for split in sample.splits:
            sharing[split.role, split.digest].append(i)
    for members in sharing.values():
        known = sorted((size, i) for i in members if (size := samples[i].size("training")) is not None)
        for (size, i), (following, j) in pairwise(known):
            if following - size <= 1:
                merged.join((i, j))
        unknown = [i for i in members if samples[i].size("training") is None]
        one_size = not known or known[-1][0] - known[0][0] <= 1
        merged.join([*unknown, known[0][1]] if known and one_size else unknown)


def _same_sizes(samples: Sequence[Sample], merged: _Sets) -> Mapping[Hashable, list[list[int]]]:
    """The sets of samples by the name of their data and their sizes; of what is drawn anew, the sum stays the same."""
    by_root: dict[Hashable, list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        if sample.splits:
            by_root[merged.root(i)].append(i)
    alike: dict[Hashable, list[list[int]]] = defaultdict(list)
    for members in by_root.values():
        names = sorted({samples[i].name or "" for i in members})
        sizes = max(samples[i].size("training", "validation") or 0 for i in members)
        alike[tuple(names), sizes].append(members)
    return alike


def _follows_draw(samples: Sequence[Sample], alike: Sequence[Sequence[int]]) -> bool:
    """Whether a seed, a fold or all of them together have one value in each set, and another one in each."""
    drawn = [{samples[i].draws for i in members} for members in alike]
    names = {name for draws in drawn for draw in draws for name, _ in draw}
    by_name = [[{dict(draw).get(name) for draw in draws} for draws in drawn] for name in sorted(names)]
    return _tells_apart(drawn) or any(_tells_apart(values) for values in by_name)


def _tells_apart(values: Sequence[Collection[Hashable]]) -> bool:
    single = [next(iter(found)) for found in values if len(found) == 1]
    return len(single) == len(values) == len({*single}) and not {None, ()} & {*single}


def _each_its_own(samples: Sequence[Sample], alike: Sequence[Sequence[int]]) -> bool:
    n_runs = sum(samples[i].n_runs for members in alike for i in members)
    return len(alike) >= _FEWEST_SPLITS and 2 * len(alike) > n_runs


class _Sets:
    """Disjoint sets, joined (Tarjan 1975)."""

    def __init__(self, members: Iterable[int]) -> None:
        self._parent = {member: member for member in members}

    def root(self, member: int) -> int:
        """Returns the smallest member of the set."""
        while self._parent[member] != member:
            self._parent[member] = member = self._parent[self._parent[member]]
        return member

    def join(self, members: Iterable[int]) -> None:
        """Makes one set of those that the members are in."""
        roots = sorted({self.root(member) for member in members})
        for root in roots[1:]:
            self._parent[root] = roots[0]
