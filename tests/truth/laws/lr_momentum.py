"""How the best learning rate moves with 1 - momentum: the effective rate counts, half of that, or nothing."""

from __future__ import annotations

from functools import partial

import numpy as np

from hpkb.sweep import Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep


def _drawn(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    law = {"optimizers": ("SGD",), "momentum": True, **law}
    sweep, truth = planted_sweep(rng, **law)  # type: ignore[arg-type]
    return sweep, truth.momentum_exponent


def _law(name: str, is_effect: bool = True, **law: object) -> Law:
    return Law(name, "effective_lr_exponent", partial(_drawn, **law), is_effect)


def _noise(rng: np.random.Generator, **law: object) -> Sweep:
    return _drawn(rng, effect=False, **law)[0]


LAWS = [
    _law("effective rate, quadratic", momentum_exponent=1.0, seed_noise=0.3),
    _law("effective rate, cliff, diverging", momentum_exponent=1.0, shape="asymmetric", diverging=True),
    _law("half, two optimizers", momentum_exponent=0.5, optimizers=("SGD", "AdamW"), n_configurations=200),
    _law("none, cliff", False, momentum_exponent=0.0, shape="asymmetric", seed_noise=0.1),
    _law("effective rate, heavy tails", momentum_exponent=1.0, heavy_tails=True, n_configurations=160),
    _law("effective rate, adaptive design", momentum_exponent=1.0, design="adaptive", seed_noise=0.1),
]
NOISE = [
    Noise("momentum, plain", _noise),
    Noise("momentum, heavy tails, few runs", partial(_noise, heavy_tails=True, diverging=True, n_configurations=40)),
    Noise("momentum, adaptive", partial(_noise, design="adaptive")),
]
