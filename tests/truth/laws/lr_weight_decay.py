"""How the best learning rate moves with weight decay: their product constant, half of that, or not at all."""

from __future__ import annotations

from functools import partial

import numpy as np

from hpkb.sweep import Sweep
from tests.truth.laws import Law
from tests.truth.laws.lr_batch_size import DEMO
from tests.truth.planted import planted_sweep


def _drawn(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    sweep, truth = planted_sweep(rng, **law)  # type: ignore[arg-type]
    return sweep, truth.ridge


def _law(name: str, is_effect: bool = True, **law: object) -> Law:
    return Law(name, "ridge_exponent", partial(_drawn, **law), is_effect)


LAWS = [
    _law("product constant, quadratic", ridge=-1.0, seed_noise=0.3),
    _law("half, cliff, the demo's design", ridge=-0.5, batch_exponent=0.5, **DEMO),
    _law("none, cliff", False, ridge=0.0, shape="asymmetric", seed_noise=0.1),
    _law("product, heavy tails", ridge=-1.0, heavy_tails=True, design="random"),
    _law("product, adaptive design", ridge=-1.0, design="adaptive", seed_noise=0.1),
]
