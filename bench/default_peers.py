"""How others choose a list of configurations from the same runs: each returns its places in the pool.

`measured` (tasks, pool) holds regrets, NaN where a task did not run a configuration; `filled` the same from a random
forest a task on the ranks of its runs, from 0 to 1.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from hpkb.recommend.choice import portfolio


def mean_of_forests(measured, filled):
    """The lowest mean over the tasks' forests, and after it greedily what lowers the mean of the best the most."""
    return portfolio(filled, 4)


def raw_ranks(measured, filled):
    """The greedy portfolio on the ranks of what was run, as in FLAML; what was not run counts as the median."""
    return portfolio(np.where(np.isnan(measured), 0.5, _ranks(measured)), 4)


def best_average_rank(measured, filled):
    """The best ranks on average over the tasks, as in Syne Tune's zero-shot transfer, the forests filling gaps."""
    ranks = _ranks(np.where(np.isnan(measured), filled, _ranks(measured)))
    return [int(i) for i in np.argsort(ranks.mean(axis=0), kind="stable")[:4]]


def best_runs(measured, filled):
    """The best run of each of four tasks, in a fixed order: what is copied from the best past run."""
    return [int(i) for i in np.nanargmin(measured, axis=1)[np.random.default_rng(0).permutation(len(measured))[:4]]]


def _ranks(values):
    ranks = np.stack([rankdata(row, nan_policy="omit") for row in values])
    return (ranks - 1) / np.maximum(np.isfinite(values).sum(axis=1, keepdims=True) - 1, 1)


PEERS = {
    "mean of forests on ranks": mean_of_forests, "greedy on raw ranks": raw_ranks,
    "best average rank": best_average_rank, "copy of the best run": best_runs,
}  # fmt: skip
