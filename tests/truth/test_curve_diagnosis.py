"""Signs on learning curves against planted ones: shares, the turn, and the defects of the Tuning Playbook."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hpkb.analysis import correct
from hpkb.findings import Finding
from hpkb.miners import Context, curve_diagnosis
from hpkb.records import FloatArray
from hpkb.stats.curve_shape import FALSE_ALARMS, NOISY, shapes
from hpkb.stats.curves import Panel
from hpkb.sweep import Sweep
from tests.truth.curves import best_row, clean_sweep, judged, recorded, scatter, shares
from tests.truth.laws import laws_of, noise_of
from tests.truth.laws.curve_diagnosis import overfitting
from tests.truth.planted import covers, planted_sweep
from tests.truth.test_contract import assert_sound, said

POINTS = 60
CHECKS = ("overfits", "late_noise", "still_improving", "early_best", "clipped")


def answers(sweep: Sweep) -> dict[str, Finding]:
    return {f.quantity: f for f in correct(curve_diagnosis.mine(Context(sweep)))}


# --- laws and noise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", laws_of("curve_diagnosis"), ids=lambda law: law.name)
def test_intervals_cover_the_planted_share_or_turn(law) -> None:
    inside, supported = [], []
    for seed in range(20):
        sweep, truth = law.draw(np.random.default_rng(seed))
        found = law.found(curve_diagnosis.mine(Context(sweep)))
        inside.append(covers(found, truth))
        supported.append(found.verdict == "supported")
    assert np.mean(inside) >= 0.8
    assert np.mean(supported) >= 0.9


@pytest.mark.parametrize("noise", noise_of("curve_diagnosis"), ids=lambda noise: noise.name)
def test_clean_curves_and_curves_of_nothing_support_no_claim(noise) -> None:
    for seed in range(8):
        found = answers(noise.draw(np.random.default_rng(seed)))
        assert not [f.quantity for f in found.values() if f.verdict == "supported"]


@pytest.mark.parametrize("tails", ["normal", "heavy", "wandering"])
@pytest.mark.parametrize("points", [12, 30, 200])
def test_signs_show_on_clean_curves_as_rarely_as_is_said(points, tails) -> None:
    rng = np.random.default_rng(points)
    curves = 0.3 + 2 * np.exp(-shares(points) / 0.15) + scatter(rng, 1500, points, 0.01, tails)
    found = shapes(Panel(np.tile(shares(points), (1500, 1)), curves, np.full(1500, points)))
    for shown in (found.turns, found.still_improving, found.early):
        assert shown.mean() <= FALSE_ALARMS
    assert found.noisy.mean() <= NOISY


# --- the checks of the Tuning Playbook ----------------------------------------------------------------------


def defective(check: str, curves: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The curves, (n, m), with one defect."""
    t = shares(curves.shape[1])
    if check == "overfits":
        return curves + 0.4 * np.maximum(t - 0.5, 0)
    if check == "late_noise":
        return curves + np.where(t > 0.6, 0.25, 0.0) * rng.standard_normal(curves.shape)
    if check == "still_improving":
        return curves + 1.2 * (1 - t)
    if check == "early_best":
        return np.where(t <= 0.06, curves - 3 * np.exp(-t / 0.1), curves + 0.3 * t)
    return curves


def planted(seed: int, check: str, everywhere: bool, points: int = POINTS) -> Sweep:
    """A clean sweep with one defect, in the best run or in all; the order of the runs by objective stays."""
    rng = np.random.default_rng(seed)
    sweep = clean_sweep(rng, points=points)
    hit = np.ones(sweep.n_runs, bool) if everywhere else np.arange(sweep.n_runs) == best_row(sweep)
    loss = np.stack([c.value for c in sweep.records.curves("val_loss")])
    train = np.stack([c.value for c in sweep.records.curves("train_loss")])
    loss[hit] = defective(check, loss[hit], rng)
    clipped = rng.uniform(0.0, 0.3, sweep.n_runs)
    clipped[hit] = 0.8 if check == "clipped" else clipped[hit]
    y = sweep.y
    return replace(
        recorded(sweep, {"val_loss": loss, "train_loss": train}, gradient_clip_share=clipped), y=y
    )


@pytest.mark.parametrize("everywhere", [True, False], ids=["all runs", "the best run"])
@pytest.mark.parametrize("check", CHECKS)
def test_a_planted_defect_of_the_best_run_is_found(check, everywhere) -> None:
    for seed in range(8):
        found = answers(planted(seed, check, everywhere))
        assert found[f"best_trial_{check}"].verdict == "supported", found[f"best_trial_{check}"].claim


