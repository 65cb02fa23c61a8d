"""The law behind the sample: five tasks, and the runs that are drawn from each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

SOURCE = "sqlite:////srv/team/mlflow.db"
SERVER = "https://mlflow.example.org"


@dataclass(frozen=True)
class Law:
    """Where a task's best learning rate lies and how its loss rises away from it."""

    name: str
    metric: str
    floor: float
    best_rate: float
    ridge: float
    batch: float
    noise: float
    source: str = SOURCE


LAWS = (
    Law("digits_cnn", "val_loss", 0.061, 3e-3, -0.15, 0.52, 0.010),
    Law("digits_mlp", "val_loss", 0.118, 5e-3, -0.22, 0.44, 0.014),
    Law("wine_mlp", "val_loss", 0.212, 2e-2, -0.05, 0.31, 0.050),
    Law("breast_cancer_mlp", "val_loss", 0.094, 1e-2, -0.10, 0.40, 0.021),
    Law("text_transformer", "val_loss", 1.710, 1e-3, -0.35, 0.61, 0.018, SERVER),
)


@dataclass(frozen=True)
class Trial:
    """One drawn run."""

    run_id: str
    configuration: str
    seed: int
    values: dict[str, Any]
    objective: float
    state: str  # finished, diverged, failed, running


def loss(law: Law, values: dict[str, Any]) -> float:
    """The law's loss of a configuration, with no noise."""
    distance = np.log10(
        values["learning_rate"] / best_rate(law, values["weight_decay"], values["batch_size"])
    )
    bent = 0.32 * distance**2 + (0.25 * max(distance, 0.0) ** 3)
    schedule = {"cosine": 0.0, "step": 0.03, "constant": 0.06, "warm_restarts": 0.02}[values["lr_schedule"]]
    return float(law.floor * (1 + bent + schedule + 0.25 * (values["dropout"] - 0.12) ** 2))


def best_rate(law: Law, weight_decay: float, batch_size: float) -> float:
    """The law's best learning rate at a weight decay and a batch size."""
    return float(law.best_rate * (weight_decay / 1e-3) ** law.ridge * (batch_size / 64) ** law.batch)


def draw_trials(law: Law) -> Iterator[Trial]:
    """The task's runs: 24 configurations of three seeds each."""
    draw = generator(law.name)
    for index in range(24):
        values: dict[str, Any] = {
            "learning_rate": float(f"{10 ** draw.uniform(-4.3, -0.5):.3g}"),
            "weight_decay": 0.0 if index % 9 == 8 else float(f"{10 ** draw.uniform(-5, -1):.3g}"),
            "batch_size": int(2 ** draw.integers(4, 9)),
            "optimizer": ("AdamW", "SGD")[int(draw.integers(2))],
            "lr_schedule": ("cosine", "constant", "step", "warm_restarts")[index % 4],
            "dropout": round(float(draw.uniform(0, 0.4)), 2),
        }
        for seed in range(3):
            yield _trial(law, index, seed, values, draw)


def _trial(law: Law, index: int, seed: int, values: dict[str, Any], draw: np.random.Generator) -> Trial:
    positive = {**values, "weight_decay": max(values["weight_decay"], 1e-6)}
    beyond = np.log10(
        values["learning_rate"] / best_rate(law, positive["weight_decay"], values["batch_size"])
    )
    state = "diverged" if beyond > 1.25 + 0.25 * draw.standard_normal() else "finished"
    if (index, seed) == (7, 2):
        state = "failed"
    if (index, seed) == (23, 2):
        state = "running"
    value = loss(law, positive) * float(np.exp(law.noise / law.floor * 0.3 * draw.standard_normal()))
    configuration = identifier(law.name, index, size=8)
    return Trial(identifier(law.name, index, seed), configuration, seed, values, round(value, 5), state)


def outcomes(trials: list[Trial]) -> list[Trial]:
    """The runs that have an outcome."""
    return [t for t in trials if t.state in ("finished", "diverged")]


def identifier(*parts: object, size: int = 16) -> str:
    """The id of what the parts name, as hexadecimal digits of so many bytes."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=size).hexdigest()


def generator(*parts: object) -> np.random.Generator:
    """A generator of random numbers of its own for what the parts name."""
    return np.random.default_rng(int(identifier(*parts, size=4), 16))
