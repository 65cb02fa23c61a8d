"""The planted laws and the noise that the miners are held against, one module a miner, its name the miner's.

`bench/truth.py` runs all of them over many sweeps; the tests run a few. A module has a list `LAWS`, and a list `NOISE`
where its miner needs more than runs and outcomes (curves, records) to be tempted into a claim.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hpkb.findings import Finding
from hpkb.sweep import Sweep

#: A sweep and the true value of the quantity in it; every random choice comes from the generator.
Draw = Callable[[np.random.Generator], tuple[Sweep, float]]


@dataclass(frozen=True)
class Law:
    """A planted law: what a miner is to state of the sweeps that are drawn from it.

    The finding meant is the one of that `quantity`, with these `hyperparameters` and this `condition` where they are
    given. `is_effect`: the effect is twice what the design can just detect, so that it must be found in nine sweeps of
    ten. Without, the truth is no effect, or one so small that only the interval is asked for.
    """

    name: str
    quantity: str
    draw: Draw
    is_effect: bool = True
    hyperparameters: tuple[str, ...] | None = None
    condition: str | None = None

    def found(self, findings: list[Finding]) -> Finding | None:
        """Returns the finding meant, or None where the miner has none of that kind."""
        own = (f for f in findings if f.quantity == self.quantity)
        own = (f for f in own if self.hyperparameters in (None, f.hyperparameters))
        return next((f for f in own if self.condition in (None, f.condition)), None)


@dataclass(frozen=True)
class Noise:
    """Sweeps in which the miner may support no claim: `draw` returns one."""

    name: str
    draw: Callable[[np.random.Generator], Sweep]


def modules() -> Iterator[str]:
    """Returns the names of the miners that have laws, in the order of the alphabet."""
    yield from sorted(m.name for m in pkgutil.iter_modules(__path__))


def laws_of(miner: str) -> list[Law]:
    """Returns the laws of a miner."""
    return list(getattr(importlib.import_module(f"{__name__}.{miner}"), "LAWS", []))


def noise_of(miner: str) -> list[Noise]:
    """Returns the noise that is a miner's own."""
    return list(getattr(importlib.import_module(f"{__name__}.{miner}"), "NOISE", []))
