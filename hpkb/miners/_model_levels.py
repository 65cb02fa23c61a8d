"""The levels of what a model is made of, as groups with readable names, and the runs without what only follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from hpkb.findings import Finding
from hpkb.miners._pairs import Pairs, pair_finding, rate_finding
from hpkb.stats.contrast import Contrast, Groups, contrasts_between, groups_of
from hpkb.stats.noise import floor
from hpkb.sweep import FloatArray, Hyperparameter, Sweep

MOST_VALUES = 5  # of a number that are compared one by one; more are compared in thirds of the configurations
MOST_PAIRS = 15
FOLLOWS = ("parameter_count", "total_parameter_count")
WITHOUT = ("none", "no", "false", "0", "off", "identity")


def without_what_follows(sweep: Sweep) -> Sweep:
    """The sweep without hyperparameters that a change of the model brings along, so that nobody holds them."""
    kept = tuple(h for h in sweep.hyperparameters if h.name not in FOLLOWS)
    return replace(sweep, hyperparameters=kept)


def level_groups(sweep: Sweep, h: Hyperparameter) -> Groups:
    """The levels to be compared; of a number with many values, the lowest and the highest third."""
    if h.scale == "category":
        groups = groups_of(h)
        return replace(groups, labels=tuple(_words(h.name, label) for label in groups.labels))
    values = np.unique(h.values[~np.isnan(h.values)])
    if values.size <= MOST_VALUES:
        groups = groups_of(h)
        return replace(groups, labels=tuple(f"{_plain(h.name)} {label}" for label in groups.labels))
    return _thirds(sweep, h)


def _thirds(sweep: Sweep, h: Hyperparameter) -> Groups:
    _, first = np.unique(sweep.configuration, return_index=True)
    low, high = np.nanquantile(h.values[first], (1 / 3, 2 / 3))
    codes = np.where(h.values <= low, 0.0, np.where(h.values >= high, 1.0, np.nan))
    ends = [_range(h, h.values[codes == code]) for code in (0, 1)]
    return Groups(codes, (ends[0], ends[1]), (h.name,))


def _range(h: Hyperparameter, values: FloatArray) -> str:
    return f"{_plain(h.name)} {h.label(float(values.min()))} to {h.label(float(values.max()))}" if values.size else ""


def _words(name: str, level: str) -> str:
    """A level in words: "no normalization", "residual connections"."""
    plain, said = _plain(name), level.strip().lower()
    if said in WITHOUT:
        return f"no {plain}"
    return plain if said in ("true", "yes", "on", "1") else level


def _plain(name: str) -> str:
    return "residual connections" if name == "residual" else name.replace("_", " ")


def level_findings(asked: Pairs, sweep: Sweep, h: Hyperparameter) -> Iterator[Finding]:
    """Yields the paired difference of the levels of one hyperparameter, and how each moves the best learning rate."""
    groups, noise = level_groups(sweep, h), floor(sweep)
    for c in _chosen(h, groups, [asked.oriented(c) for c in contrasts_between(sweep, groups)]):
        yield pair_finding(asked, sweep, c, groups.codes, groups.labels, noise=noise)
        moved = rate_finding(asked, sweep, c)
        if moved is not None:
            yield moved


def _chosen(h: Hyperparameter, groups: Groups, found: Sequence[Contrast]) -> list[Contrast]:
    """All pairs of a category; of a number each value and the next smaller one, and the largest and the smallest."""
    if h.scale == "category" or len(groups.labels) == 2:
        return list(found[:MOST_PAIRS])
    place = {label: i for i, label in enumerate(groups.labels)}
    there = sorted({place[x] for c in found for x in (c.a, c.b)})
    wanted = {*pairwise(there), (there[0], there[-1])} if there else set()
    return [c for c in found if (place[c.b], place[c.a]) in wanted]


def asked_of(miner: str, sweep: Sweep, h: Hyperparameter, baselines: Sequence[str] = ()) -> Pairs:
    """What is compared of a hyperparameter: without it, or the smaller value, comes last."""
    labels = level_groups(sweep, h).labels
    first = [label for label in labels if label.startswith("no ")] if h.scale == "category" else list(labels)
    return Pairs(miner, (h.name,), tuple(label.lower() for label in (*first, *baselines)))
