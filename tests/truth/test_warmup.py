"""What warmup does and its best length, against planted laws."""

from __future__ import annotations

import numpy as np

from hpkb.findings import Finding
from hpkb.miners import Context, warmup
from hpkb.sweep import Sweep
from tests.truth.laws.warmup import BEST, EFFECT, warmed_up
from tests.truth.planted import covers


def answers(sweep: Sweep) -> dict[str, Finding]:
    return {f.quantity: f for f in warmup.mine(Context(sweep))}


def test_difference_and_best_rate_are_covered() -> None:
    found = [answers(warmed_up(np.random.default_rng(seed), seed_noise=0.05)) for seed in range(10)]
    assert np.mean([covers(f["paired_difference"], EFFECT) for f in found]) >= 0.8
    assert np.mean([f["paired_difference"].verdict == "supported" for f in found]) >= 0.8
    assert np.mean([covers(f["best_rate_ratio"], np.exp(1.0)) for f in found]) >= 0.8
    assert found[0]["paired_difference"].condition == "warmup against no warmup"


def test_the_best_length_is_found() -> None:
    found = [
        answers(warmed_up(np.random.default_rng(seed), without=0.1, bend=0.05, seed_noise=0.1))["optimum"]
        for seed in range(10)
    ]
    assert np.mean([covers(f, BEST) for f in found]) >= 0.8
    assert np.mean([f.verdict == "supported" for f in found]) >= 0.8
    assert found[0].unit == "steps"


def test_no_warmup_anywhere_is_no_question() -> None:
    sweep = warmed_up(np.random.default_rng(0), without=1.1)
    assert {f.verdict for f in warmup.mine(Context(sweep))} == {"insufficient"}
