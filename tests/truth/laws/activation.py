"""What an activation is worth at its own best learning rate, and how many units it leaves dead."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.records import Facts, Records
from hpkb.sweep import Sweep
from tests.truth.laws import Law, Noise
from tests.truth.laws.architecture import BETTER, pair_law, with_level

ACTIVATIONS = ("gelu", "relu", "tanh")
SHARES = (0.02, 0.12, 0.12)  # of dead units, on average


def with_dead_units(
    rng: np.random.Generator, name: str, levels: tuple[str, ...], shares: tuple[float, ...], spread: float = 20.0,
    **law: object,
) -> Sweep:  # fmt: skip
    """A sweep whose configurations leave units dead: shares drawn from a beta distribution around their level's mean.

    Its two parameters add up to `spread`: the larger, the less configurations scatter. Seeds scatter a little more.
    """
    sweep = with_level(rng, name, levels, **law)  # type: ignore[arg-type]
    h = sweep.hyperparameter(name)
    assert h is not None
    _, first = np.unique(sweep.configuration, return_index=True)
    mean = np.array(shares)[h.values[first].astype(int)]
    drawn = rng.beta(spread * mean, spread * (1 - mean))[sweep.configuration]
    dead = np.clip(drawn + 0.002 * rng.normal(size=sweep.n_runs), 0, 1)
    facts = Facts(numbers={"dead_unit_share": dead})
    return replace(sweep, recorded=Records(np.arange(sweep.n_runs, dtype=np.int64), facts))


def _share(rng: np.random.Generator, place: int, **law: object) -> tuple[Sweep, float]:
    return with_dead_units(rng, "activation", ACTIVATIONS, SHARES, **law), SHARES[place]  # type: ignore[arg-type]


def _difference(rng: np.random.Generator, a: int, b: int, **law: object) -> tuple[Sweep, float]:
    sweep = with_dead_units(rng, "activation", ACTIVATIONS, SHARES, **law)  # type: ignore[arg-type]
    return sweep, SHARES[a] - SHARES[b]


LAWS = [
    pair_law("each its own best rate", "activation", ("relu", "gelu"), "gelu against relu", difference=BETTER,
             shift=-1.0),
    pair_law("none, cliff, diverged runs", "activation", ("relu", "gelu"), "gelu against relu", shape="asymmetric",
             diverging=True),
    Law("dead units of relu", "dead_unit_share", partial(_share, place=1, n=90, repeats=2), True, None, "relu"),
    Law("dead units, few configurations", "dead_unit_share", partial(_share, place=1, n=45), True, None, "relu"),
    Law("more dead units", "dead_unit_difference", partial(_difference, a=0, b=1, n=90), True, None,
        "gelu against relu"),
    Law("as many dead units", "dead_unit_difference", partial(_difference, a=2, b=1, n=90), False, None,
        "tanh against relu"),
]  # fmt: skip


def _nothing(rng: np.random.Generator, **law: object) -> Sweep:
    return with_dead_units(rng, "activation", ACTIVATIONS, (0.008,) * 3, effect=False, **law)  # type: ignore[arg-type]


NOISE = [
    Noise("heavy tails, hardly a dead unit", partial(_nothing, heavy_tails=True, diverging=True)),
    Noise("adaptive design", partial(_nothing, design="adaptive", spread=5.0)),
]
