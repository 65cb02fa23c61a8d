"""The exponent of the best learning rate in 1 - momentum, and which variable predicts best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from threadpoolctl import threadpool_limits

from hpkb.findings import Finding
from hpkb.miners import Context, lr_momentum
from hpkb.sweep import Hyperparameter, Sweep
from tests.truth import laws
from tests.truth.planted import covers, planted_sweep

SEEDS = 24
TABLE = Path(__file__).parents[2].parent / "shared" / "data" / "opda_imagenet.parquet"
SGD = {"optimizers": ("SGD",), "momentum": True}


def mined(sweep: Sweep) -> list[Finding]:
    with threadpool_limits(1):
        return lr_momentum.mine(Context(sweep))


def variables(sweep: Sweep) -> dict[str, Finding]:
    return {f.condition: f for f in mined(sweep) if f.quantity == "best_rate_variable"}


@pytest.mark.parametrize("law", laws.laws_of("lr_momentum"), ids=lambda law: law.name)
def test_the_interval_covers_the_planted_exponent(law: laws.Law) -> None:
    drawn = [law.draw(np.random.default_rng(seed)) for seed in range(SEEDS)]
    found = [(law.found(mined(sweep)), truth) for sweep, truth in drawn]
    stated = [(f, truth) for f, truth in found if f is not None and f.estimate is not None]
    assert len(stated) >= 0.9 * SEEDS
    assert sum(covers(f, truth) for f, truth in stated) >= 0.88 * len(stated)
    supported = sum(f.verdict == "supported" for f, _ in stated)
    assert supported >= 0.85 * SEEDS if law.is_effect else supported <= 0.1 * SEEDS


@pytest.mark.parametrize("noise", laws.noise_of("lr_momentum"), ids=lambda noise: noise.name)
def test_noise_supports_nothing(noise: laws.Noise) -> None:
    found = [f for seed in range(SEEDS) for f in mined(noise.draw(np.random.default_rng(seed)))]
    assert sum(f.verdict == "supported" for f in found) <= 0.05 * len(found)


@pytest.mark.parametrize(("exponent", "better"), [(1.0, "lr/(1 - momentum)"), (0.0, "lr")])
def test_the_variable_that_was_planted_predicts_best(exponent: float, better: str) -> None:
    told = []
    for seed in range(10):
        sweep, _ = planted_sweep(np.random.default_rng(seed), momentum_exponent=exponent, seed_noise=0.2, **SGD)  # type: ignore[arg-type]
        finding = variables(sweep)["lr/(1 - momentum) against lr"]
        told.append(finding.verdict == "supported" and finding.claim.startswith(f"{better} is a better"))
    assert sum(told) >= 8


def test_neither_is_better_where_half_the_exponent_is_true() -> None:
    found = [
        variables(planted_sweep(np.random.default_rng(seed), momentum_exponent=0.5, batch_exponent=None, **SGD)[0])  # type: ignore[arg-type]
        for seed in range(SEEDS)
    ]
    assert sum(f.verdict == "supported" for v in found for f in v.values()) <= 0.1 * SEEDS


def test_only_runs_with_momentum_are_asked() -> None:
    law = {**SGD, "optimizers": ("AdamW", "SGD"), "n_configurations": 120}
    sweep, truth = planted_sweep(np.random.default_rng(0), **law)  # type: ignore[arg-type]
    finding = mined(sweep)[0]
    assert covers(finding, truth.momentum_exponent)
    assert 0 < len(finding.run_ids) < sweep.n_runs
    assert any(caveat.startswith("Only the") for caveat in finding.caveats)


def test_beta1_is_asked_of_adam_alone() -> None:
    sweep, _ = planted_sweep(np.random.default_rng(0), **SGD)  # type: ignore[arg-type]
    as_beta1 = [replace(h, name="beta1") if h.name == "momentum" else h for h in sweep.hyperparameters]
    adam = replace(sweep, hyperparameters=tuple(as_beta1), fixed={"optimizer": "Adam"})
    found = {f.condition: f for f in mined(adam) if f.quantity == "effective_lr_exponent"}
    assert found[""].verdict == "insufficient"
    assert found["beta1"].verdict == "supported"
    assert found["beta1"].hyperparameters == ("learning_rate", "beta1")
    assert covers(found["beta1"], 1.0)


def test_tasks_are_combined() -> None:
    found = []
    for seed in range(4):
        law = {**SGD, "momentum_exponent": 1.0, "seed_noise": 0.2, "task": f"task {seed}"}
        found += mined(planted_sweep(np.random.default_rng(seed), **law)[0])  # type: ignore[arg-type]
    together = {(f.quantity, f.condition): f for f in lr_momentum.combine(found)}
    exponent = together["effective_lr_exponent", ""]
    assert (exponent.verdict, exponent.n_tasks) == ("supported", 4)
    assert covers(exponent, 1.0)
    assert together["best_rate_variable", "lr/(1 - momentum) against lr"].verdict == "supported"


@pytest.mark.skipif(not TABLE.exists(), reason="the tables of other people's sweeps are not here")
def test_on_imagenet_the_effective_rate_is_the_better_variable() -> None:
    rows = parquet.read_table(TABLE).to_pandas()
    for task, runs in rows.groupby("task"):
        sweep = _opda(str(task), runs)
        exponent = mined(sweep)[0]
        assert exponent.verdict == "supported"
        assert covers(exponent, 1.0)
        found = variables(sweep)
        assert float(found["lr/(1 - momentum) against lr"].estimate or 0) > 0
        assert found["lr/((1 - momentum)·batch size) against lr/(1 - momentum)"].verdict == "supported"


def _opda(task: str, runs) -> Sweep:  # type: ignore[no-untyped-def]
    names = {
        "learning_rate": ("lr", "log"), "weight_decay": ("weight_decay", "log"), "momentum": ("momentum", "linear"),
        "batch_size": ("batch_size", "log"), "epochs": ("epochs", "log"),
    }  # fmt: skip
    parameters = [Hyperparameter(n, s, runs[c].to_numpy(dtype=float)) for n, (c, s) in names.items()]  # type: ignore[arg-type]
    lost = runs["nan_train_loss"].to_numpy(dtype=bool) | runs["best_top1"].isna().to_numpy()
    n = len(runs)
    y = np.where(lost, np.nan, -runs["best_top1"].to_numpy(dtype=float))
    return Sweep(task, "best_top1:max", tuple(runs["run_id"]), np.arange(n), np.zeros(n), y, lost, tuple(parameters),
                 {"optimizer": "SGD"})  # fmt: skip
