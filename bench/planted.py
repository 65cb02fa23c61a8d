"""A store of long curves that exists nowhere: runs made as they are read, from a law that the miners are to find.

Of each task, the loss at the end is a bowl in ln learning_rate - best + (ln weight_decay - middle) / 2: the best
learning rate falls with the root of the weight decay, whatever the task. Every run logs four curves at each step, of
numbers of single precision, as a training does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hpkb.sources import CURVES, FINGERPRINTS, HARDWARE, PARAMETERS, RUNS, SPLITS
from hpkb.sources.objectives import Objective

EXPONENT = -0.5  # of the best learning rate in the weight decay
STEPS, METRICS = 10_000, ("examples_per_second", "grad_norm", "train_loss", "val_loss")
RUNS_OF_A_TASK = 250
POINTS_OF_A_RUN = STEPS * len(METRICS)
_FIRST = 1_760_000_000_000  # milliseconds; a run an hour


@dataclass(frozen=True)
class Run:
    """One run of the law: its number, its task, its settings and the loss that it comes to."""

    number: int
    task: int
    learning_rate: float
    weight_decay: float
    seed: int
    loss: float

    @property
    def run_id(self) -> str:
        """As random as MLflow's, and always the same."""
        return hashlib.blake2b(str(self.number).encode(), digest_size=16).hexdigest()


def run(number: int) -> Run:
    """Returns the run of that number."""
    task, draw = number // RUNS_OF_A_TASK, np.random.default_rng(number)
    best = -6 + 2 * np.random.default_rng(10**9 + task).random()
    ln_rate, ln_decay = draw.uniform(-10, -1), draw.uniform(-12, -4)
    off = ln_rate - best - EXPONENT * (ln_decay + 8)
    loss = 0.5 + 0.03 * off**2 + 0.01 * draw.standard_normal()
    return Run(number, task, float(np.exp(ln_rate)), float(np.exp(ln_decay)), number % 3, float(loss))


class Planted:
    """So many runs of the law, as a source."""

    kind, name = "mlflow_planted", "planted"

    def __init__(self, n_runs: int) -> None:
        self._runs = {r.run_id: r for r in map(run, range(n_runs))}

    def experiments(self) -> list[str]:
        return ["planted"]

    def fingerprints(self, experiments: Sequence[str] = ()) -> pa.Table:
        return pa.table([list(self._runs), list(self._runs)], schema=FINGERPRINTS)

    def runs(self, ids: pa.Array) -> pa.Table:
        rows = [
            {"run_id": r.run_id, "experiment": "planted", "run_name": f"run {r.number}", "status": "FINISHED",
             "started_at": _began(r), "ended_at": _began(r) + 50 * STEPS, "task": f"task {r.task:05}"}
            for r in self._of(ids)
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, RUNS)

    def parameters(self, ids: pa.Array) -> pa.Table:
        rows = [
            {"run_id": r.run_id, "name": name, "value": f"{getattr(r, name):.6g}", "origin": "param"}
            for r in self._of(ids)
            for name in ("learning_rate", "weight_decay", "seed")
        ]
        return pa.Table.from_pylist(rows, PARAMETERS)

    def hardware(self, ids: pa.Array) -> pa.Table:
        rows = [{"run_id": r.run_id, "name": "hpkb.hw.gpu.name", "value": "a GPU"} for r in self._of(ids)]
        return pa.Table.from_pylist(rows, HARDWARE)

    def splits(self, ids: pa.Array) -> pa.Table:
        return SPLITS.empty_table()

    def curves(self, ids: pa.Array) -> Iterator[pa.RecordBatch]:
        for r in self._of(ids):
            yield from _curves(r)

    def notes(self) -> Mapping[str, int]:
        return {}

    def objectives(self) -> Mapping[str, Sequence[Objective]]:
        return {}

    def close(self) -> None:
        """Nothing is open."""

    def _of(self, ids: pa.Array) -> list[Run]:
        return [self._runs[run_id] for run_id in ids.to_pylist()]


def _began(r: Run) -> int:
    return _FIRST + r.number * 3_600_000


def _curves(r: Run) -> Iterator[pa.RecordBatch]:
    draw = np.random.default_rng([r.number, 1])
    step = np.arange(1, STEPS + 1)
    time = pa.array(_began(r) + step * 50 + draw.integers(0, 5, STEPS)).cast(pa.timestamp("ms"))
    fall = (1 + step / 100) ** -0.5
    values = {
        "examples_per_second": 1_000 + 20 * draw.standard_normal(STEPS),
        "grad_norm": (0.2 + fall) * np.exp(0.2 * draw.standard_normal(STEPS)),
        "train_loss": r.loss - 0.05 + 2 * fall + 0.05 * draw.standard_normal(STEPS),
        "val_loss": r.loss + 2 * (fall - fall[-1]) + 0.002 * draw.standard_normal(STEPS),
    }
    for metric, value in values.items():
        names = (pa.repeat(pa.scalar(text), STEPS) for text in (r.run_id, metric))
        yield pa.RecordBatch.from_arrays(
            [*names, pa.array(step), time, pa.array(value.astype(np.float32).astype(float))], schema=CURVES
        )
