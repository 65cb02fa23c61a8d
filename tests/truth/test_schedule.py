"""Differences of schedules against planted ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpkb.findings import Finding
from hpkb.miners import Context, schedule
from tests.truth.laws.schedule import FOUR, LAWS, NOISE, schedules
from tests.truth.planted import covers


def answers(sweep: object, quantity: str = "paired_difference") -> dict[str, Finding]:
    return {f.condition: f for f in schedule.mine(Context(sweep)) if f.quantity == quantity}  # type: ignore[arg-type]


def test_intervals_cover_the_planted_difference() -> None:
    inside, supported = [], []
    for seed in range(12):
        sweep, truth = LAWS[0].draw(np.random.default_rng(seed))
        found = LAWS[0].found(schedule.mine(Context(sweep)))
        assert found is not None
        inside.append(covers(found, truth))
        supported.append(found.verdict == "supported")
    assert np.mean(inside) >= 0.8
    assert np.mean(supported) >= 0.8


def test_a_steeper_curve_at_higher_rates_is_no_better_schedule() -> None:
    claims = [
        f.verdict == "supported"
        for seed in range(12)
        for f in answers(NOISE[0].draw(np.random.default_rng(seed))).values()
    ]
    assert np.mean(claims) <= 0.2


def test_warm_restarts_are_held_against_the_plain_cosine() -> None:
    sweep = schedules(np.random.default_rng(1), schedules=FOUR, n_configurations=160, seed_noise=0.05)
    (found,) = answers(sweep, "restarts_vs_plain").values()
    assert found.condition == "warm restarts against plain cosine"
    assert covers(found, 0.2)
    assert len(answers(sweep)) == 6


def test_whether_the_optimizer_matters_is_told() -> None:
    sweep = schedules(np.random.default_rng(1), optimizers=("SGD", "AdamW"), n_configurations=160, seed_noise=0.05)
    (found,) = answers(sweep, "difference_by_part").values()
    assert found.condition == "cosine against constant, AdamW against SGD"
    assert found.verdict == "insufficient"


def test_tasks_that_disagree_make_no_general_rule() -> None:
    found = []
    for seed, sign in enumerate((1, 1, -1)):
        sweep = schedules(np.random.default_rng(seed), seed_noise=0.02)
        code = next(h.values for h in sweep.hyperparameters if h.name == "lr_schedule")
        y = sweep.y + (0.0 if sign > 0 else -0.3) * code
        found += schedule.mine(Context(replace(sweep, y=y, task=f"task {seed}")))
    (together,) = schedule.combine(found)
    assert together.verdict == "rejected"
    assert "no general rule" in together.claim


def test_one_schedule_is_no_question() -> None:
    assert schedule.mine(Context(schedules(np.random.default_rng(0), schedules=()))) == []
