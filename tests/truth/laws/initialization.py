"""What an initialisation is worth at its own best learning rate, and how many units it leaves dead."""

from __future__ import annotations

from functools import partial

import numpy as np

from hpkb.sweep import Sweep
from tests.truth.laws import Law, Noise
from tests.truth.laws.activation import with_dead_units
from tests.truth.laws.architecture import BETTER, pair_law

SCHEMES = ("kaiming_normal_", "default", "orthogonal_")
SHARES = (0.05, 0.15, 0.05)


def _share(rng: np.random.Generator) -> tuple[Sweep, float]:
    return with_dead_units(rng, "initialization", SCHEMES, SHARES, n=90), SHARES[1]


LAWS = [
    pair_law("each its own best rate", "initialization", SCHEMES, "kaiming_normal_ against default", -1,
             difference=-BETTER, shift=-1.0, n=120),
    pair_law("none, heavy tails", "initialization", SCHEMES, "kaiming_normal_ against default", heavy_tails=True,
             n=120),
    Law("dead units of the default", "dead_unit_share", _share, True, None, "default"),
]  # fmt: skip


def _nothing(rng: np.random.Generator, **law: object) -> Sweep:
    return with_dead_units(rng, "initialization", SCHEMES, (0.008,) * 3, effect=False, **law)  # type: ignore[arg-type]


NOISE = [Noise("heavy tails, diverged runs", partial(_nothing, heavy_tails=True, diverging=True))]
