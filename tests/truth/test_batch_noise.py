"""Critical batch size, noise scale, scatter and result against planted ones; noise supports nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from hpkb.analysis import correct
from hpkb.findings import Finding
from hpkb.miners import Context, batch_noise
from hpkb.records import Curve
from hpkb.stats.batch_curves import scatter
from hpkb.stats.critical_batch import reached, steps_to
from hpkb.sweep import Hyperparameter, Sweep
from tests.truth import laws
from tests.truth.laws.batch_noise import batch_sweep
from tests.truth.planted import covers, planted_sweep

SEEDS = 12


def mined(sweep: Sweep) -> list[Finding]:
    with threadpool_limits(1):
        return batch_noise.mine(Context(sweep))


def of(findings: list[Finding], quantity: str, condition: str | None = None) -> Finding:
    return next(f for f in findings if f.quantity == quantity and condition in (None, f.condition))


def drawn(seed: int = 0, **law: object) -> Sweep:
    return batch_sweep(np.random.default_rng(seed), **law)  # type: ignore[arg-type]


@pytest.mark.parametrize("law", laws.laws_of("batch_noise"), ids=lambda law: law.name)
def test_the_interval_covers_what_was_planted(law: laws.Law) -> None:
    sweeps = [law.draw(np.random.default_rng(seed)) for seed in range(SEEDS)]
    found = [(law.found(mined(sweep)), truth) for sweep, truth in sweeps]
    stated = [(f, truth) for f, truth in found if f is not None and f.estimate is not None]
    assert len(stated) >= 0.9 * SEEDS
    assert sum(covers(f, truth) for f, truth in stated) >= 0.8 * len(stated)
    if law.is_effect:
        assert sum(f.verdict == "supported" for f, _ in stated) >= 0.8 * SEEDS


@pytest.mark.parametrize("noise", laws.noise_of("batch_noise"), ids=lambda noise: noise.name)
def test_noise_supports_nothing(noise: laws.Noise) -> None:
    sweeps = [correct(mined(noise.draw(np.random.default_rng(seed)))) for seed in range(SEEDS)]
    assert sum(any(f.verdict == "supported" for f in found) for found in sweeps) <= 1


def test_steps_in_proportion_to_the_batch_size_are_no_critical_one() -> None:
    for seed in range(6):
        finding = of(mined(drawn(seed, critical=np.inf)), "critical_batch_size")
        assert finding.verdict == "insufficient"
        assert finding.high is None
        if finding.estimate is None:
            assert "in proportion to the batch size" in finding.claim


def test_a_target_is_met_between_two_points() -> None:
    curve = Curve(np.array([0.0, 10, 20, 30]), np.array([1.0, 0.8, 0.9, 0.4]), np.full(4, np.nan))
    (best,) = steps_to([curve], 1.0)
    assert reached(best, 0.9) == pytest.approx(5.0)
    assert reached(best, 0.6) == pytest.approx(25.0)
    assert np.isnan(reached(best, 0.3))
    assert steps_to([None], 1.0) == [None]


def test_the_scatter_of_a_falling_curve_is_that_of_its_noise() -> None:
    step = np.arange(400.0)
    value = 5 * np.exp(-step / 300) + np.random.default_rng(0).normal(0, 0.02, 400)
    assert np.exp(scatter(Curve(step, value, step))) == pytest.approx(0.02, rel=0.15)
    assert np.isnan(scatter(None))


def test_the_noise_scale_is_told_for_each_third_of_training() -> None:
    found = [f for f in mined(drawn()) if f.quantity == "gradient_noise_scale"]
    numbers = {f.condition: float(f.estimate or 0) for f in found}
    assert numbers["early in training"] < numbers["middle in training"] < numbers["late in training"]
    assert of(found, "gradient_noise_scale", "late in training").verdict == "supported"
    assert of(found, "gradient_noise_scale", "early in training").verdict == "insufficient"


def test_a_noise_scale_near_the_critical_batch_size_predicts_it() -> None:
    near = of(mined(drawn(1, critical=50.0, n=160)), "noise_scale_ratio")  # in the middle of training it is about 49
    far = of(mined(drawn(1, critical=1000.0, n=160)), "noise_scale_ratio")
    assert near.verdict == "supported"
    assert covers(near, 50 / 49)
    assert far.verdict != "supported"


def test_curves_that_count_epochs_give_the_same_critical_batch_size() -> None:
    """Each run is cut at an epoch of its own, so that its epochs are not those of its batch size."""
    sweep, rng = drawn(3, n=160), np.random.default_rng(0)
    batch = sweep.hyperparameter("batch_size")
    assert batch is not None
    facts = sweep.records.facts
    by_epoch, last = [], []
    for c, size in zip(facts.curves["val_loss"], batch.values, strict=True):
        assert c is not None
        k = int(rng.integers(c.step.size // 3, c.step.size))
        by_epoch.append(Curve(c.step[:k] * size / 1000, c.value[:k], c.seconds[:k]))
        last.append(by_epoch[-1].step[-1])
    told = replace(
        sweep, hyperparameters=(*sweep.hyperparameters, Hyperparameter("epochs", "log", np.array(last))),
        recorded=replace(sweep.records, facts=replace(facts, curves={**facts.curves, "val_loss": by_epoch})),
    )  # fmt: skip
    assert covers(of(mined(told), "critical_batch_size"), 64.0)


def test_without_curves_only_the_result_is_asked() -> None:
    sweep, _ = planted_sweep(np.random.default_rng(0), batch_exponent=0.5)
    found = mined(sweep)
    assert of(found, "result_by_batch_size").verdict == "supported"
    for quantity in ("gradient_noise_scale", "critical_batch_size", "noise_exponent"):
        assert (of(found, quantity).verdict, of(found, quantity).estimate) == ("insufficient", None)


def test_tasks_are_combined() -> None:
    found = [f for seed in range(4) for f in mined(replace(drawn(seed), task=f"task {seed}"))]
    together = {(f.quantity, f.condition): f for f in batch_noise.combine(found)}
    assert covers(together["noise_exponent", ""], -0.5)
    assert together["noise_exponent", ""].verdict == "supported"
    assert covers(together["critical_batch_size", "target that half of the configurations reach"], 64.0)
    assert len({f.id for f in together.values()}) == len(together)
