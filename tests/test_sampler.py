"""The sampler for Optuna: what it proposes to real studies, whatever their parameters are called and of what kind."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpkb
from hpkb.errors import KnowledgeBaseError
from tests.advice import advised

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.ERROR)
__all__ = ["advised"]
BEST = math.exp(-5)  # about where the planted tasks have their best learning rate


@pytest.fixture(scope="module")
def known(advised: Path) -> hpkb.kb.knowledge.KnowledgeBase:
    with hpkb.open(advised / "hpkb.duckdb") as base:
        yield base


def loss(rate: float) -> float:
    return 0.05 * math.log(rate / BEST) ** 2


def study(known: Any, direction: str = "minimize", seed: int = 0, objective: str | None = "val_loss:min") -> Any:
    return optuna.create_study(direction=direction, sampler=known.sampler(objective, seed))


def train(trial: Any) -> float:
    rate = trial.suggest_float("optimizer.lr", 1e-6, 1.0, log=True)
    trial.suggest_float("wd", 1e-7, 1e-1, log=True)
    trial.suggest_categorical("batch_size", [16, 64, 256])
    trial.suggest_categorical("optimizer", ["AdamW", "SGD"])
    return loss(rate)


def test_the_first_trial_already_is_what_the_tasks_recommend(known: Any) -> None:
    made = study(known)
    made.optimize(train, n_trials=6)
    rates = [t.params["optimizer.lr"] for t in made.trials]
    assert abs(math.log(rates[0] / BEST)) < 1.5, "of a range of 14"
    assert made.best_value < 0.01
    assert len({tuple(t.params.values()) for t in made.trials}) == 6


def test_it_is_the_same_for_a_seed_and_for_a_maximised_objective(known: Any) -> None:
    one, two = study(known), study(known)
    for made in (one, two):
        made.optimize(train, n_trials=5)
    assert [t.params for t in one.trials] == [t.params for t in two.trials]
    up = study(known, "maximize")
    up.optimize(lambda trial: 1 - train(trial), n_trials=5)
    assert [t.params for t in up.trials] == [t.params for t in one.trials]


def test_a_task_that_differs_from_all_others_is_learnt(known: Any) -> None:
    def train_elsewhere(trial: Any) -> float:
        return 0.05 * math.log(trial.suggest_float("lr", 1e-6, 1.0, log=True) / 1e-4) ** 2

    made = study(known)
    made.optimize(train_elsewhere, n_trials=12)
    assert made.best_value < 0.02, "within a factor of two of a rate that is the others' by a seventieth"


def test_failed_and_pruned_trials_and_threads(known: Any) -> None:
    def fickle(trial: Any) -> float:
        value = train(trial)
        if trial.number == 1:
            raise optuna.TrialPruned
        return math.nan if trial.number == 2 else value

    made = study(known)
    made.optimize(fickle, n_trials=6, n_jobs=2)
    states = [t.state.name for t in made.trials]
    assert states.count("PRUNED") == states.count("FAIL") == 1
    assert len({tuple(t.params.values()) for t in made.trials}) == 6


@pytest.mark.parametrize("threads", [4, 8])
def test_threads_are_never_given_the_same(known: Any, threads: int) -> None:
    made = study(known)
    made.optimize(train, n_trials=16, n_jobs=threads)
    assert len({tuple(t.params.values()) for t in made.trials}) == 16


def test_parameters_that_no_task_knows_or_that_have_one_value(known: Any) -> None:
    def train_more(trial: Any) -> float:
        trial.suggest_int("layers_of_mine", 1, 9, step=2)
        trial.suggest_float("gamma", 0.0, 1.0, step=0.25)
        trial.suggest_categorical("fused", [True, False, None])
        trial.suggest_int("bs", 16, 256, log=True)
        trial.suggest_int("epochs", 3, 3)
        return train(trial) + 0.01 * trial.params["layers_of_mine"]

    made = study(known)
    made.optimize(train_more, n_trials=10)
    assert made.best_value < 0.1
    assert all(t.params["layers_of_mine"] % 2 == 1 and t.params["epochs"] == 3 for t in made.trials)
    alone = study(known)
    alone.optimize(lambda trial: (trial.suggest_float("theta", 0.0, 1.0) - 0.7) ** 2, n_trials=12)
    assert alone.best_value < 0.01


def test_a_parameter_that_only_some_trials_have(known: Any) -> None:
    def train_either(trial: Any) -> float:
        rate = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        if trial.suggest_categorical("optimizer", ["AdamW", "SGD"]) == "SGD":
            trial.suggest_float("momentum", 0.5, 0.99)
        return loss(rate)

    made = study(known)
    made.enqueue_trial({"optimizer": "SGD", "lr": 0.1})
    made.optimize(train_either, n_trials=8)
    assert made.best_value < 0.01


def test_a_small_search_space_may_run_out(known: Any) -> None:
    made = study(known)
    made.optimize(lambda trial: loss(trial.suggest_categorical("lr", [0.001, 0.01])), n_trials=5)
    assert {t.params["lr"] for t in made.trials} == {0.001, 0.01}


def test_a_study_in_a_storage_goes_on(known: Any, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    for n in (3, 3):
        optuna.create_study(
            storage=storage, study_name="one", load_if_exists=True, sampler=known.sampler(seed=n)
        ).optimize(train, n_trials=n)
    trials = optuna.load_study(study_name="one", storage=storage).trials
    assert len({tuple(t.params.values()) for t in trials}) == 6


def test_it_can_be_pickled_like_any_sampler(known: Any) -> None:
    made, again = study(known), study(known)
    made.optimize(train, n_trials=3)
    again.sampler = pickle.loads(pickle.dumps(made.sampler))
    again.add_trials(made.trials)
    for one in (made, again):
        one.optimize(train, n_trials=1)
    assert made.trials[-1].params == again.trials[-1].params


def test_a_study_without_any_result_goes_on_proposing(known: Any) -> None:
    made = study(known)
    made.optimize(lambda trial: train(trial) * math.nan, n_trials=5)
    assert len({tuple(t.params.values()) for t in made.trials}) == 5
    constant = study(known, objective=None)
    constant.optimize(lambda trial: train(trial) * 0.0, n_trials=5)
    assert np.isfinite(constant.best_value)


def test_what_it_is_not_for(known: Any) -> None:
    several = optuna.create_study(directions=["minimize", "minimize"], sampler=known.sampler())
    with pytest.raises(ValueError, match="one objective"):
        several.ask({"lr": optuna.distributions.FloatDistribution(0.1, 1.0)})
    with pytest.raises(KnowledgeBaseError, match="No task is judged by 'f1:max'"):
        known.sampler("f1:max")
