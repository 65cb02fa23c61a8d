"""A forest that predicts a task's objective from its hyperparameters, with an honest spread of its predictions.

Why this forest. Trees need no scale of the objective, take categories and cliffs as they come, and every leaf is a
box, so that averages over any product of ranges are sums over leaves (`hpkb.stats.fanova`). Extremely randomised
trees (Geurts, Ernst & Wehenkel 2006) are smoother than best-split trees, and a few shallow ones boosted on each
other's residuals find interactions that averaging washes out: on 300 random runs of each of eight tabular tasks the
shares of variance agree with the full table at a Spearman of 0.96, against 0.93 for a random forest.

Why bags. The spread comes from refits on resampled *configurations*, never on resampled runs: seeds of one
configuration are not independent evidence of what the hyperparameter does. Each bag is a small forest of its own
(the bootstrap of little bags, Sexton & Laake 2009), so that intervals cost about as much as the forest.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from sklearn import config_context
from sklearn.tree import ExtraTreeRegressor

from hpkb.stats.encoding import Encoding
from hpkb.stats.trees import Chain, Forest, empty_forest, forest_of
from hpkb.sweep import BoolArray, FloatArray, Sweep

MINIMUM_CONFIGURATIONS = 10
CHAINS = 8  # boosted chains that the forest averages
BAGS = 20
STAGES = 16  # trees a chain, at most; fewer where later ones only fit noise
LEARNING_RATE = 0.3
MAXIMUM_DEPTH = 6
FEASIBILITY_TREES = 64

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class Configurations:
    """The feasible configurations of a sweep: one row each, whatever the number of seeds.

    `rows` (n, d) on the hyperparameters' own scales, `y` (n,) the mean winsorised objective over feasible seeds,
    `seeds` (n,) how many there were, `first` (n,) the index in the sweep of one run of each.
    """

    rows: FloatArray
    y: FloatArray
    seeds: FloatArray
    first: NDArray[np.int64]


def own_scale(sweep: Sweep) -> FloatArray:
    """All runs on the hyperparameters' own scales, (n_runs, d)."""
    columns = [h.transformed for h in sweep.hyperparameters]
    return np.stack(columns, axis=1) if columns else np.empty((sweep.n_runs, 0))


def feasible_runs(sweep: Sweep) -> BoolArray:
    """Which runs are feasible and have a finite objective, (n_runs,)."""
    return ~sweep.infeasible & np.isfinite(sweep.y)


def ceiling(y: FloatArray) -> float:
    """The value at which bad objectives are cut, from the objectives themselves; infinite where none is far out.

    A run whose loss is 1e6 is as bad as one that has learned nothing, and no worse; left as it is, it would be
    all of the variance. The lower of two fences: the upper quartile plus five times the range between quartiles
    (normal noise ends well before), and the median plus fifty times its distance to the best tenth, which holds
    where more than a quarter of the runs is far out.
    """
    if not y.size:
        return float("inf")
    best, low, middle, high = np.quantile(y, (0.1, 0.25, 0.5, 0.75))
    fences = [high + 5 * (high - low)] if high > low else []
    return float(min([*fences, *([middle + 50 * (middle - best)] if middle > best else [])], default=np.inf))


def winsorised(sweep: Sweep) -> FloatArray:
    """The objective of each run, cut at `ceiling`, (n_runs,); NaN where infeasible."""
    usable = feasible_runs(sweep)
    y = np.where(usable, sweep.y, np.nan)
    return np.minimum(y, ceiling(sweep.y[usable]))


def configurations_of(sweep: Sweep) -> Configurations:
    """The feasible configurations of a sweep, in the order of their numbers."""
    usable = feasible_runs(sweep)
    index = np.flatnonzero(usable)
    _, first, member = np.unique(sweep.configuration[index], return_index=True, return_inverse=True)
    seeds = np.bincount(member, minlength=first.size).astype(float)
    total = np.bincount(member, weights=winsorised(sweep)[index], minlength=first.size)
    with np.errstate(invalid="ignore"):
        y = total / seeds
    return Configurations(own_scale(sweep)[index[first]], y, seeds, index[first].astype(np.int64))


