"""Kinds of models against planted differences; `bench/truth.py` runs all of the laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hpkb.analysis import correct
from hpkb.findings import Finding
from hpkb.miners import Context, architecture
from hpkb.sweep import Hyperparameter, Sweep
from tests.truth.laws.architecture import LAWS, NOISE, NORMS, with_data_sizes, with_level
from tests.truth.planted import covers

SWEEPS = 12


def mined(sweep: Sweep, quantity: str) -> dict[str, Finding]:
    return {f.condition: f for f in architecture.mine(Context(sweep)) if f.quantity == quantity}


@pytest.mark.parametrize("law", LAWS[:2], ids=lambda law: law.name)
def test_planted_differences_are_found_and_covered(law) -> None:
    found = [law.found(architecture.mine(Context(sweep))) or pytest.fail("no finding") for sweep, _ in drawn(law)]
    assert np.mean([covers(f, truth) for f, (_, truth) in zip(found, drawn(law), strict=True)]) >= 0.8
    assert np.mean([f.verdict == "supported" for f in found]) >= 0.8


def drawn(law):
    return [law.draw(np.random.default_rng(seed)) for seed in range(SWEEPS)]


def test_noise_supports_nothing() -> None:
    sweeps = [NOISE[0].draw(np.random.default_rng(seed)) for seed in range(10)]
    supported = [any(f.verdict == "supported" for f in correct(architecture.mine(Context(s)))) for s in sweeps]
    assert np.mean(supported) <= 0.1


def test_the_best_learning_rate_of_a_level_is_told() -> None:
    sweep = with_level(np.random.default_rng(4), "normalization", NORMS, difference=0.1, shift=-1.5)
    found = mined(sweep, "best_rate_ratio")["batch_norm against no normalization"]
    assert found.verdict == "supported"
    assert covers(found, float(np.exp(1.5)))


def test_depth_and_width_that_were_always_changed_together_are_claimed_by_nobody() -> None:
    sweep = with_level(np.random.default_rng(5), "depth", (2.0, 4.0, 8.0), difference=-0.1)
    depth = sweep.hyperparameter("depth")
    assert depth is not None
    width = replace(depth, name="width", values=depth.values * 32)
    both = replace(sweep, hyperparameters=(*sweep.hyperparameters, width))
    assert {f.verdict for f in architecture.mine(Context(both))} == {"insufficient"}


def test_the_number_of_parameters_is_not_held_where_the_depth_changes_it() -> None:
    sweep = with_level(np.random.default_rng(6), "depth", (2.0, 4.0), difference=-0.1)
    depth = sweep.hyperparameter("depth")
    assert depth is not None
    count = Hyperparameter("parameter_count", "log", depth.values * 1000 + 17)
    found = mined(replace(sweep, hyperparameters=(*sweep.hyperparameters, count)), "paired_difference")
    assert found["depth 4 against depth 2"].verdict == "supported"


def test_a_difference_may_depend_on_how_much_data_there_is() -> None:
    rng = np.random.default_rng(7)
    sweep = with_data_sizes(rng, with_level(rng, "residual", ("False", "True"), n=100))
    residual = sweep.hyperparameter("residual")
    assert residual is not None
    doublings = np.log2(sweep.records.numbers("n_examples.training"))
    grown = replace(sweep, y=sweep.y + 0.1 * (residual.values - 0.5) * (doublings - 12))
    [found] = mined(grown, "difference_by_data_size").values()
    assert found.verdict == "supported"
    assert covers(found, 0.1)


def test_tasks_that_disagree_make_no_general_rule() -> None:
    found = []
    for seed, sign in enumerate((1, 1, -1)):
        sweep = with_level(np.random.default_rng(seed), "normalization", NORMS, difference=0.2 * sign)
        found += architecture.mine(Context(replace(sweep, task=f"task {seed}")))
    [together] = architecture.combine(found)
    assert together.verdict == "rejected"
