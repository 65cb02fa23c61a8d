"""Which curves of a task tell how good a run is: the metric to watch, the one of training, the one held out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hpkb.sources.metric_reading import Reading, read_metric
from hpkb.stats.curves import Panel, panel
from hpkb.stats.surrogate import feasible_runs
from hpkb.sweep import IntArray, Sweep, direction_of, metric_of

_SPLITS = {"validation": 0, "": 1, "test": 2}
_KINDS = {"losses": "loss", "acc": "accuracy", "accuracies": "accuracy", "top1": "accuracy", "acc1": "accuracy"}


@dataclass(frozen=True)
class Watched:
    """The runs of a task that have a curve to watch, and that curve; `sign` is -1 where higher is better.

    `rows` are their places in the sweep, `sweep` the sweep with those alone. `training` and `held_out` name the
    metrics beside it, None where there is none.
    """

    sweep: Sweep
    rows: IntArray
    metric: str
    sign: float
    training: str | None
    held_out: str | None

    def panel(self, metric: str | None = None, keep_failures: bool = False) -> Panel:
        """The curves of a metric, the one that is watched where none is named, lower as better."""
        name = metric or self.metric
        curves = self.sweep.records.curves(name)
        return panel(curves, self.sign if name == self.metric else _sign(name), keep_failures)


def watched(sweep: Sweep, fewest_points: int) -> Watched | None:
    """The feasible runs with a long enough curve of the metric that judges them; None where there are none.

    That is the objective where it has curves, else the validation metric most like it, else one of the test data.
    """
    names = sorted(_candidates(sweep, fewest_points), key=lambda item: item[0])
    if not names:
        return None
    (_, metric, reading) = names[0]
    objective = metric == metric_of(sweep)
    sign = direction_of(sweep) if objective else _sign(metric)
    lengths = np.array([0 if c is None else int(np.isfinite(c.value).sum()) for c in sweep.records.curves(metric)])
    rows = np.flatnonzero(feasible_runs(sweep) & (lengths >= fewest_points)).astype(np.int64)
    if not rows.size:
        return None
    own = sweep.subset(rows)
    return Watched(own, rows, metric, sign, _beside(own, metric, reading, True), _beside(own, metric, reading, False))


def _candidates(sweep: Sweep, fewest: int) -> Iterator[tuple[tuple[object, ...], str, Reading | None]]:
    """What may be watched, with its place in the order of preference, the first one best."""
    objective = read_metric(metric_of(sweep))
    kind = objective.kind if objective else ""
    wanted = "max" if sweep.objective.endswith(":max") else "min"
    for metric in sweep.records.metrics:
        # an outcome that was logged once is a metric with curves of one point
        reading, n = read_metric(metric), _n_curves(sweep, metric, fewest)
        if not n:
            continue
        if metric == metric_of(sweep) and (reading is None or reading.split != "training"):
            yield (-1, 0, 0, 0, 0, metric), metric, reading
        elif reading is not None and _may_judge(reading):
            rare, split = 2 * n < sweep.n_runs, _SPLITS[reading.split]
            like = reading.kind != kind, reading.direction != wanted
            yield (rare, min(split, 1), *like, reading.rank, metric), metric, reading


def _may_judge(reading: Reading) -> bool:
    """A best value so far never gets worse, and a loss of no split is that of training."""
    return (
        reading.direction is not None and not reading.best and reading.split in _SPLITS
        and not (reading.split == "" and reading.kind in ("loss", "losses"))
    )  # fmt: skip


def _beside(sweep: Sweep, metric: str, reading: Reading | None, training: bool) -> str | None:
    """The metric of training (any kind, the same one first), or of the test on the same kind; most runs' first."""
    found = []
    for name in sweep.records.metrics:
        other = read_metric(name)
        if other is None or other.direction is None or name == metric or other.best:
            continue
        same = reading is not None and _KINDS.get(other.kind, other.kind) == _KINDS.get(reading.kind, reading.kind)
        is_training = other.split == "training" or (other.split == "" and other.kind in ("loss", "losses"))
        is_test = other.split == "test" and same and (reading is None or reading.split != "test")
        if is_training if training else is_test:
            n = _n_curves(sweep, name, 2)
            found += [(-n * (1 + same), other.rank, name)] if n else []
    return min(found)[2] if found else None


def _n_curves(sweep: Sweep, metric: str, fewest: int) -> int:
    return sum(c is not None and c.value.size >= fewest for c in sweep.records.curves(metric))


def _sign(metric: str) -> float:
    reading = read_metric(metric)
    return -1.0 if reading is not None and reading.direction == "max" else 1.0


def best_run(watched: Watched) -> int:
    """The place among the watched runs of the one with the best objective; the first of those that are as good."""
    return int(np.argmin(watched.sweep.y))


def without_records(sweep: Sweep) -> Sweep:
    """The sweep without its curves."""
    return replace(sweep, recorded=None)