@pytest.mark.parametrize("check", CHECKS)
def test_a_defect_of_all_runs_is_told_as_their_share(check) -> None:
    quantity = {"overfits": "overfit_share", "clipped": "clipped_step_share"}.get(check, f"{check}_share")
    found = answers(planted(3, check, True))[quantity]
    assert found.verdict == "supported"
    assert isinstance(found.estimate, float)
    assert found.estimate > 0.8


def test_a_clean_best_run_is_said_to_be_clean() -> None:
    alarms, cleared = 0, []
    for seed in range(25):
        found = answers(planted(seed, "none", False))
        alarms += sum(f.verdict == "supported" for f in found.values())
        cleared += [found[f"best_trial_{check}"].verdict == "rejected" for check in CHECKS]
    assert alarms == 0
    assert np.mean(cleared) >= 0.95


def test_steps_are_clipped_where_the_norm_exceeds_the_bound() -> None:
    sweep = clean_sweep(np.random.default_rng(0))
    loss = np.stack([c.value for c in sweep.records.curves("val_loss")])
    norms = np.where(shares(POINTS) < 0.7, 3.0, 0.5) * np.ones_like(loss)
    bound = recorded(replace(sweep, fixed={"gradient_clip_norm": "1.0"}), {"val_loss": loss, "grad_norm": norms})
    found = answers(bound)
    assert found["best_trial_clipped"].verdict == "supported"
    assert found["best_trial_clipped"].estimate == pytest.approx(0.7, abs=0.02)


# --- what may be missing ------------------------------------------------------------------------------------


def test_each_run_has_its_reasons() -> None:
    sweep = planted(1, "overfits", False)
    figure = curve_diagnosis.mine(Context(sweep))[0].figure
    reasons = {row["run_id"]: row["reasons"] for row in figure["runs"]}
    best = reasons[sweep.run_ids[best_row(sweep)]]
    assert any(reason.startswith("overfits") for reason in best)
    assert len(reasons) == sweep.n_runs


def test_training_that_rises_as_well_is_no_overfitting() -> None:
    sweep = clean_sweep(np.random.default_rng(2))
    worse = {m: np.stack([c.value for c in sweep.records.curves(m)]) for m in ("val_loss", "train_loss")}
    worse = {m: v + 0.5 * np.maximum(shares(POINTS) - 0.5, 0) for m, v in worse.items()}
    found = answers(recorded(sweep, worse))
    assert found["overfit_share"].verdict == "rejected"
    assert found["training_rising_share"].verdict == "supported"


def test_accuracy_counts_the_other_way_round() -> None:
    sweep = overfitting(np.random.default_rng(4), share=1.0)
    rising = {"val_accuracy": 1 - 0.3 * np.stack([c.value for c in sweep.records.curves("val_loss")])}
    turned = recorded(replace(sweep, objective="val_accuracy:max"), rising)
    assert answers(turned)["overfit_share"].verdict == "supported"


def test_without_curves_or_with_nothing_but_failures_there_is_no_answer() -> None:
    bare, _ = planted_sweep(np.random.default_rng(0), 30)
    lost = recorded(bare, {"val_loss": np.full((bare.n_runs, 40), np.nan)})
    short = recorded(bare, {"val_loss": np.ones((bare.n_runs, 5))})
    for sweep in (bare, lost, short):
        assert {f.verdict for f in curve_diagnosis.mine(Context(sweep))} == {"insufficient"}


def test_findings_with_curves_are_sound_and_repeatable() -> None:
    sweep = overfitting(np.random.default_rng(5), repeats=2, diverging=True)
    findings = curve_diagnosis.mine(Context(sweep))
    assert_sound(findings, "curve_diagnosis", sweep)
    assert said(findings) == said(curve_diagnosis.mine(Context(sweep)))


def test_tasks_of_which_some_overfit_make_no_general_rule() -> None:
    found = []
    for seed, share in enumerate((0.0, 0.0, 0.9)):
        sweep = replace(overfitting(np.random.default_rng(seed), share=share, n=80), task=f"task {seed}")
        found += curve_diagnosis.mine(Context(sweep))
    together = {f.quantity: f for f in curve_diagnosis.combine(found)}
    assert together["overfit_share"].verdict == "rejected"
    assert "no general rule" in together["overfit_share"].claim


def test_the_last_value_is_the_objective_of_a_judged_sweep() -> None:
    sweep = clean_sweep(np.random.default_rng(6))
    values = np.stack([c.value for c in sweep.records.curves("val_loss")])
    assert np.array_equal(judged(sweep, values).y, sweep.y)
