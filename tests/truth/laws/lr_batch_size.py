"""How the best learning rate scales with the batch size: linear, by its square root, or not at all."""

from __future__ import annotations

from functools import partial

import numpy as np

from hpkb.sweep import Sweep
from tests.truth.laws import Law
from tests.truth.planted import planted_sweep

#: The design of the repository's own sweep: few configurations, uneven seeds, cliffs and diverged runs.
DEMO = {
    "n_configurations": 48, "repeats": 3, "unbalanced": True, "diverging": True, "shape": "asymmetric",
    "optimizers": ("SGD", "AdamW"), "schedules": ("constant", "cosine", "step", "restarts"),
}  # fmt: skip


def _drawn(rng: np.random.Generator, **law: object) -> tuple[Sweep, float]:
    sweep, truth = planted_sweep(rng, **law)  # type: ignore[arg-type]
    return sweep, truth.batch_exponent


def _law(name: str, is_effect: bool = True, **law: object) -> Law:
    return Law(name, "scaling_exponent", partial(_drawn, **law), is_effect)


LAWS = [
    _law("linear, quadratic", batch_exponent=1.0, seed_noise=0.3),
    _law("square root, the demo's design", batch_exponent=0.5, ridge=-0.5, **DEMO),
    _law("none, cliff", False, batch_exponent=0.0, shape="asymmetric", seed_noise=0.1),
    _law("square root, heavy tails", batch_exponent=0.5, heavy_tails=True, design="random"),
    _law("linear, adaptive design", batch_exponent=1.0, design="adaptive", seed_noise=0.1),
]
