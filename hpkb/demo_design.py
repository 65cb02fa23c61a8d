"""The design of the demo: which hyperparameters are trained on which task with which seed, and in which order."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from hpkb.sweep import FloatArray

TASKS = ("digits-mlp", "digits-cnn", "cancer-mlp", "diabetes-mlp", "char-transformer")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "cosine", "step", "warm_restarts")
BATCH_SIZES = (16, 32, 64, 128, 256)

N_CONFIGURATIONS = 64
N_REPEATED = 12  # configurations that are trained with all seeds
N_QUICK = 11  # the quick design is the beginning of the full one, so the full demo goes on from a quick one
N_QUICK_REPEATED = 2
SEEDS = (0, 1, 2)

_CANDIDATES = 250  # draws of which the design is the best


@dataclass(frozen=True)
class Configuration:
    """The hyperparameters that the design varies; what the scripts' other arguments are by default stays fixed."""

    learning_rate: float
    weight_decay: float
    batch_size: int
    optimizer: str
    schedule: str
    dropout: float

    def arguments(self) -> tuple[str, ...]:
        """The configuration as the example scripts take it."""
        values = (self.learning_rate, self.weight_decay, self.batch_size, self.optimizer, self.schedule, self.dropout)
        names = ("lr", "weight-decay", "batch-size", "optimizer", "schedule", "dropout")
        return tuple(part for name, value in zip(names, values, strict=True) for part in (f"--{name}", f"{value}"))


@dataclass(frozen=True)
class Job:
    """One run of the sweep: the configuration with its number in the design, on one task with one seed."""

    task: str
    number: int
    configuration: Configuration
    seed: int

    @property
    def key(self) -> str:
        """A digest of what the run is, by which the next call of the demo knows it again."""
        asked = json.dumps([self.task, astuple(self.configuration), self.seed])
        return hashlib.blake2b(asked.encode(), digest_size=8).hexdigest()

    @property
    def name(self) -> str:
        """The run's name in MLflow."""
        return f"{self.task}-{self.number:02d}-seed-{self.seed}"

    def command(self, folder: Path) -> tuple[str, ...]:
        """What a person in the folder above the examples would type."""
        script = f"{folder.name}/{self.task.replace('-', '_')}.py"
        python = Path(sys.executable).name
        return (python, script, *self.configuration.arguments(), "--seed", str(self.seed))


def design(n: int = N_CONFIGURATIONS, seed: int = 0) -> list[Configuration]:
    """Returns the first `n` (all at most) of a scrambled Sobol sequence (Owen 1998), values as a person types them.

    Of many such sequences it is the one in which the hyperparameters are least correlated. Each level of a category
    occurs equally often in the whole design, or once more.
    """
    generator = np.random.default_rng(seed)
    table = min((_sobol(generator) for _ in range(_CANDIDATES)), key=_confounding)
    return [
        Configuration(
            learning_rate=_typed(1e-4, 1.0, row[0]), weight_decay=_typed(1e-6, 1e-1, row[1]),
            dropout=round(10 * float(row[2])) / 20, batch_size=BATCH_SIZES[int(row[3])],
            optimizer=OPTIMIZERS[int(row[4])], schedule=SCHEDULES[int(row[5])],
        )
        for row in table[:n]
    ]  # fmt: skip


def plan(quick: bool = False, seed: int = 0) -> list[Job]:
    """Returns the jobs of the sweep in the order in which they run, which is balanced wherever it is cut off.

    The first configurations are trained with further seeds: the beginning of a Sobol sequence is itself spread over
    the whole range. Repeats are dealt out evenly between the configurations, and each line-up goes to every task.
    """
    n, n_repeated = (N_QUICK, N_QUICK_REPEATED) if quick else (N_CONFIGURATIONS, N_REPEATED)
    configurations = design(n, seed)
    turns = [((i + 0.5) / n, i, SEEDS[0]) for i in range(n)]
    repeats = [(i, further) for further in SEEDS[1:] for i in range(n_repeated)]
    turns += [((turn + 1) / len(repeats), i, further) for turn, (i, further) in enumerate(repeats)]
    return [Job(task, i, configurations[i], s) for _, i, s in sorted(turns) for task in TASKS]


def _sobol(generator: np.random.Generator) -> FloatArray:
    """One draw of the design, (N_CONFIGURATIONS, 6): shares of three ranges, then the numbers of three levels."""
    from scipy.stats import qmc

    bits = (N_CONFIGURATIONS - 1).bit_length()
    points = qmc.Sobol(12, seed=generator).random_base2(bits)[:N_CONFIGURATIONS]
    table: FloatArray = points[:, generator.permutation(12)[:6]]  # some pairs of dimensions go together badly
    for column, levels in ((3, BATCH_SIZES), (4, OPTIMIZERS), (5, SCHEDULES)):
        table[:, column] = table[:, column].argsort().argsort() * len(levels) // N_CONFIGURATIONS
    return table


def _confounding(table: FloatArray) -> float:
    """How much the hyperparameters of a draw are correlated, in it all and in the parts that are used by themselves."""
    parts = ((1.0, N_CONFIGURATIONS), (0.3, N_REPEATED), (0.3, N_QUICK))
    return sum(weight * _correlation(table[:n]) for weight, n in parts)


def _correlation(table: FloatArray) -> float:
    """The largest absolute correlation of two hyperparameters; a schedule counts as one indicator each."""
    indicators = table[:, 5:] == np.arange(len(SCHEDULES))
    coded = np.column_stack([table[:, :5], indicators])
    with np.errstate(invalid="ignore"):
        correlations = np.abs(np.corrcoef(coded, rowvar=False))
    correlations[5:, 5:] = 0.0  # indicators of one another
    np.fill_diagonal(correlations, 0.0)
    return float(np.nan_to_num(correlations, nan=1.0).max())  # a column without variation says nothing at all


def _typed(low: float, high: float, share: float) -> float:
    """The value at `share` of the way from low to high on a log scale, with one digit: people type 0.003."""
    return float(f"{low * (high / low) ** share:.0e}")
