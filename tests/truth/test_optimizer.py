"""The expected best of k of two optimizers, against planted searches."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from hpkb.miners import Context, optimizer
from hpkb.stats.best_of_k import difference, expected_best
from hpkb.sweep import Hyperparameter
from tests.truth.planted import planted_sweep

BOTH = {"optimizers": ("AdamW", "SGD"), "design": "random", "optimizer_shift": 0.0}


def test_it_is_the_mean_over_all_subsets() -> None:
    y = np.random.default_rng(0).normal(size=9)
    for k in (1, 2, 4):
        assert expected_best(y, k).estimate == pytest.approx(np.mean([min(s) for s in combinations(y, k)]))


def test_the_jackknife_leaves_out_one_at_a_time() -> None:
    y = np.random.default_rng(1).normal(size=10)
    left_out = [np.mean([min(s) for s in combinations(np.delete(y, i), 3)]) for i in range(10)]
    assert expected_best(y, 3).error == pytest.approx(np.std(left_out) * np.sqrt(10))


@pytest.mark.parametrize("k", [1, 4, 16])
def test_intervals_cover_for_budgets_up_to_half_of_what_was_tried(k: int) -> None:
    rng = np.random.default_rng(k)
    large = rng.exponential(1, (40_000, k)).min(axis=1).mean()
    inside = [
        abs(d.estimate - (large - 2 * large)) <= d.half_width
        for d in (difference(rng.exponential(1, 34), 2 * rng.exponential(1, 34), k) for _ in range(200))
    ]
    assert np.mean(inside) >= 0.91


def test_more_than_half_is_refused() -> None:
    with pytest.raises(ValueError, match="best of 6"):
        expected_best(np.zeros(10), 6)


def test_a_worse_optimizer_is_told_at_every_budget() -> None:
    sweep, _ = planted_sweep(np.random.default_rng(0), 600, **BOTH)  # type: ignore[arg-type]
    found = {f.condition: f for f in optimizer.mine(Context(sweep))}
    assert list(found) == [f"SGD against AdamW, k={k}" for k in (1, 4, 16, 64)]
    assert found["SGD against AdamW, k=16"].verdict == "supported"
    assert "worse" in found["SGD against AdamW, k=16"].claim


def test_what_went_along_with_the_optimizer_takes_the_verdict_away() -> None:
    sweep, _ = planted_sweep(np.random.default_rng(0), 600, **BOTH)  # type: ignore[arg-type]
    of = sweep.hyperparameter("optimizer")
    assert of is not None
    tied = Hyperparameter("width", "log", 64.0 * (1 + of.values))
    found = optimizer.mine(Context(replace(sweep, hyperparameters=(*sweep.hyperparameters, tied))))
    assert {f.verdict for f in found} == {"insufficient"}
    assert any("width" in c for c in found[0].caveats)


def test_infeasible_runs_count_as_the_worst() -> None:
    sweep, _ = planted_sweep(np.random.default_rng(0), 200, **BOTH)  # type: ignore[arg-type]
    of = sweep.hyperparameter("optimizer")
    assert of is not None
    lost = (of.values == 1) & (np.cumsum(of.values == 1) % 2 == 0)
    failed = replace(sweep, y=np.where(lost, np.nan, sweep.y), infeasible=lost)
    before, after = (optimizer.mine(Context(s))[0] for s in (sweep, failed))
    assert isinstance(before.estimate, float)
    assert isinstance(after.estimate, float)
    assert after.estimate > before.estimate
    assert any("50% with SGD" in c for c in after.caveats)
