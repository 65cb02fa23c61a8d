"""Sweeps with one planted defect each, for the checks of the Deep Learning Tuning Playbook, and clean ones beside them.

A clean sweep has 80 configurations of three seeds each, drawn evenly around optima that lie well inside their ranges,
with learning curves, costs, digests, a random order, and a few runs that diverge far to the right of the best rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hpkb.analysis import correct, mine_task
from hpkb.playbook import CHECKS, results
from hpkb.records import Facts, FloatArray, Records
from hpkb.sweep import Sweep
from tests.truth.curves import recorded, scatter, shares
from tests.truth.planted import planted_sweep

MINERS = ("curve_diagnosis", "design", "reproducibility")
POINTS = 40
BEST = 3e-3  # the best learning rate; it is tried from 1e-5 to 1

Draw = Callable[[np.random.Generator], Sweep]


def clean(rng: np.random.Generator, n: int = 80, **law: object) -> Sweep:
    """A sweep without any defect, or one that comes of the law."""
    given = {"repeats": 3, "diverging": True, "batch_exponent": None, "best_learning_rate": BEST, **law}
    return with_records(rng, planted_sweep(rng, n, **given)[0])  # type: ignore[arg-type]


def with_records(
    rng: np.random.Generator, sweep: Sweep, bent: Callable[[FloatArray, np.random.Generator], FloatArray] | None = None,
    clipped: float = 0.1, overlap: str = "none",
) -> Sweep:  # fmt: skip
    """The sweep with curves that fall to each run's objective; `bent` turns those of the best run, (1, points)."""
    level = np.where(np.isfinite(sweep.y), sweep.y, 5.0)[:, None]
    curve = 2.0 * np.exp(-shares(POINTS) / rng.uniform(0.06, 0.16, (sweep.n_runs, 1)))
    loss = level + curve + scatter(rng, sweep.n_runs, POINTS, 0.01)
    training = 0.9 * level + curve + scatter(rng, sweep.n_runs, POINTS, 0.01)
    share = rng.uniform(0.0, 0.3, sweep.n_runs)
    best = [int(np.nanargmin(sweep.y))]
    share[best] = clipped
    if bent is not None:
        loss[best] = bent(loss[best], rng)
    made = recorded(sweep, {"val_loss": loss, "train_loss": training}, gradient_clip_share=share,
                    started_at=_order(rng, sweep), run_seconds=np.exp(rng.normal(5, 0.1, sweep.n_runs)))  # fmt: skip
    same = {role: [f"digest of {role}"] * sweep.n_runs for role in ("training", "validation")}
    texts = {"hpkb.split.overlap": [overlap] * sweep.n_runs, "hpkb.hw.gpu.name": ["A100"] * sweep.n_runs}
    facts: Facts = replace(made.records.facts, texts=texts, splits=same)
    return replace(made, recorded=Records(made.records.rows, facts))


def _order(rng: np.random.Generator, sweep: Sweep) -> FloatArray:
    """Starts in a random order of the configurations, the seeds of one together."""
    place = rng.permutation(sweep.n_configurations)[sweep.configuration]
    return np.asarray(1.7e9 + 3600.0 * place + 10.0 * np.nan_to_num(sweep.seed))


def _bent(bend: Callable[[FloatArray, np.random.Generator], FloatArray]) -> Draw:
    def draw(rng: np.random.Generator) -> Sweep:
        return with_records(rng, clean(rng), bend)

    return draw


def _sparse(rng: np.random.Generator) -> Sweep:
    """A hole of 30% of the range about the best learning rate."""
    sweep = clean(rng, 120)
    rate = sweep.hyperparameter("learning_rate")
    assert rate is not None
    return sweep.subset(np.abs(np.log(rate.values / BEST)) > 0.15 * np.log(1e5))


def _close_edge(rng: np.random.Generator) -> Sweep:
    """Runs diverge from twice the best learning rate on."""
    sweep, _ = planted_sweep(rng, 80, 3, batch_exponent=None, best_learning_rate=BEST)
    rate = sweep.hyperparameter("learning_rate")
    assert rate is not None
    chance = 1 / (1 + np.exp(-(np.log(rate.values / BEST) - np.log(2)) / 0.15))
    lost = rng.random(sweep.n_runs) < chance
    return with_records(rng, replace(sweep, y=np.where(lost, np.nan, sweep.y), infeasible=lost))


def _tied(rng: np.random.Generator) -> Sweep:
    """Weight decay always went with the learning rate."""
    sweep = clean(rng)
    rate = sweep.hyperparameter("learning_rate")
    assert rate is not None
    tied = (replace(h, values=np.sqrt(rate.values)) if h.name == "weight_decay" else h for h in sweep.hyperparameters)
    return replace(sweep, hyperparameters=tuple(tied))


def _late(curve: FloatArray, rng: np.random.Generator) -> FloatArray:
    return curve + np.where(shares(POINTS) > 0.6, 0.25, 0.0) * rng.standard_normal(curve.shape)


def _best_early(curve: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Validation loss that falls to a twentieth of the run and rises from there, soon or all at once."""
    share, scatter = shares(POINTS), 0.01 * rng.standard_normal(curve.shape)
    soon = 0.15 * np.abs(np.log(share / 0.06))
    at_once = np.where(share <= 0.08, 2 * np.exp(-share / 0.02), 0.5)
    return curve[:, -1:] + scatter + (soon if rng.random() < 0.5 else at_once)


#: A sweep with each defect, by the name of the check that is to find it.
DEFECTS: dict[str, Draw] = {
    "optimum at the edge": lambda rng: clean(rng, learning_rate_range=(1e-5, 1e-2), best_learning_rate=0.05),
    "sparse sampling near the optimum": _sparse,
    "40% infeasible": lambda rng: clean(rng, best_learning_rate=1e-4),
    "best run overfits": _bent(lambda c, _: c + 0.4 * np.maximum(shares(POINTS) - 0.5, 0)),
    "late noise in the best run": _bent(_late),
    "best run still improving": _bent(lambda c, _: c + 1.2 * (1 - shares(POINTS))),
    "best step in the first 10%": _bent(_best_early),
    "learning rate at the edge of divergence": _close_edge,
    "over half of the steps clipped": lambda rng: with_records(rng, clean(rng), clipped=0.8),
    "seed noise larger than the effect": lambda rng: clean(rng, seed_noise=3.0),
    "aliased design": _tied,
    "leakage": lambda rng: with_records(rng, clean(rng), overlap="training+validation: 25 by index, 25 by content"),
}


def statuses(sweep: Sweep) -> dict[str, str]:
    """Returns the outcome of each check, after the correction for all comparisons."""
    return {r.check.name: r.status for r in results(correct(mine_task(sweep, MINERS, 0)))}


def names() -> list[str]:
    """Returns the names of the checks."""
    return [check.name for check in CHECKS]
