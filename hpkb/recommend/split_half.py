"""What a task's default costs on configurations that it was not chosen from: one half chooses, the other measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from hpkb.recommend import candidates
from hpkb.recommend.library import library_regrets
from hpkb.recommend.regret import configuration_means, on_regret
from hpkb.recommend.rounding import allowance, rounded
from hpkb.recommend.task_model import REFITTED, TaskModel, forest, measured_regrets
from hpkb.sweep import BoolArray, FloatArray, IntArray, Sweep

DRAWS, MANY, DRAWS_OF_MANY = 5, 500, 2  # cuts of a task's configurations in two; fewer where there are many


@dataclass(frozen=True)
class SplitHalf:
    """`regrets` (halves, k) of the first k choices of each half, rounded, on the other half; `library` (halves,) of the
    library's default there, NaN where it could not be placed; `p_value` of "forests predict", by Spearman's correlation
    over the first cut, one-sided.
    """

    regrets: FloatArray
    library: FloatArray
    p_value: float


def split_half(sweep: Sweep, seed: int, k: int, library: Mapping[str, Any]) -> SplitHalf:
    """Returns the test of a task's default: each draw cuts the configurations in two and uses either half to choose."""
    rng = np.random.default_rng(seed)
    scaled, names = on_regret(sweep), [h.name for h in sweep.hyperparameters]
    measured = measured_regrets(scaled, names)
    means, first = configuration_means(scaled, scaled.y), np.empty(sweep.n_configurations)
    regrets, of_library = [], []
    for draw in range(DRAWS if sweep.n_configurations <= MANY else DRAWS_OF_MANY):
        order = rng.permutation(sweep.n_configurations)
        halves = np.array_split(order, 2)
        models = [_half(scaled, half, measured, seed) for half in halves]
        for chooser, judge, asked in ((models[0], models[1], halves[1]), (models[1], models[0], halves[0])):
            asked = np.sort(asked)
            predicted = _predict(chooser, scaled, asked)
            if draw == 0:
                first[asked] = predicted
            picks = asked[np.argsort(predicted, kind="stable")[:k]]
            tried = candidates.read_all(scaled, names, np.array(candidates.first_rows(scaled))[picks].tolist())
            typed = rounded(tried, [sweep], chooser.predict, {}, allowance([chooser]))
            regrets.append(judge.outcomes(typed, tried))
            of_library.append(library_regrets(library, [judge], typed[:1])[0])
    p_value = float(spearmanr(first, means, alternative="greater").pvalue)
    return SplitHalf(np.array(regrets), np.array(of_library), p_value)


def _half(scaled: Sweep, half: IntArray, measured: Mapping[candidates.Key, float], seed: int) -> TaskModel:
    """The model of some configurations, on the scale of all of them."""
    inside: BoolArray = np.isin(scaled.configuration, half)
    part = scaled.subset(inside)
    return TaskModel(part, forest(part, part.y, seed, REFITTED), measured, seed)


def _predict(model: TaskModel, scaled: Sweep, asked: IntArray) -> FloatArray:
    """What a half's forest predicts for other configurations, by their numbers; also beyond what the half tried."""
    rows = np.array(candidates.first_rows(scaled))[asked]  # a forest predicts the same for all runs of a configuration
    features = candidates.features(scaled.hyperparameters, candidates.placed(scaled)[rows])
    return np.asarray(model.surrogate.predict(features), dtype=np.float64)