@dataclass(frozen=True)
class Surrogate:
    """The forest of one task.

    Rows are (n, d): one column a hyperparameter of the sweep, in the sweep's order, each on its own scale
    (`Hyperparameter.transformed`: natural logarithm for log, the level's index for a category, NaN where absent).
    `forest` is the mean of `chains`, fitted to feasible configurations only; `predict_infeasible` says which are not.
    Objectives beyond `limit` count as that. `fitted` is False, and predictions NaN, where fewer than ten
    configurations are feasible or all objectives are alike. `r_squared` is out of bag: the share of the variance of
    configurations left out of a bag which the bag predicts; `explained` is that variance.
    """

    fitted: bool
    names: tuple[str, ...] = ()
    encoding: Encoding | None = None
    forest: Forest = field(default_factory=empty_forest)
    chains: Forest = field(default_factory=empty_forest)
    bags: Forest = field(default_factory=empty_forest)
    feasibility: Forest = field(default_factory=empty_forest)
    infeasible_share: float = 0.0
    limit: float = float("inf")
    r_squared: float = float("nan")
    explained: float = 0.0

    @classmethod
    def fit(cls, sweep: Sweep, seed: int) -> Surrogate:
        """The forest fitted to the feasible configurations; the same at the same seed."""
        table = configurations_of(sweep)
        names = tuple(h.name for h in sweep.hyperparameters)
        if len(table.y) < MINIMUM_CONFIGURATIONS or not names or np.ptp(table.y) == 0:
            return cls(fitted=False, names=names, infeasible_share=sweep.infeasible_share)
        rng = np.random.default_rng([seed, 1])
        encoding = Encoding.of(sweep.hyperparameters)
        columns = encoding.encode(table.rows)
        # As if the seed noise were as large as the misfit: twice the weight at most.
        weight = 2 * table.seeds / (table.seeds + 1)
        with config_context(skip_parameter_validation=True):
            bags, r_squared = _fit_bags(columns, table.y, weight, rng)
            stages = len(bags[0].trees)
            chains = [_boost(columns, table.y, weight, stages, rng)[0] for _ in range(CHAINS)]
            feasibility = _fit_feasibility(sweep, encoding, rng)
        return cls(
            True, names, encoding,
            forest_of(chains, encoding.n_columns, together=True),
            forest_of(chains, encoding.n_columns, together=False),
            forest_of(bags, encoding.n_columns, together=False),
            feasibility, sweep.infeasible_share, ceiling(sweep.y[feasible_runs(sweep)]),
            r_squared, max(r_squared, 0.0) * _variance(table.y, weight),
        )  # fmt: skip

    def predict(self, rows: FloatArray) -> FloatArray:
        """The predicted objective, (n,), lower is better, in the objective's own unit."""
        if self.encoding is None:
            return np.full(len(rows), np.nan)
        return np.asarray(self.forest.predict(self.encoding.encode(rows))[0])

    def predict_bags(self, rows: FloatArray) -> FloatArray:
        """The prediction of each bag of resampled configurations, (bags, n).

        Use their spread, not their mean: a bag sees fewer configurations and is a little worse than `predict`.
        """
        if self.encoding is None:
            return np.full((BAGS, len(rows)), np.nan)
        return self.bags.predict(self.encoding.encode(rows))

    def predict_infeasible(self, rows: FloatArray) -> FloatArray:
        """The probability that a run is infeasible, (n,): the overall share where no classifier could be fitted."""
        if self.encoding is None or not self.feasibility.n_groups:
            return np.full(len(rows), self.infeasible_share)
        return np.asarray(np.clip(self.feasibility.predict(self.encoding.encode(rows))[0], 0.0, 1.0))

    def profile(self, column: int, values: FloatArray, references: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The mean prediction over `references` (r, d) with one hyperparameter set to each of `values` (m,).

        Returns the curves of the forest's chains (chains, m), whose mean is the forest's, and of the bags (bags, m):
        partial dependence (Friedman 2001), but over chosen reference configurations rather than over all.
        """
        if self.encoding is None:
            return np.full((CHAINS, len(values)), np.nan), np.full((BAGS, len(values)), np.nan)
        at = np.repeat(references[:1], len(values), axis=0)
        at[:, column] = values
        own = self.encoding.owner == column
        where, rows = self.encoding.encode(at), self.encoding.encode(references)
        return self.chains.profile(own, where, rows), self.bags.profile(own, where, rows)


def spread(bags: FloatArray, chains: FloatArray) -> FloatArray:
    """The half width of the 95% interval of the mean of chains, from bags along axis 0: Student's t times the error.

    A bag is one chain, and chains differ by their random cuts alone. The forest averages these out, so that share
    of the bags' variance is taken off (Sexton & Laake 2009), down to a quarter of it at least.
    """
    of_bags, of_chains = bags.var(axis=0, ddof=1), chains.var(axis=0, ddof=1)
    error = np.sqrt(np.maximum(of_bags - of_chains * (1 - 1 / len(chains)), of_bags / 4))
    return np.asarray(float(stdtrit(len(bags) - 1, 0.975)) * error)


def _boost(
    columns: Float32Array, y: FloatArray, weight: FloatArray, stages: int, rng: np.random.Generator
) -> tuple[Chain, FloatArray]:
    """A chain of trees, each fitted to what the earlier ones left over, and its staged predictions (stages, n).

    Rows of weight 0 take no part but are predicted.
    """
    used = np.flatnonzero(weight)
    mean = float(np.average(y[used], weights=weight[used]))
    trees, staged = [], np.empty((stages, len(y)))
    fitted = np.full(len(y), mean)
    for stage, seed in enumerate(rng.integers(2**31, size=stages)):
        tree = ExtraTreeRegressor(max_depth=MAXIMUM_DEPTH, random_state=int(seed))
        tree.fit(columns[used], (y - fitted)[used], sample_weight=weight[used], check_input=False)
        fitted = fitted + LEARNING_RATE * tree.tree_.predict(columns)[:, 0]
        staged[stage] = fitted
        trees.append(tree.tree_)
    return Chain(mean, trees, LEARNING_RATE), staged


def _fit_bags(
    columns: Float32Array, y: FloatArray, weight: FloatArray, rng: np.random.Generator
) -> tuple[list[Chain], float]:
    """A chain for each bootstrap sample of configurations, and their out-of-bag R².

    All have the number of stages that predicts best out of bag: later trees would only fit noise.
    """
    chains: list[Chain] = []
    total, count = np.zeros((STAGES, len(y))), np.zeros(len(y))
    for _ in range(BAGS):
        drawn = np.bincount(rng.integers(len(y), size=len(y)), minlength=len(y))
        chain, staged = _boost(columns, y, weight * drawn, STAGES, rng)
        chains.append(chain)
        total[:, drawn == 0] += staged[:, drawn == 0]
        count += drawn == 0
    seen = count > 0
    error = ((total[:, seen] / count[seen] - y[seen]) ** 2 @ weight[seen]) / weight[seen].sum()
    stages = int(np.argmin(error)) + 1
    kept = [replace(chain, trees=chain.trees[:stages]) for chain in chains]
    return kept, 1 - float(error[stages - 1]) / _variance(y, weight)


def _variance(y: FloatArray, weight: FloatArray) -> float:
    return float(np.average((y - np.average(y, weights=weight)) ** 2, weights=weight))


def _fit_feasibility(sweep: Sweep, encoding: Encoding, rng: np.random.Generator) -> Forest:
    """The forest of the probability of infeasibility; an empty one where all runs or none are infeasible."""
    if not 0 < sweep.infeasible_share < 1:
        return empty_forest()
    columns, failed = encoding.encode(own_scale(sweep)), sweep.infeasible.astype(float)
    chains: list[Chain] = []
    for seed in rng.integers(2**31, size=FEASIBILITY_TREES):
        tree = ExtraTreeRegressor(min_samples_leaf=3, max_depth=8, random_state=int(seed))
        tree.fit(columns, failed, check_input=False)
        chains.append(Chain(0.0, [tree.tree_], 1.0))
    return forest_of(chains, encoding.n_columns, together=True)
