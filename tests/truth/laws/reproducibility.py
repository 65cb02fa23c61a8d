"""Machines that move the result beside seeds, seeds that do not fix it; machines that do nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from hpkb.records import Facts, FloatArray, Records
from hpkb.sweep import Sweep
from tests.truth.laws import Law, Noise
from tests.truth.planted import planted_sweep

SD = 0.1  # over seeds
GPU = "hpkb.hw.gpu.name"


def with_texts(sweep: Sweep, **texts: list[str]) -> Sweep:
    """The sweep with these facts of its runs on record, `__` standing for a dot."""
    named = {name.replace("__", "."): list(told) for name, told in texts.items()}
    return replace(sweep, recorded=Records(np.arange(sweep.n_runs, dtype=np.int64), Facts(texts=named)))


def _scatter(rng: np.random.Generator, n: int, tails: str) -> FloatArray:
    return np.asarray(rng.standard_t(4, n) / np.sqrt(2) if tails == "heavy" else rng.standard_normal(n))


def on_machines(
    rng: np.random.Generator, share: float, n: int = 30, seeds: int = 2, machines: int = 2, tails: str = "normal",
    **law: object,
) -> tuple[Sweep, float]:  # fmt: skip
    """Every configuration on each machine with some seeds; the machine is a share of what its runs scatter."""
    sweep, _ = planted_sweep(rng, n, seeds * machines, seed_noise=1e-9, **law)  # type: ignore[arg-type]
    level = np.tile(np.repeat(np.arange(machines), seeds), n)
    moved = SD * np.sqrt(share / (1 - share)) * rng.standard_normal((n, machines))
    y = sweep.y + moved[sweep.configuration, level] + SD * _scatter(rng, sweep.n_runs, tails)
    return with_texts(replace(sweep, y=y), hpkb__hw__gpu__name=[f"GPU {i}" for i in level]), share


def twice_with_a_seed(rng: np.random.Generator, sd: float, n: int = 40, tails: str = "normal") -> tuple[Sweep, float]:
    """Every configuration twice with one seed, and a result that the seed does not fix."""
    sweep, _ = planted_sweep(rng, n, 2, seed_noise=1e-9)
    return replace(sweep, seed=np.zeros(sweep.n_runs), y=sweep.y + sd * _scatter(rng, sweep.n_runs, tails)), sd


def _law(name: str, share: float, is_effect: bool = True, **law: object) -> Law:
    return Law(name, "hardware_variance_share", partial(on_machines, share=share, **law), is_effect)


LAWS = [
    _law("two machines, two thirds of the scatter", 0.66),
    _law("three machines, heavy tails, a cliff", 0.6, machines=3, tails="heavy", shape="asymmetric"),
    _law("a quarter of the scatter", 0.25, False, n=60),
    Law("one seed, two results", "nondeterminism_sd", partial(twice_with_a_seed, sd=0.05)),
    Law("one seed, two results, heavy tails", "nondeterminism_sd", partial(twice_with_a_seed, sd=0.05, tails="heavy")),
]


def _any_machine(rng: np.random.Generator, **law: object) -> Sweep:
    sweep, _ = planted_sweep(rng, 40, 4, effect=False, **law)  # type: ignore[arg-type]
    return with_texts(sweep, hpkb__hw__gpu__name=[f"GPU {i}" for i in rng.integers(0, 2, sweep.n_runs)],
                      hpkb__env__torch=[f"2.{i}" for i in rng.integers(0, 2, sweep.n_runs)])  # fmt: skip


NOISE = [
    Noise("any machine", _any_machine),
    Noise("any machine, heavy tails, infeasible runs", partial(_any_machine, heavy_tails=True, diverging=True)),
]
