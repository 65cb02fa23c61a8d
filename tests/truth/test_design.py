"""What a design covers and what it does not, against planted holes, orders and edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hpkb.analysis import correct
from hpkb.findings import Finding
from hpkb.miners import Context, design
from hpkb.stats.design import cover, empty_corner, order_of, thirds
from hpkb.sweep import Hyperparameter, Sweep
from tests.truth.laws import laws_of, noise_of
from tests.truth.laws.design import ordered
from tests.truth.planted import covers, planted_sweep
from tests.truth.test_contract import assert_sound, said

SWEEPS = 20


def plain(seed: int = 0, n: int = 80, **law: object) -> Sweep:
    return planted_sweep(np.random.default_rng(seed), n, effect=False, **law)[0]  # type: ignore[arg-type]


def answers(sweep: Sweep, quantity: str) -> dict[tuple[str, ...], Finding]:
    return {f.hyperparameters: f for f in correct(design.mine(Context(sweep))) if f.quantity == quantity}


@pytest.mark.parametrize("law", laws_of("design"), ids=lambda law: law.name)
def test_intervals_cover_the_planted_number(law) -> None:
    inside, supported = [], []
    for seed in range(SWEEPS):
        sweep, truth = law.draw(np.random.default_rng(seed))
        found = law.found(design.mine(Context(sweep)))
        inside.append(covers(found, truth))
        supported.append(found.verdict == "supported")
    assert np.mean(inside) >= 0.8
    assert np.mean(supported) >= 0.85 if law.is_effect else np.mean(supported) <= 0.2


@pytest.mark.parametrize("noise", noise_of("design"), ids=lambda noise: noise.name)
def test_designs_that_mean_nothing_support_no_claim(noise) -> None:
    claims = 0
    for seed in range(SWEEPS):
        found = correct(design.mine(Context(noise.draw(np.random.default_rng(seed)))))
        claims += any(f.verdict == "supported" for f in found)
    assert claims <= 2


def test_a_hole_is_named_with_its_ends() -> None:
    sweep = plain(n=120)
    rate = sweep.hyperparameter("learning_rate")
    assert rate is not None
    found = answers(sweep.subset((rate.values < 1e-3) | (rate.values > 3e-2)), "coverage")
    hole = found["learning_rate",]
    assert hole.verdict == "insufficient"
    (gap,) = hole.figure["gaps"]
    assert gap["low"] == pytest.approx(1e-3, rel=0.3)
    assert gap["high"] == pytest.approx(3e-2, rel=0.3)
    assert found["weight_decay",].verdict == "rejected"
    assert found["weight_decay",].figure["gaps"] == []


def test_random_values_have_no_hole_and_lists_are_held_to_their_own_gaps() -> None:
    rng = np.random.default_rng(0)
    drawn = [cover(Hyperparameter("learning_rate", "log", np.exp(rng.uniform(-9, 0, 60)))) for _ in range(200)]
    assert not any(c is None or c.is_hole for c in drawn)
    even = cover(Hyperparameter("batch_size", "log", np.repeat(2.0 ** np.arange(3, 10), 9)))
    uneven = cover(Hyperparameter("learning_rate", "log", np.repeat([1e-5, 1e-4, 1e-3, 1e0], 9)))
    assert even is not None
    assert uneven is not None
    assert (even.is_hole, uneven.is_hole) == (False, True)
    assert uneven.is_list


def test_an_empty_corner_of_two_is_named() -> None:
    sweep = plain(n=120)
    rate, decay = (sweep.hyperparameter(name) for name in ("learning_rate", "weight_decay"))
    assert rate is not None
    assert decay is not None
    corner = (rate.values > 1e-2) & (decay.values > 1e-3)
    (found,) = (f for names, f in answers(sweep.subset(~corner), "coverage").items() if len(names) == 2)
    assert found.hyperparameters == ("learning_rate", "weight_decay")
    assert [gap["hyperparameter"] for gap in found.figure["gaps"]] == ["learning_rate", "weight_decay"]


def test_a_random_design_rarely_has_an_empty_corner() -> None:
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(300):
        one, other = (Hyperparameter(name, "linear", rng.random(60)) for name in ("dropout", "momentum"))
        found += empty_corner(thirds(one), thirds(other)) is not None
    assert found <= 6


def test_a_sampler_that_follows_its_results_is_seen_by_its_order() -> None:
    seen = 0
    for seed in range(4):
        sweep, _ = planted_sweep(np.random.default_rng(seed), 200, design="adaptive", batch_exponent=None)
        seen += answers(ordered(sweep, np.arange(200.0)), "sampling_bias")[()].verdict == "supported"
    assert seen >= 3


def test_the_order_is_that_of_configurations_and_unknown_where_no_start_is() -> None:
    sweep = plain(repeats=2)
    assert order_of(sweep, 16) is None
    assert answers(sweep, "sampling_bias")[()].verdict == "insufficient"
    found = order_of(ordered(sweep, np.arange(80.0)), 16)
    assert found is not None
    assert found.n == 80


def test_runs_where_nothing_was_to_be_won_are_counted() -> None:
    sweep, _ = planted_sweep(np.random.default_rng(0), 80, diverging=True)
    (found,) = answers(sweep, "hopeless_share").values()
    assert found.verdict == "supported"
    assert found.hyperparameters == ("learning_rate",)
    assert isinstance(found.estimate, float)
    assert 0.1 < found.estimate < 0.5


def test_more_than_two_fifths_infeasible_is_a_fact() -> None:
    sweep = plain()
    lost = np.arange(sweep.n_runs) % 2 == 0
    half = replace(sweep, y=np.where(lost, np.nan, sweep.y), infeasible=lost)
    assert answers(half, "infeasible_excess")[()].p_value == 0.0
    assert answers(half, "infeasible_excess")[()].verdict == "supported"
    assert answers(sweep, "infeasible_excess")[()].verdict == "rejected"


def test_findings_are_sound_and_repeatable() -> None:
    sweep = ordered(planted_sweep(np.random.default_rng(3), 40, 2, diverging=True)[0], np.arange(40.0))
    findings = design.mine(Context(sweep))
    assert_sound(findings, "design", sweep)
    assert said(findings) == said(design.mine(Context(sweep)))
