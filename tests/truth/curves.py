"""Learning curves drawn from a known law, put beside the runs of a planted sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hpkb.records import Curve, Facts, FloatArray, Records
from hpkb.sweep import Sweep
from tests.truth.planted import planted_sweep

STEPS = 2000.0  # of a run


def recorded(sweep: Sweep, curves: Mapping[str, FloatArray], **numbers: FloatArray) -> Sweep:
    """The sweep with curves, (n_runs, m) by metric, at m steps that are evenly spaced to the run's end."""
    return replace(sweep, recorded=Records(np.arange(sweep.n_runs, dtype=np.int64), _facts(curves, numbers)))


def _facts(curves: Mapping[str, FloatArray], numbers: Mapping[str, FloatArray]) -> Facts:
    made = {metric: [_curve(row) for row in rows] for metric, rows in curves.items()}
    training = "train_loss" if "train_loss" in curves else None
    return Facts(made, numbers=dict(numbers), training=training, validation="val_loss" if training else None)


def _curve(values: FloatArray) -> Curve:
    steps = np.arange(1, values.size + 1) * STEPS / values.size
    return Curve(steps, values, steps * 0.1)


def shares(points: int) -> FloatArray:
    """Where on the run the points of such a curve lie, (points,)."""
    return np.arange(1, points + 1) / points


def scatter(rng: np.random.Generator, n: int, points: int, sd: float, tails: str = "normal") -> FloatArray:
    """Noise of the points of n curves, (n, points): normal, "heavy" (Student's t with 2 degrees), or "wandering"."""
    if tails == "heavy":
        return sd * 0.6 * rng.standard_t(2, (n, points))
    noise = rng.standard_normal((n, points))
    if tails == "wandering":
        for i in range(1, points):
            noise[:, i] = 0.6 * noise[:, i - 1] + 0.8 * noise[:, i]
    return sd * noise


def falling(rng: np.random.Generator, n: int, points: int, start: float = 2.0, floor: float = 0.3) -> FloatArray:
    """Curves that fall and stay, (n, points), each at its own pace."""
    pace = rng.uniform(0.06, 0.16, (n, 1))
    return np.asarray(floor + start * np.exp(-shares(points) / pace))


def turned(points: int, onset: FloatArray, rise: float, start: float = 2.0, floor: float = 0.3) -> FloatArray:
    """Curves that are lowest at a share of the run, (n, points) of (n,), and rise by `rise` from there to the end."""
    share, onset = shares(points), onset[:, None]
    before = start * np.maximum(1 - share / onset, 0) ** 2
    return np.asarray(floor + before + rise * np.maximum(share - onset, 0) / (1 - onset))


def clean_sweep(
    rng: np.random.Generator, n: int = 60, points: int = 60, sd: float = 0.01, tails: str = "normal", **law: object
) -> Sweep:
    """A sweep whose curves of training and validation fall and stay, whatever the hyperparameters."""
    sweep, _ = planted_sweep(rng, n, effect=False, **law)  # type: ignore[arg-type]
    curve = falling(rng, sweep.n_configurations, points)[sweep.configuration]
    level = 0.03 * rng.standard_normal((sweep.n_configurations, 1))[sweep.configuration]
    made = {
        "val_loss": curve + level + scatter(rng, sweep.n_runs, points, sd, tails),
        "train_loss": 0.9 * curve + level + scatter(rng, sweep.n_runs, points, sd, tails),
    }
    return recorded(judged(sweep, made["val_loss"]), made)


def judged(sweep: Sweep, values: FloatArray) -> Sweep:
    """The sweep with the last value of each curve as the objective, infeasible runs left so."""
    return replace(sweep, y=np.where(sweep.infeasible, np.nan, values[:, -1]))


def best_row(sweep: Sweep) -> int:
    """The row of the run with the best objective."""
    return int(np.nanargmin(sweep.y))
