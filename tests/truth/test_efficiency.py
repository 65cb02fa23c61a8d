"""Knees, exponents of costs and fronts against planted ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hpkb.analysis import correct
from hpkb.findings import Finding
from hpkb.miners import Context, efficiency
from hpkb.stats.pareto import front
from hpkb.sweep import Sweep
from tests.truth.laws import laws_of, noise_of
from tests.truth.laws.efficiency import timed, with_costs
from tests.truth.planted import covers, planted_sweep
from tests.truth.test_contract import assert_sound, said

SWEEPS = 20


def answers(sweep: Sweep, quantity: str) -> dict[str, Finding]:
    return {f.condition: f for f in correct(efficiency.mine(Context(sweep))) if f.quantity == quantity}


@pytest.mark.parametrize("law", laws_of("efficiency"), ids=lambda law: law.name)
def test_intervals_cover_the_planted_number(law) -> None:
    inside, supported = [], []
    for seed in range(SWEEPS):
        sweep, truth = law.draw(np.random.default_rng(seed))
        found = law.found(efficiency.mine(Context(sweep)))
        inside.append(covers(found, truth))
        supported.append(found.verdict == "supported")
    assert np.mean(inside) >= 0.8
    assert np.mean(supported) >= 0.85 if law.is_effect else np.mean(supported) <= 0.2


@pytest.mark.parametrize("noise", noise_of("efficiency"), ids=lambda noise: noise.name)
def test_costs_that_mean_nothing_support_no_claim(noise) -> None:
    claims = 0
    for seed in range(SWEEPS):
        found = correct(efficiency.mine(Context(noise.draw(np.random.default_rng(seed)))))
        claims += any(f.verdict == "supported" for f in found)
    assert claims <= 2


def test_throughput_that_still_grows_has_no_knee() -> None:
    sweep = timed(np.random.default_rng(0), noise=0.05)
    batch = sweep.hyperparameter("batch_size")
    assert batch is not None
    growing = np.exp(np.random.default_rng(0).normal(0, 0.05, sweep.n_runs)) * batch.values
    found = answers(with_costs(sweep, {}, {"examples_per_second": growing}), "throughput_knee")[""]
    assert found.verdict == "rejected"
    assert "still grows" in found.claim


def priced(rng: np.random.Generator, trade: bool, n: int = 40) -> Sweep:
    """Results that get better with the run time, or in which one configuration is best at both."""
    sweep, _ = planted_sweep(rng, n, 3, effect=False, seed_noise=0.02)
    seconds = np.exp(np.linspace(3, 6, n))[sweep.configuration]
    y = sweep.y + (-0.3 if trade else 0.3) * np.log(seconds)
    costs = {"run_seconds": seconds * np.exp(rng.normal(0, 0.01, sweep.n_runs))}
    return with_costs(replace(sweep, y=y), costs, {})


def test_a_trade_is_seen_and_a_single_best_one_as_well() -> None:
    trade = answers(priced(np.random.default_rng(0), True), "pareto_front")[""]
    assert trade.verdict == "supported"
    assert isinstance(trade.estimate, float)
    assert trade.estimate > 20
    single = answers(priced(np.random.default_rng(0), False), "pareto_front")[""]
    assert single.verdict != "supported"
    assert single.estimate is not None
    assert single.estimate <= 3


def test_the_true_front_lies_within_its_bounds() -> None:
    inside = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        true = rng.random((25, 2))
        true[:, 1] = 1 - true[:, 0] + 0.3 * true[:, 1]
        seen = true + 0.02 * rng.standard_normal((25, 2)) / np.sqrt(3)
        size = sum(not ((true <= t).all(axis=1) & (true < t).any(axis=1)).any() for t in true)
        found = front(seen, np.full(25, 3.0), np.full(2, 0.02), np.full(2, 50.0))
        inside.append(found.low <= size <= found.high)
    assert np.mean(inside) >= 0.93


def test_without_repeats_noise_is_not_known_and_the_front_not_claimed() -> None:
    sweep = timed(np.random.default_rng(0), repeats=1)
    found = answers(sweep, "pareto_front")[""]
    assert found.verdict == "insufficient"
    assert found.low is None


def test_costs_on_several_machines_say_so() -> None:
    sweep = timed(np.random.default_rng(0))
    facts = replace(sweep.records.facts, texts={"hpkb.hw.gpu.name": ["A", "B"] * (sweep.n_runs // 2)})
    mixed = replace(sweep, recorded=replace(sweep.records, facts=facts))
    assert "2 kinds of machines" in answers(mixed, "throughput_knee")[""].caveats


def test_findings_are_sound_and_repeatable() -> None:
    sweep = timed(np.random.default_rng(5), repeats=2, diverging=True)
    findings = efficiency.mine(Context(sweep))
    assert_sound(findings, "efficiency", sweep)
    assert said(findings) == said(efficiency.mine(Context(sweep)))
