"""What one task says of a configuration: its measured regret, or the one that a forest predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Configuration, Key
from hpkb.recommend.regret import CAP, configuration_means, on_regret
from hpkb.stats.sampling import drawn
from hpkb.sweep import FloatArray, Sweep

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor

UNKNOWN = 1.0  # the regret granted to what a task never tried: that of its median configuration
TREES = 100
REFITTED = 1_000  # runs at most that a forest for a test or for a range is fitted to


class Regressor(Protocol):
    """A forest that was fitted: scikit-learn's, or one that was kept (`hpkb.recommend.packed_forest`)."""

    def predict(self, X: FloatArray, /) -> FloatArray:
        """The prediction of each row, (n,)."""


def forest(sweep: Sweep, regrets: FloatArray, seed: int, most: int | None = None) -> ExtraTreesRegressor:
    """Returns a forest fitted to the regrets of the sweep's runs, (runs,), or to `most` of them drawn at random.

    Extremely randomised trees (Geurts et al. 2006): their thresholds are drawn at random, so a hundred of them are
    smooth between the runs, where the default of another task lies.
    """
    rows = candidates.features(sweep.hyperparameters, candidates.placed(sweep))
    if most is not None:
        some = drawn(len(rows), most, [seed, 7])
        rows, regrets = rows[some], regrets[some]
    from sklearn.ensemble import ExtraTreesRegressor  # half a second: not where a forest is there already

    return ExtraTreesRegressor(TREES, random_state=seed).fit(rows, regrets)


def measured_regrets(scaled: Sweep, names: Sequence[str]) -> dict[Key, float]:
    """Returns the mean regret of each configuration of a sweep on the scale of regret, by its key over `names`."""
    means = configuration_means(scaled, scaled.y)
    keys = [candidates.key(configuration) for configuration in candidates.read_all(scaled, names)]
    return {key: float(mean) for key, mean in zip(keys, means, strict=True)}


@dataclass(frozen=True)
class TaskModel:
    """A task on the scale of normalised regret: its sweep, the forest on it, and the measured configurations."""

    sweep: Sweep
    surrogate: Regressor
    measured: Mapping[Key, float]
    seed: int

    @classmethod
    def fit(cls, sweep: Sweep, names: Sequence[str], seed: int, fitted: Regressor | None = None) -> TaskModel:
        """The model of one task, its measured configurations keyed over `names`; with the forest `fitted` to it."""
        scaled = on_regret(sweep)
        return cls(scaled, fitted or forest(scaled, scaled.y, seed), measured_regrets(scaled, names), seed)

    @property
    def regrets(self) -> FloatArray:
        """The measured regret of each configuration, (configurations,): the pool that random search draws from."""
        return configuration_means(self.sweep, self.sweep.y)

    def without(self, configurations: Sequence[Configuration]) -> TaskModel:
        """The model refitted as if the task had never run these configurations; itself where it has run none."""
        keys: dict[tuple[str, ...], list[Key]] = {}
        same = np.zeros(self.sweep.n_configurations, dtype=np.bool_)
        for asked in configurations:
            names = tuple(sorted(asked))
            if names not in keys:
                keys[names] = [candidates.key(c) for c in candidates.read_all(self.sweep, names)]
            wanted = candidates.key(asked)
            same |= np.array([key == wanted for key in keys[names]])
        others = ~same[self.sweep.configuration]
        if others.all() or not others.any():
            return self
        rest = self.sweep.subset(others)
        return TaskModel(rest, forest(rest, rest.y, self.seed, REFITTED), self.measured, self.seed)

    def predict(self, configurations: Sequence[Configuration]) -> FloatArray:
        """The predicted regret of each configuration, (n,)."""
        rows = candidates.encode(self.sweep, configurations)
        known = ~np.isnan(rows).all(axis=1)
        regrets = np.full(len(configurations), UNKNOWN)
        if known.any():
            predicted = self.surrogate.predict(candidates.features(self.sweep.hyperparameters, rows[known]))
            regrets[known] = np.clip(predicted, 0.0, CAP)
        return regrets

    @cached_property
    def floor(self) -> float | None:
        """The deviation of a regret over seeds among the better half; None where too little was repeated."""
        from hpkb.stats import noise  # half a second to import

        return noise.floor(self.sweep)

    def outcomes(self, typed: Sequence[Configuration], tried: Sequence[Configuration]) -> list[float]:
        """The regret measured for each configuration, or predicted where the task never ran it.

        Of one that was rounded from what the task ran, `tried`: what was measured for that, and the difference that a
        forest predicts which has seen none of them (one that had would take the luck of the measured runs for theirs).
        """
        if [candidates.key(c) for c in typed] == [candidates.key(c) for c in tried]:
            judge = self
        else:
            judge = self.without(tried)
        predicted = judge.predict([*typed, *tried])
        found = []
        for i, (rounded, whole) in enumerate(zip(typed, tried, strict=True)):
            own, start = (self.measured.get(candidates.key(c)) for c in (rounded, whole))
            if own is None and start is not None:
                own = float(np.clip(start + predicted[i] - predicted[len(typed) + i], 0.0, CAP))
            found.append(float(predicted[i]) if own is None else own)
        return found

    def has_run(self, configuration: Configuration) -> bool:
        """Whether the task ran the configuration."""
        return candidates.key(configuration) in self.measured
