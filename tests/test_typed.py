"""Recommended values are what a person types, and what rounding costs is held against the noise."""

from __future__ import annotations

import numpy as np
import pytest

from hpkb.recommend.rounding import UNTOLD, allowance, rounded
from hpkb.recommend.task_model import TaskModel
from hpkb.recommend.typed import ladder, on_log
from hpkb.sweep import FloatArray, Hyperparameter, Sweep


def tried(name: str, scale: str, values: FloatArray) -> Sweep:
    n = values.size
    parameter = Hyperparameter(name, scale, values)  # type: ignore[arg-type]
    nothing = np.zeros(n, dtype=np.bool_)
    ids = tuple(map(str, range(n)))
    return Sweep("t", "loss:min", ids, np.arange(n), np.zeros(n), np.zeros(n), nothing, (parameter,))


LOGS = np.exp(np.linspace(np.log(1e-5), 0, 40))
SIZES = np.tile([16.0, 32, 64, 128, 256], 8)


@pytest.mark.parametrize(
    ("name", "scale", "values", "value", "first"),
    [
        ("learning_rate", "log", LOGS, 3.27e-4, 3e-4),
        ("learning_rate", "log", LOGS, 0.0946, 0.1),
        ("learning_rate", "log", LOGS, 1e-5, 1e-5),
        ("learning_rate", "log", np.tile([1e-4, 7e-4, 4e-3], 9), 7e-4, 7e-4),  # somebody chose it
        ("batch_size", "log", SIZES, 256.0, 256.0),
        ("batch_size", "log", SIZES, 90.0, 64.0),
        ("warmup_steps", "log", np.arange(1.0, 5000, 37), 1187.0, 1000.0),
        ("depth", "linear", np.tile([1.0, 2, 3], 9), 3.0, 3.0),
        ("beta2", "linear", np.linspace(0.9, 0.9999, 40), 0.98764, 0.99),
        ("dropout", "linear", np.linspace(0, 0.5, 40), 0.217, 0.2),
        ("weight_decay", "log", np.append(LOGS, 0.0), 0.0, 0.0),
    ],
)
def test_the_coarsest_rung_is_what_a_person_types(
    name: str, scale: str, values: FloatArray, value: float, first: float
) -> None:
    rungs = ladder(value, name, [tried(name, scale, values)])
    assert rungs[0] == pytest.approx(first, rel=1e-9)
    assert rungs[-1] == value
    assert all(values.min() <= rung <= values.max() for rung in rungs)


def test_what_was_not_varied_stays() -> None:
    assert ladder(0.1234, "learning_rate", [tried("weight_decay", "log", LOGS)]) == [0.1234]
    assert on_log(0.0) == 0.0


def test_a_value_gets_as_many_digits_as_it_takes_and_no_more() -> None:
    sweep = tried("learning_rate", "log", LOGS)

    def cliff(asked: object) -> FloatArray:  # right up to the best value, and no further
        return np.array([abs(c["learning_rate"] - 0.0367) for c in asked])  # type: ignore[attr-defined]

    for allowed, typed in ((0.02, 0.03), (0.001, 0.037), (0.0, 0.0367)):
        found = rounded([{"learning_rate": 0.0367}], [sweep], cliff, {}, allowed)
        assert found == [{"learning_rate": typed}]


def test_what_is_given_is_not_rounded_and_no_two_become_the_same() -> None:
    sweep = tried("learning_rate", "log", LOGS)

    def flat(asked: object) -> FloatArray:
        return np.zeros(len(asked))  # type: ignore[arg-type]

    pair = [{"learning_rate": 0.0312}, {"learning_rate": 0.0298}]
    assert rounded(pair, [sweep], flat, {}, 0.0) == [{"learning_rate": 0.03}, {"learning_rate": 0.0298}]
    assert rounded(pair[:1], [sweep], flat, {"learning_rate": 0.0312}, 0.0) == pair[:1]


def test_the_allowance_is_the_noise_of_the_mean_over_tasks() -> None:
    rng = np.random.default_rng(0)
    values = np.exp(rng.uniform(-9, -1, 40))
    parameter = Hyperparameter("learning_rate", "log", np.repeat(values, 3))
    y = np.repeat(0.1 * (np.log(values) + 5) ** 2, 3) + 0.01 * rng.standard_normal(120)
    ids = tuple(map(str, range(120)))
    repeated = Sweep("a", "loss:min", ids, np.repeat(np.arange(40), 3), np.tile([0.0, 1, 2], 40), y,
                     np.zeros(120, dtype=np.bool_), (parameter,))  # fmt: skip
    model = TaskModel.fit(repeated, ["learning_rate"], 0)
    assert model.floor is not None
    assert 0 < allowance([model] * 4) == pytest.approx(allowance([model]) / 2)
    once = TaskModel.fit(repeated.subset(np.arange(0, 120, 3)), ["learning_rate"], 0)
    assert allowance([once]) == UNTOLD
