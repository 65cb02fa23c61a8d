"""Optuna's importance evaluators on a `Sweep`, for the benchmarks."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import BaseImportanceEvaluator, FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

from hpkb.sweep import Hyperparameter, Sweep

Shares = dict[tuple[str, ...], float]


def study(sweep: Sweep, indexed: bool = False) -> optuna.Study:
    """Returns an Optuna study of the feasible runs; numbers as the index of their value where `indexed`."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(direction="minimize")
    columns = [_column(h, indexed) for h in sweep.hyperparameters]
    distributions = {h.name: d for h, (_, d) in zip(sweep.hyperparameters, columns, strict=True)}
    made.add_trials(
        [
            optuna.trial.create_trial(
                params={h.name: c[i] for h, (c, _) in zip(sweep.hyperparameters, columns, strict=True)},
                distributions=distributions, value=float(sweep.y[i]),
            )
            for i in np.flatnonzero(~sweep.infeasible)
        ]
    )  # fmt: skip
    return made


def fanova(sweep: Sweep, indexed: bool = False) -> Shares:
    """Returns the shares of main effects by Optuna's fANOVA."""
    return evaluated(study(sweep, indexed), FanovaImportanceEvaluator(seed=0))


def ped_anova(sweep: Sweep, indexed: bool = False) -> Shares:
    """Returns the shares of main effects by Optuna's PED-ANOVA."""
    return evaluated(study(sweep, indexed), PedAnovaImportanceEvaluator())


def evaluated(made: optuna.Study, evaluator: BaseImportanceEvaluator) -> Shares:
    """Returns the importances of a study, not brought to a sum of 1."""
    found = optuna.importance.get_param_importances(made, evaluator=evaluator, normalize=False)
    return {(name,): value for name, value in found.items()}



def _column(h: Hyperparameter, indexed: bool) -> tuple[list[float] | list[str], BaseDistribution]:
    if h.scale == "category":
        return [h.levels[int(v)] for v in h.values], CategoricalDistribution(h.levels)
    if indexed:
        values, index = np.unique(h.values, return_inverse=True)
        return index.astype(float).tolist(), FloatDistribution(0.0, float(max(values.size - 1, 1)))
    log = h.scale == "log" and bool((h.values > 0).all())
    return h.values.tolist(), FloatDistribution(float(h.values.min()), float(h.values.max()), log=log)
