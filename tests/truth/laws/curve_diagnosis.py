"""Shares of runs that overfit or underfit, and where the turn comes; clean curves with noise of several kinds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.records import FloatArray
from hpkb.sweep import Sweep
from tests.truth.curves import clean_sweep, falling, judged, recorded, scatter, turned
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep


def _base(rng: np.random.Generator, n: int, **law: object) -> Sweep:
    return planted_sweep(rng, n, effect=False, **law)[0]  # type: ignore[arg-type]


def _finished(rng: np.random.Generator, sweep: Sweep, loss: FloatArray, training: FloatArray, sd: float,
              tails: str) -> Sweep:  # fmt: skip
    """The sweep with curves by configuration and the noise of each run."""
    rows, points = sweep.configuration, loss.shape[1]
    made = {
        "val_loss": loss[rows] + scatter(rng, sweep.n_runs, points, sd, tails),
        "train_loss": training[rows] + scatter(rng, sweep.n_runs, points, sd, tails),
    }
    return recorded(judged(sweep, made["val_loss"]), made)


def overfitting(
    rng: np.random.Generator, n: int = 60, share: float = 0.3, points: int = 80, sd: float = 0.02,
    tails: str = "normal", rise: float = 0.25, onsets: tuple[float, float] = (0.3, 0.6), **law: object,
) -> Sweep:  # fmt: skip
    """A share of the configurations turn for the worse at some onset."""
    sweep = _base(rng, n, **law)
    k = sweep.n_configurations
    curve, onset = falling(rng, k, points), rng.uniform(*onsets, k)
    bent = np.where(rng.random((k, 1)) < share, turned(points, onset, rise), curve)
    return _finished(rng, sweep, bent, 0.9 * curve, sd, tails)


def underfitting(
    rng: np.random.Generator, n: int = 60, share: float = 0.3, tails: str = "normal", **law: object
) -> Sweep:
    """A share of the configurations hardly get their training loss down."""
    sweep = _base(rng, n, **law)
    k = sweep.n_configurations
    curve = falling(rng, k, 80)
    slow = 2.3 - (2.3 - curve) * rng.uniform(0.05, 0.35, (k, 1))
    curve = np.where(rng.random((k, 1)) < share, slow, curve)
    return _finished(rng, sweep, curve, curve, 0.02, tails)


def _with_truth(rng: np.random.Generator, draw: object, truth: float, **law: object) -> tuple[Sweep, float]:
    return draw(rng, **law), truth  # type: ignore[operator]


def _law(name: str, quantity: str, draw: object, truth: float, is_effect: bool = True, **law: object) -> Law:
    return Law(name, quantity, partial(_with_truth, draw=draw, truth=truth, **law), is_effect)


LAWS = [
    _law("three in ten overfit", "overfit_share", overfitting, 0.3),
    _law("the same, heavy tails and uneven seeds", "overfit_share", overfitting, 0.3, tails="heavy", repeats=3,
         unbalanced=True),
    _law("one in seven overfits, 20 evaluations", "overfit_share", overfitting, 1 / 7, share=1 / 7, points=20, n=100,
         sd=0.01, rise=0.4),
    _law("three in ten underfit", "underfit_share", underfitting, 0.3),
    _law("onset at 45%", "overfit_onset", overfitting, 0.45, share=0.5),
    _law("onset at 45%, heavy tails, seeds", "overfit_onset", overfitting, 0.45, share=0.5, tails="heavy", repeats=2),
    _law("best step at 50%", "best_step_fraction", overfitting, 0.5, share=1.0, onsets=(0.3, 0.7)),
    _law("best step at 50%, runs that diverge", "best_step_fraction", overfitting, 0.5, share=1.0, onsets=(0.3, 0.7),
         diverging=True, tails="wandering"),
]  # fmt: skip


def _without_learning(rng: np.random.Generator, tails: str = "normal") -> Sweep:
    """Curves that are noise alone: nothing was learned."""
    sweep = _base(rng, 60)
    made = {name: 1.0 + scatter(rng, sweep.n_runs, 60, 0.1, tails) for name in ("val_loss", "train_loss")}
    return recorded(judged(sweep, made["val_loss"]), made)


def _few_points(rng: np.random.Generator) -> Sweep:
    sweep = clean_sweep(rng, points=12)
    return replace(sweep, fixed={"optimizer": "AdamW"})


NOISE = [
    Noise("clean curves", clean_sweep),
    Noise("heavy tails, runs that diverge", partial(clean_sweep, tails="heavy", diverging=True)),
    Noise("wandering noise, seeds", partial(clean_sweep, tails="wandering", repeats=2, n=40)),
    Noise("20 evaluations, adaptive design", partial(clean_sweep, points=20, design="adaptive")),
    Noise("12 evaluations", _few_points),
    Noise("nothing is learned", _without_learning),
    Noise("nothing is learned, heavy tails", partial(_without_learning, tails="heavy")),
]
