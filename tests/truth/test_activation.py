"""Activations and initialisations against planted differences and planted shares of dead units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hpkb.analysis import correct
from hpkb.miners import Context, activation, initialization
from hpkb.sweep import Hyperparameter
from tests.truth.laws import activation as of_activation
from tests.truth.laws import initialization as of_initialization
from tests.truth.laws.activation import with_dead_units
from tests.truth.planted import covers

CASES = [
    (activation, of_activation.LAWS[0], 12), (activation, of_activation.LAWS[2], 30),
    (activation, of_activation.LAWS[4], 30), (initialization, of_initialization.LAWS[0], 8),
]  # fmt: skip


@pytest.mark.parametrize(("miner", "law", "sweeps"), CASES, ids=lambda x: getattr(x, "name", None))
def test_planted_laws_are_found_and_covered(miner, law, sweeps) -> None:
    drawn = [law.draw(np.random.default_rng(seed)) for seed in range(sweeps)]
    found = [law.found(miner.mine(Context(sweep))) or pytest.fail("no finding") for sweep, _ in drawn]
    assert np.mean([covers(f, truth) for f, (_, truth) in zip(found, drawn, strict=True)]) >= 0.8
    assert np.mean([f.verdict == "supported" for f in found]) >= 0.8


@pytest.mark.parametrize("noise", of_activation.NOISE, ids=lambda noise: noise.name)
def test_noise_supports_nothing(noise) -> None:
    sweeps = [noise.draw(np.random.default_rng(seed)) for seed in range(10)]
    supported = [any(f.verdict == "supported" for f in correct(activation.mine(Context(s)))) for s in sweeps]
    assert np.mean(supported) <= 0.1


def test_hardly_a_dead_unit_is_said_to_be_so() -> None:
    sweep = with_dead_units(np.random.default_rng(1), "activation", ("gelu", "relu"), (0.002, 0.1), n=60)
    found = {f.condition: f for f in activation.mine(Context(sweep)) if f.quantity == "dead_unit_share"}
    assert (found["gelu"].verdict, found["relu"].verdict) == ("rejected", "supported")


def test_one_dead_model_among_sound_ones_makes_no_claim() -> None:
    sweep = with_dead_units(np.random.default_rng(2), "activation", ("gelu", "relu"), (0.002, 0.002), n=40)
    dead = sweep.records.numbers("dead_unit_share").copy()
    dead[:2] = 1.0
    facts = replace(sweep.records.facts, numbers={"dead_unit_share": dead})
    spoilt = replace(sweep, recorded=replace(sweep.records, facts=facts))
    found = [f for f in activation.mine(Context(spoilt)) if f.quantity.startswith("dead_unit")]
    assert "supported" not in {f.verdict for f in found}


def test_an_activation_that_goes_along_with_the_initialisation_is_claimed_by_nobody() -> None:
    sweep = with_dead_units(np.random.default_rng(3), "activation", ("gelu", "relu"), (0.01, 0.2), n=60, difference=0.3)
    h = sweep.hyperparameter("activation")
    assert h is not None
    twin = Hyperparameter("initialization", "category", h.values, ("xavier_normal_", "kaiming_normal_"))
    both = replace(sweep, hyperparameters=(*sweep.hyperparameters, twin))
    for miner in (activation, initialization):
        pairs = [f for f in miner.mine(Context(both)) if "against" in f.condition]
        assert {f.verdict for f in pairs} <= {"insufficient"}
