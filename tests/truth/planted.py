"""Sweeps drawn from a known law, to hold the miners against.

The loss of a run is a bowl in ln learning_rate around a best rate that moves with weight decay, batch size
and optimizer as told, plus main effects of the other hyperparameters, plus seed noise. `Truth` keeps what was
planted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from hpkb.findings import Finding
from hpkb.sweep import BoolArray, FloatArray, Hyperparameter, IntArray, Scale, Sweep

Shape = Literal["quadratic", "asymmetric"]
Design = Literal["sobol", "random", "grid", "adaptive"]

CHANCE = 2.3  # the loss of a model that has learned nothing
FLOOR = 0.3  # the loss at the optimum of everything
CENTRE = {"weight_decay": 1e-3, "batch_size": 64.0}


@dataclass(frozen=True)
class Truth:
    """What was planted: natural logarithms throughout, `seed_noise` in the unit of the loss."""

    ridge: float  # d ln lr* / d ln weight_decay
    batch_exponent: float  # d ln lr* / d ln batch_size
    best_learning_rate: float  # of AdamW at weight decay 1e-3 and batch size 64
    optimizer_shift: float  # ln lr*(SGD) - ln lr*(AdamW)
    momentum_exponent: float  # d ln lr* / d ln(1 - momentum), SGD only
    seed_noise: float
    effect: bool
    shape: Shape


@dataclass(frozen=True)
class Space:
    """The hyperparameters of a planted sweep, each drawn from a share in 0 to 1."""

    learning_rate: tuple[float, float] = (1e-5, 1.0)
    weight_decay: tuple[float, float] | None = (1e-5, 1e-1)
    batch_sizes: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512)
    optimizers: tuple[str, ...] = ("AdamW",)
    schedules: tuple[str, ...] = ()
    dropout: bool = True
    momentum: bool = False
    noise: int = 0

    def names(self) -> list[str]:
        """The hyperparameters that are drawn, in a fixed order."""
        optional = {
            "weight_decay": self.weight_decay is not None,
            "batch_size": bool(self.batch_sizes),
            "optimizer": len(self.optimizers) > 1,
            "lr_schedule": len(self.schedules) > 1,
            "dropout": self.dropout,
            "momentum": self.momentum,
        }
        return ["learning_rate", *(n for n, there in optional.items() if there), *self._noise_names()]

    def _noise_names(self) -> list[str]:
        return [f"noise_{i + 1}" for i in range(self.noise)]

    def levels(self, name: str) -> tuple[str, ...]:
        """The levels of a category, none for a number."""
        return {"optimizer": self.optimizers, "lr_schedule": self.schedules}.get(name, ())

    def values(self, name: str, share: FloatArray) -> FloatArray:
        """The values of a hyperparameter at shares of its range, (n,) in and out."""
        if name == "batch_size":
            sizes = np.array(self.batch_sizes, dtype=float)
            return sizes[np.minimum((share * sizes.size).astype(int), sizes.size - 1)]
        if levels := self.levels(name):
            return np.minimum((share * len(levels)).astype(int), len(levels) - 1).astype(float)
        if name == "dropout":
            return 0.5 * share
        if name == "momentum":
            return 1 - np.exp(math.log(0.3) + share * math.log(0.01 / 0.3))
        known = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        low, high = known.get(name) or (1e-3, 1e3)
        return np.exp(math.log(low) + share * math.log(high / low))


def planted_sweep(
    rng: np.random.Generator,
    n_configurations: int = 80,
    repeats: int = 1,
    *,
    ridge: float | None = 0.0,
    batch_exponent: float | None = 0.0,
    shape: Shape = "quadratic",
    curvature: float = 0.05,
    seed_noise: float = 0.05,
    heavy_tails: bool = False,
    diverging: bool = False,
    design: Design = "sobol",
    unbalanced: bool = False,
    optimizers: Sequence[str] = ("AdamW",),
    optimizer_shift: float = math.log(30.0),
    schedules: Sequence[str] = (),
    momentum: bool = False,
    momentum_exponent: float = 1.0,
    dropout: bool = True,
    noise_hyperparameters: int = 0,
    learning_rate_range: tuple[float, float] = (1e-5, 1.0),
    best_learning_rate: float = 3e-3,
    effect: bool = True,
    task: str = "planted",
) -> tuple[Sweep, Truth]:
    """A sweep from a known law, and the law.

    `ridge` and `batch_exponent` None leave weight decay and batch size out of the sweep; 0 has them vary with
    no pull on the best learning rate. `shape` "quadratic" is `curvature` · (u - u*)² in u = ln learning_rate;
    "asymmetric" rises slowly to the left, as a cliff to the right, and saturates at the loss of chance. With
    `diverging`, runs far to the right of u* are infeasible (a tenth of them, at random, where `effect` is
    False). `heavy_tails` draws the seed noise from Student's t with 2 degrees of freedom and adds a huge
    finite loss to 3% of the runs. `unbalanced` gives each configuration 1 to `repeats` seeds. The adaptive
    design draws three quarters of its configurations near the best ones seen so far, as TPE does. `effect`
    False: the loss is noise alone.
    """
    space = Space(
        learning_rate_range, Space.weight_decay if ridge is not None else None,
        Space.batch_sizes if batch_exponent is not None else (),
        tuple(optimizers), tuple(schedules), dropout, momentum, noise_hyperparameters,
    )  # fmt: skip
    truth = Truth(
        ridge or 0.0, batch_exponent or 0.0, best_learning_rate,
        optimizer_shift if len(optimizers) > 1 else 0.0, momentum_exponent if momentum else 0.0,
        seed_noise, effect, shape,
    )  # fmt: skip

    def loss(values: dict[str, FloatArray]) -> FloatArray:
        return expected_loss(space, truth, values, curvature)

    values = _draw(rng, space, n_configurations, design, loss, seed_noise)
    runs = rng.integers(1, repeats + 1, n_configurations) if unbalanced else np.full(n_configurations, repeats)
    configuration = np.repeat(np.arange(n_configurations), runs)
    values = {name: array[configuration] for name, array in values.items()}
    y = loss(values) + _seed_noise(rng, configuration.size, seed_noise, heavy_tails)
    infeasible = _diverged(rng, space, truth, values) if diverging else np.zeros(configuration.size, dtype=bool)
    return _sweep(task, space, values, configuration, runs, y, infeasible), truth


def best_log_learning_rate(space: Space, truth: Truth, values: dict[str, FloatArray]) -> FloatArray:
    """u* = ln of the best learning rate at each row, (n,)."""
    best = np.full(values["learning_rate"].shape, math.log(truth.best_learning_rate))
    for name, exponent in (("weight_decay", truth.ridge), ("batch_size", truth.batch_exponent)):
        if name in values:
            best = best + exponent * np.log(values[name] / CENTRE[name])
    sgd = _is_sgd(space, values)
    best = best + truth.optimizer_shift * sgd
    if "momentum" in values:
        best = best + truth.momentum_exponent * np.where(sgd, np.log((1 - values["momentum"]) / 0.1), 0.0)
    return best


def expected_loss(
    space: Space, truth: Truth, values: dict[str, FloatArray], curvature: float = 0.05
) -> FloatArray:
    """The loss without seed noise at each row, (n,)."""
    n = values["learning_rate"].shape
    if not truth.effect:
        return np.full(n, 1.0)
    away = np.log(values["learning_rate"]) - best_log_learning_rate(space, truth, values)
    y = FLOOR + _bowl(away, truth.shape, curvature)
    if "weight_decay" in values:
        y = y + 0.01 * np.log(values["weight_decay"] / 3e-4) ** 2
    if "batch_size" in values:
        y = y + 0.06 * np.log(values["batch_size"] / 8)
    if "dropout" in values:
        y = y + 1.5 * (values["dropout"] - 0.2) ** 2
    if "lr_schedule" in values:
        y = y + 0.1 * values["lr_schedule"]
    return y + 0.15 * _is_sgd(space, values)


def _bowl(away: FloatArray, shape: Shape, curvature: float) -> FloatArray:
    """Loss above the optimum, `away` nats from the best learning rate, (n,)."""
    if shape == "quadratic":
        return curvature * away**2
    width = np.where(away < 0, 3.5, 1.5)
    return (CHANCE - FLOOR) * (1 - np.exp(-0.5 * (away / width) ** 2))


def _is_sgd(space: Space, values: dict[str, FloatArray]) -> NDArray[np.float64]:
    """1 where the run used SGD, (n,)."""
    if "optimizer" in values:
        sgd = np.array([name == "SGD" for name in space.optimizers], dtype=float)
        return sgd[values["optimizer"].astype(int)]
    return np.full(values["learning_rate"].shape, float(space.optimizers[0] == "SGD"))


def _draw(rng, space, n, design, loss, seed_noise) -> dict[str, FloatArray]:  # type: ignore[no-untyped-def]
    """The values of all hyperparameters of n configurations, (n,) each."""
    names = space.names()
    if design == "sobol":
        shares = qmc.Sobol(len(names), rng=rng).random_base2(math.ceil(math.log2(n)))[:n]
    elif design == "grid":
        shares = _grid(rng, len(names), n)
    else:
        shares = rng.random((n, len(names)))
    if design == "adaptive":
        _adapt(rng, space, names, shares, loss, seed_noise)
    return _values(space, names, shares)


def _values(space: Space, names: list[str], shares: FloatArray) -> dict[str, FloatArray]:
    values = {name: space.values(name, shares[:, i]) for i, name in enumerate(names)}
    if "momentum" in values:
        values["momentum"] = np.where(_is_sgd(space, values) > 0, values["momentum"], np.nan)
    return values


def _grid(rng: np.random.Generator, n_names: int, n: int) -> FloatArray:
    """A grid over learning rate and the next hyperparameter, the others drawn, (n, n_names)."""
    side = math.ceil(math.sqrt(n))
    shares = rng.random((n, n_names))
    shares[:, 0] = (np.arange(n) % side) / max(side - 1, 1)
    if n_names > 1:
        shares[:, 1] = (np.arange(n) // side) / max(side - 1, 1)
    return shares


def _adapt(rng, space, names, shares, loss, seed_noise) -> None:  # type: ignore[no-untyped-def]
    """Moves the later rows of `shares` near the best quarter of the rows before them, three times in four."""
    seen = loss(_values(space, names, shares)) + rng.normal(0, seed_noise, len(shares))
    for row in range(len(shares) // 4, len(shares)):
        if rng.random() < 0.75:
            best = rng.choice(np.argsort(seen[:row])[: max(row // 4, 2)])
            shares[row] = np.clip(shares[best] + rng.normal(0, 0.12, shares.shape[1]), 0, 1)
            seen[row] = loss(_values(space, names, shares[row : row + 1]))[0] + rng.normal(0, seed_noise)


def _seed_noise(rng: np.random.Generator, n: int, sd: float, heavy_tails: bool) -> FloatArray:
    if not heavy_tails:
        return rng.normal(0.0, sd, n)
    huge = (rng.random(n) < 0.03) * 10 ** rng.uniform(1, 4, n)
    return sd * (rng.standard_t(2, n) + huge)


def _diverged(
    rng: np.random.Generator, space: Space, truth: Truth, values: dict[str, FloatArray]
) -> BoolArray:
    """Which runs diverge, (n,)."""
    u = np.log(values["learning_rate"])
    return rng.random(u.size) < (divergence_chance(space, truth, values) if truth.effect else 0.1)


def divergence_chance(space: Space, truth: Truth, values: dict[str, FloatArray]) -> FloatArray:
    """How likely a run is to diverge: ever more from about 3 nats to the right of the best learning rate, (n,)."""
    away = np.log(values["learning_rate"]) - best_log_learning_rate(space, truth, values)
    return np.asarray(1 / (1 + np.exp(-(away - 3.0) / 0.4)))


def _sweep(
    task: str, space: Space, values: dict[str, FloatArray], configuration: IntArray, runs: IntArray,
    y: FloatArray, infeasible: BoolArray,
) -> Sweep:  # fmt: skip
    def scale(name: str) -> Scale:
        return "category" if space.levels(name) else "linear" if name in ("dropout", "momentum") else "log"

    hyperparameters = tuple(
        Hyperparameter(name, scale(name), array, space.levels(name)) for name, array in values.items()
    )
    seed = np.concatenate([np.arange(n) for n in runs]).astype(float) if runs.size else np.empty(0)
    ids = tuple(f"{task}-{c}-{s:.0f}" for c, s in zip(configuration, seed, strict=True))
    y = np.where(infeasible, np.nan, y)
    fixed = {"optimizer": space.optimizers[0]} if len(space.optimizers) == 1 else {}
    return Sweep(task, "val_loss:min", ids, configuration, seed, y, infeasible, hyperparameters, fixed)


def covers(finding: Finding, truth: float) -> bool:
    """Whether the finding states an estimate and its interval, open where a bound is None, holds the truth."""
    low = -math.inf if finding.low is None else finding.low
    high = math.inf if finding.high is None else finding.high
    return finding.estimate is not None and low <= truth <= high
