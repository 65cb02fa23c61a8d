"""What to search on an unseen task where no one configuration can be given: the range that holds each task's best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpkb.recommend.regret import configuration_means, run_regrets
from hpkb.sweep import FloatArray, Hyperparameter, Sweep

GOOD = 0.25  # normalised regret: a quarter of the way to the median configuration
FEWEST = 3  # good configurations of a task, or the best three of it


def search_space(sweeps: Sequence[Sweep], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns {"low", "high", "scale"} for each named number and {"levels"} for each category.

    A range reaches over the tasks from the least to the greatest of their medians of good values, and at each end over
    the half of that task's good values beyond it: wide where the tasks differ or where a task does not care.
    """
    space: dict[str, dict[str, Any]] = {}
    for name in names:
        good = [_good(s, h) for s in sweeps if (h := s.hyperparameter(name)) is not None]
        kinds = [h for s in sweeps if (h := s.hyperparameter(name)) is not None]
        if any(h.scale == "category" for h in kinds):
            levels = {h.levels[int(v)] for h, values in zip(kinds, good, strict=True) for v in values}
            space[name] = {"levels": sorted(levels)}
        elif any(values.size for values in good):
            quartiles = np.array([np.quantile(v, [0.25, 0.75], method="nearest") for v in good if v.size])
            low, high = float(quartiles[:, 0].min()), float(quartiles[:, 1].max())
            space[name] = {"low": low, "high": high, "scale": kinds[0].scale}
    return space


def _good(sweep: Sweep, parameter: Hyperparameter) -> FloatArray:
    """The values that the task's good configurations have."""
    regrets = configuration_means(sweep, run_regrets(sweep))
    _, first = np.unique(sweep.configuration, return_index=True)
    limit = max(GOOD, float(np.sort(regrets)[min(FEWEST, regrets.size) - 1]))
    values = parameter.values[first[regrets <= limit]]
    return np.asarray(values[~np.isnan(values)])
