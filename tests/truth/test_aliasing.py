"""What always changed together is told to be so, and no miner claims an effect of either."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hpkb import miners
from hpkb.analysis import mine_task
from hpkb.miners import Context
from hpkb.stats.aliasing import aliases_of
from hpkb.sweep import Sweep
from tests.truth.planted import planted_sweep

TIED = {"learning_rate", "weight_decay"}


def tied(seed: int = 0, n: int = 60, power: float = 1.0, **law: object) -> Sweep:
    """A planted sweep in which weight decay always went with the learning rate."""
    sweep, _ = planted_sweep(np.random.default_rng(seed), n, **law)  # type: ignore[arg-type]
    rate = sweep.hyperparameter("learning_rate")
    assert rate is not None
    with_rate = rate.values**power / 10
    parameters = [replace(h, values=with_rate) if h.name == "weight_decay" else h for h in sweep.hyperparameters]
    return replace(sweep, hyperparameters=tuple(parameters))


@pytest.mark.parametrize("law", [{}, {"design": "adaptive"}, {"design": "grid"}, {"optimizers": ("AdamW", "SGD"),
                                 "momentum": True, "schedules": ("constant", "cosine")}])  # fmt: skip
@pytest.mark.parametrize("n", [16, 60])
def test_a_design_that_varies_all_has_no_aliases(law, n):
    sweep, _ = planted_sweep(np.random.default_rng(0), n, **law)
    found = aliases_of(sweep)
    assert (found.groups, found.hidden) == ((), frozenset())
    assert 1 <= found.condition < 30


def test_two_that_change_together_hide_each_other():
    found = aliases_of(tied(power=0.5))
    assert found.groups == (("learning_rate", "weight_decay"),)
    assert found.hidden == TIED
    assert found.correlation["learning_rate", "weight_decay"] == pytest.approx(1.0)


def test_three_of_which_one_follows_from_two():
    sweep, _ = planted_sweep(np.random.default_rng(0), 60)
    decay, batch = sweep.hyperparameter("weight_decay"), sweep.hyperparameter("batch_size")
    assert decay is not None
    assert batch is not None
    parameters = [
        replace(h, values=np.sqrt(decay.values) * batch.values) if h.name == "learning_rate" else h
        for h in sweep.hyperparameters
    ]
    found = aliases_of(replace(sweep, hyperparameters=tuple(parameters)))
    assert found.groups == (("learning_rate", "weight_decay", "batch_size"),)


def test_a_category_that_goes_with_each_value_of_a_number():
    sweep, _ = planted_sweep(np.random.default_rng(0), 60, schedules=("constant", "cosine"))
    batch = sweep.hyperparameter("batch_size")
    assert batch is not None
    odd = np.round(np.log2(batch.values)) % 2
    parameters = [replace(h, values=odd) if h.name == "lr_schedule" else h for h in sweep.hyperparameters]
    assert aliases_of(replace(sweep, hyperparameters=tuple(parameters))).hidden == {"lr_schedule"}


@pytest.mark.parametrize("name", [n for n in miners.names() if n not in ("design", "noise_floor")])
def test_no_miner_claims_an_effect_of_either(name):
    for seed in range(2):
        sweep = tied(seed, 80, diverging=True, repeats=2)
        for f in miners.load(name).mine(Context(sweep)):
            assert not (f.verdict == "supported" and TIED & set(f.hyperparameters)), f.claim


def test_the_design_says_which_cannot_be_told_apart():
    found = [f for f in mine_task(tied(0), ["design"], 0) if f.quantity == "aliasing" and f.verdict == "supported"]
    assert [set(f.hyperparameters) for f in found] == [TIED]
