"""Stopping rules replayed on curves of which it is known what they save and lose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hpkb.analysis import correct
from hpkb.findings import Finding
from hpkb.miners import Context, early_stopping
from hpkb.stats.curves import Panel
from hpkb.stats.stopping import by_extrapolation, by_patience, in_pools, left_out_means, p_of_mean_below
from hpkb.sweep import Sweep
from tests.truth.curves import recorded, shares
from tests.truth.laws import laws_of, noise_of
from tests.truth.laws.early_stopping import stopped
from tests.truth.planted import covers, planted_sweep
from tests.truth.test_contract import assert_sound, said


def answers(sweep: Sweep) -> dict[tuple[str, str], Finding]:
    return {(f.quantity, f.condition): f for f in correct(early_stopping.mine(Context(sweep)))}


def panel_of(values: list[list[float]]) -> Panel:
    array = np.array(values, dtype=np.float64)
    return Panel(np.tile(shares(array.shape[1]), (array.shape[0], 1)), array, np.full(array.shape[0], array.shape[1]))


# --- laws and noise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", laws_of("early_stopping"), ids=lambda law: law.name)
def test_intervals_cover_what_runs_without_end_would_say(law) -> None:
    inside = []
    for seed in range(12):
        sweep, truth = law.draw(np.random.default_rng(seed))
        inside.append(covers(law.found(early_stopping.mine(Context(sweep))), truth))
    assert np.mean(inside) >= 0.75


@pytest.mark.parametrize("noise", noise_of("early_stopping"), ids=lambda noise: noise.name)
def test_nothing_is_saved_where_nothing_can_be(noise) -> None:
    for seed in range(5):
        found = answers(noise.draw(np.random.default_rng(seed)))
        rules = [f for (quantity, condition), f in found.items() if quantity in early_stopping.QUANTITIES]
        assert not [f.claim for f in rules if f.verdict == "supported"]


def test_runs_that_turn_early_can_be_stopped() -> None:
    found = answers(stopped(np.random.default_rng(0), repeats=2))
    saved = found["compute_saved", ""]
    assert saved.verdict == "supported"
    assert saved.estimate > 0.3
    assert found["best_minus_last", ""].verdict == "supported"
    assert found["best_minus_last", ""].estimate < 0


def test_a_test_metric_tells_the_regret_where_there_is_one() -> None:
    with_test = answers(stopped(np.random.default_rng(1), test=True))["regret_paid", ""]
    without = answers(stopped(np.random.default_rng(1)))["regret_paid", ""]
    assert with_test.unit.startswith("test_loss")
    assert "neighbours" in " ".join(without.caveats)


# --- the rules ----------------------------------------------------------------------------------------------


def test_patience_stops_after_a_share_without_improvement_and_keeps_the_best() -> None:
    curves = panel_of([[5, 4, 3, 2, 2.5, 2.6, 2.7, 2.8, 1.0, 1.1]])
    stops = by_patience(curves, 0.0, (0.2, 0.5, 1.0))
    assert stops.stop.tolist() == [[5, 9, 9]]
    assert stops.kept.tolist() == [[3, 8, 8]]


def test_an_improvement_within_the_margin_is_none() -> None:
    curves = panel_of([[5, 4, 3, 2.9, 2.8, 2.7, 2.6, 2.55, 2.5, 2.45]])
    assert by_patience(curves, 0.5, (0.3,)).stop.tolist() == [[5]]
    assert by_patience(curves, 0.0, (0.3,)).stop.tolist() == [[9]]


def test_a_value_that_is_not_finite_is_no_improvement() -> None:
    curves = panel_of([[5, np.inf, 3, 4, 4, 4, 4, 4, 4, 4]])
    assert by_patience(curves, 0.0, (0.3,)).kept.tolist() == [[2]]


def test_a_flat_curve_is_hopeless_and_a_falling_one_is_not() -> None:
    t = shares(40)
    curves = panel_of([(1 + 0.5 * t**-0.5).tolist(), (1 + 1e-3 * t**-0.5).tolist()])
    stops = by_extrapolation(curves, 0.01)
    assert stops.stop[0, 0] > 30
    assert stops.stop[1, 0] < 12


def test_neighbours_know_nothing_of_a_lucky_evaluation() -> None:
    curves = panel_of([[1.0] * 10])
    curves.value[0, 5] = 0.2
    assert left_out_means(curves)[0, 5] == pytest.approx(1.0)
    assert left_out_means(curves)[0, 4] < 1


def test_halving_keeps_the_better_third() -> None:
    at = np.tile(np.arange(9.0)[None, :, None], (1, 1, 8))
    saved, regret = in_pools(at, at[:, :, 0], "halving")
    assert saved[0] == pytest.approx(1 - (3 + 6 * 0.3) / 9)
    assert regret[0] == 0


@pytest.mark.parametrize("draw", ["normal", "rare"])
def test_bets_are_won_by_chance_as_rarely_as_they_say(draw) -> None:
    rng, p = np.random.default_rng(0), []
    for _ in range(400):
        # a mean of exactly the bound: by normal noise, or by one value in fifty
        values = 1 + rng.normal(0, 1, 60) if draw == "normal" else 5.0 * (rng.random(60) < 0.2)
        p.append(p_of_mean_below(np.minimum(values, 5.0), 1.0, 5.0))
    assert np.mean(np.array(p) <= 0.05) <= 0.06
    assert p_of_mean_below(np.zeros(60), 1.0, 5.0) < 1e-4


# --- what may be missing ------------------------------------------------------------------------------------


def test_without_curves_or_with_few_configurations_there_is_no_answer() -> None:
    bare, _ = planted_sweep(np.random.default_rng(0), 30)
    short = recorded(bare, {"val_loss": np.ones((bare.n_runs, 5))})
    flat = recorded(bare, {"val_loss": np.ones((bare.n_runs, 30))})
    few = stopped(np.random.default_rng(0), n=5)
    for sweep in (bare, short, flat, few):
        found = early_stopping.mine(Context(sweep))
        assert {f.verdict for f in found} == {"insufficient"}
        assert set(early_stopping.QUANTITIES) <= {f.quantity for f in found}


def test_findings_with_curves_are_sound_and_repeatable() -> None:
    sweep = stopped(np.random.default_rng(5), repeats=2, diverging=True)
    findings = early_stopping.mine(Context(sweep))
    assert_sound(findings, "early_stopping", sweep)
    assert said(findings) == said(early_stopping.mine(Context(sweep)))


def test_what_all_tasks_say_together() -> None:
    found = []
    for seed in range(3):
        found += early_stopping.mine(Context(replace(stopped(np.random.default_rng(seed)), task=f"task {seed}")))
    together = {(f.quantity, f.condition): f for f in early_stopping.combine(found)}
    assert together["compute_saved", ""].verdict == "supported"
    assert together["patience", ""].n_tasks == 3
