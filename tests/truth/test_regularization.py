"""Slopes of the generalisation gap against planted ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpkb.findings import Finding
from hpkb.miners import Context, regularization
from hpkb.sweep import Sweep
from tests.truth.laws import regularization as laws
from tests.truth.laws.regularization import DECAY, DROPOUT, with_gap
from tests.truth.planted import covers, planted_sweep


def regularised(seed: int, *arguments: object, **law: object) -> Sweep:
    """A sweep of the law at a seed; see `laws.regularization`."""
    return laws.regularised(np.random.default_rng(seed), *arguments, **law)  # type: ignore[arg-type]


def answers(sweep: Sweep, quantity: str = "generalization_gap_slope") -> dict[tuple[str, ...], Finding]:
    return {f.hyperparameters: f for f in regularization.mine(Context(sweep)) if f.quantity == quantity}


def test_intervals_cover_the_planted_slopes() -> None:
    inside, supported = [], []
    for seed in range(60):
        found = answers(regularised(seed, repeats=2))
        for name, slope in (("weight_decay", DECAY), ("dropout", DROPOUT)):
            inside.append(covers(found[name,], slope))
            supported.append(found[name,].verdict == "supported")
    assert np.mean(inside) >= 0.92
    assert np.mean(supported) >= 0.9


def test_noise_with_heavy_tails_supports_nothing() -> None:
    verdicts = []
    for seed in range(80):
        sweep = regularised(seed, slopes=(0, 0), heavy=True, diverging=True)
        verdicts += [f.verdict == "supported" for f in answers(sweep).values()]
    assert np.mean(verdicts) <= 0.06


def test_a_regulariser_that_does_less_than_seeds_is_rejected() -> None:
    found = answers(regularised(1, 400, (0.0, 0.0), sd=0.02, repeats=3))
    assert found["dropout",].verdict == "rejected"


def test_the_slope_may_depend_on_the_number_of_training_examples() -> None:
    supported = []
    for seed in range(20):
        sweep = regularised(seed, 80)
        rng = np.random.default_rng(seed)
        examples = 2.0 ** rng.integers(10, 15, sweep.n_configurations)[sweep.configuration]
        dropout = sweep.hyperparameter("dropout")
        assert dropout is not None
        gap = sweep.records.numbers("gap") + 0.03 * (dropout.values - 0.25) / 0.1 * (np.log2(examples) - 12)
        sized = with_gap(sweep, gap, **{"n_examples.training": examples})
        found = answers(sized, "gap_slope_by_capacity")
        supported.append(found["dropout",].verdict == "supported" and covers(found["dropout",], 0.03))
    assert np.mean(supported) >= 0.85


def test_two_that_go_together_are_claimed_by_nobody() -> None:
    sweep = regularised(3)
    decay = sweep.hyperparameter("weight_decay")
    assert decay is not None
    tied = [replace(h, values=decay.values * 10) if h.name == "learning_rate" else h for h in sweep.hyperparameters]
    found = answers(replace(sweep, hyperparameters=tuple(tied)))
    assert found["weight_decay",].verdict == "insufficient"
    assert found["weight_decay",].estimate is None


def test_without_curves_of_training_and_validation_nothing_can_be_said() -> None:
    sweep, _ = planted_sweep(np.random.default_rng(0), 40)
    assert {f.verdict for f in regularization.mine(Context(sweep))} == {"insufficient"}


def test_tasks_that_disagree_make_no_general_rule() -> None:
    found = []
    for seed, sign in enumerate((1, 1, -1)):
        sweep = replace(regularised(seed, slopes=(sign * 0.1, 0.0)), task=f"task {seed}")
        found += regularization.mine(Context(sweep))
    together = {f.hyperparameters: f for f in regularization.combine(found)}
    assert together["weight_decay",].verdict == "rejected"
    assert "no general rule" in together["weight_decay",].claim
