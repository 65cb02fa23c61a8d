"""How little patience is enough, and what a patience saves and costs, held against runs without end of the same law."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from hpkb.miners._curves import watched
from hpkb.miners._stopping import FOLDS, MOST, Replayed, patience_of, replayed
from hpkb.records import FloatArray
from hpkb.stats.stopping import PATIENCES, by_patience, smallest_enough
from hpkb.sweep import Sweep
from tests.truth.curves import falling, judged, recorded, scatter, shares, turned
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep

WHOLE = 2500  # configurations that stand for all there could be


def stopped(
    rng: np.random.Generator, n: int = 60, shape: str = "turned", points: int = 50, sd: float = 0.02,
    seed_sd: float = 0.03, tails: str = "normal", test: bool = False, **law: object,
) -> Sweep:  # fmt: skip
    """Curves that turn for the worse, stay where they are, or fall a second time late, and differ by seed in level."""
    sweep, _ = planted_sweep(rng, n, effect=False, **law)  # type: ignore[arg-type]
    k, t = sweep.n_configurations, shares(points)
    curve = falling(rng, k, points)
    if shape == "turned":
        curve = turned(points, rng.uniform(0.2, 0.5, k), 0.25)
    elif shape == "twice":
        drop = rng.uniform(0.25, 0.45, (k, 1))
        size = 0.4 * (rng.random((k, 1)) < 0.5)
        curve = curve - size / (1 + np.exp(-(t - drop) / 0.02))
    curve = curve + rng.uniform(0, 0.4, (k, 1))
    rows, runs = sweep.configuration, sweep.n_runs
    level = seed_sd * rng.standard_normal((runs, 1))
    made = {"val_loss": curve[rows] + level + scatter(rng, runs, points, sd, tails)}
    if test:
        made["test_loss"] = curve[rows] + level + 0.02 + scatter(rng, runs, points, sd, tails)
    return recorded(judged(sweep, made["val_loss"]), made)


def _replayed(sweep: Sweep) -> Replayed:
    seen = watched(sweep, 10)
    assert seen is not None
    return replayed(seen)


@dataclass(frozen=True)
class _Whole:
    """What each patience saves and costs run by run, (runs, patiences), and the noise floor."""

    saved: FloatArray
    regret: FloatArray
    floor: float


@cache
def _whole(**law: object) -> _Whole:
    runs = _replayed(stopped(np.random.default_rng(1), **{**law, "n": WHOLE}))  # type: ignore[arg-type]
    stops = by_patience(runs.curves, 0.0)
    saved = 1 - np.take_along_axis(runs.curves.share, stops.stop, 1)
    return _Whole(saved, runs.at(stops.kept) - runs.at(runs.best)[:, None], runs.floor.sd)


def _capped(whole: _Whole, floor: float) -> FloatArray:
    return np.asarray(np.clip(whole.regret, -MOST * floor, MOST * floor).mean(axis=0))


def _patience(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    whole = _whole(**law)
    truth = smallest_enough(_capped(whole, whole.floor)[None], whole.floor, np.array(PATIENCES))
    return stopped(rng, **law), float(truth[0])  # type: ignore[arg-type]


def _cost(rng: np.random.Generator, quantity: str, **law: object) -> tuple[Sweep, float]:
    """The truth of the patience that the miner chose on each fold, for the configurations that it did not see."""
    sweep, whole = stopped(rng, **law), _whole(**law)  # type: ignore[arg-type]
    runs = _replayed(sweep)
    choices = patience_of(runs, 0.0, 0).choices
    each = whole.saved.mean(axis=0) if quantity == "compute_saved" else _capped(whole, runs.floor.sd)
    k = np.unique(runs.configuration).size
    return sweep, float(each[choices[np.arange(k) % FOLDS]].mean())


def _laws(name: str, **law: object) -> list[Law]:
    return [
        Law(f"patience: {name}", "patience", partial(_patience, **law), condition=""),
        Law(f"saved: {name}", "compute_saved", partial(_cost, quantity="compute_saved", **law), condition=""),
        Law(f"regret: {name}", "regret_paid", partial(_cost, quantity="regret_paid", **law), condition=""),
    ]


LAWS = [
    *_laws("a second fall, seeds", shape="twice", repeats=2, points=80, n=80),
    *_laws("a second fall, seeds, a test metric", shape="twice", repeats=2, test=True, n=100),
    *_laws("a second fall, heavy tails, no seeds", shape="twice", tails="heavy", sd=0.05, n=120),
]


def _rising(rng: np.random.Generator) -> Sweep:
    """Curves that improve to the end: nothing can be saved."""
    sweep, _ = planted_sweep(rng, 60, effect=False)
    fall = 2 - 1.5 * shares(50) ** rng.uniform(0.7, 1.0, (60, 1))
    made = {"val_loss": fall[sweep.configuration] + scatter(rng, sweep.n_runs, 50, 0.005)}
    return recorded(judged(sweep, made["val_loss"]), made)


def _nothing(rng: np.random.Generator, tails: str) -> Sweep:
    sweep, _ = planted_sweep(rng, 60, effect=False, diverging=True)
    made = {"val_loss": 1 + scatter(rng, sweep.n_runs, 50, 0.1, tails)}
    return recorded(judged(sweep, made["val_loss"]), made)


def _late(rng: np.random.Generator) -> Sweep:
    """Half of the runs stand still until their last tenth: whatever stops earlier loses ten noise floors."""
    sweep = stopped(rng, shape="plain", seed_sd=0.0)
    size = 0.4 * (rng.random((sweep.n_runs, 1)) < 0.5)
    loss = np.stack([c.value for c in sweep.records.curves("val_loss") if c is not None])
    made = {"val_loss": loss - size / (1 + np.exp(-(shares(50) - 0.92) / 0.01))}
    return recorded(judged(sweep, made["val_loss"]), made)


NOISE = [
    Noise("improving to the end", _rising),
    Noise("nothing is learned", partial(_nothing, tails="normal")),
    Noise("nothing is learned, heavy tails", partial(_nothing, tails="heavy")),
    Noise("a fall at the very end", _late),
]
