"""A forest that predicts a task's objective from its hyperparameters, with an honest spread of its predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpkb.sweep import FloatArray, Sweep


@dataclass(frozen=True)
class Surrogate:
    """The forest of one task.

    Rows are (n, d): one column a hyperparameter of the sweep, in the sweep's order, each on its own scale
    (`Hyperparameter.transformed`: natural logarithm for log, the level's index for a category, NaN where absent).
    """

    fitted: bool

    @classmethod
    def fit(cls, sweep: Sweep, seed: int) -> Surrogate:
        """The forest fitted to the feasible configurations; `fitted` is False where there are too few."""
        return cls(fitted=False)

    def predict(self, rows: FloatArray) -> FloatArray:
        """The predicted objective, (n,), lower is better, in the objective's own unit."""
        return np.full(len(rows), np.nan)

    def predict_bags(self, rows: FloatArray) -> FloatArray:
        """The prediction of each bag of resampled configurations, (bags, n)."""
        return np.full((1, len(rows)), np.nan)
