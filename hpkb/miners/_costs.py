"""What a run costs, as far as it was recorded: time, energy, memory, the machine it ran on, its calibration."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from hpkb.stats.surrogate import feasible_runs, winsorised
from hpkb.sweep import FloatArray, IntArray, Sweep, direction_of, metric_of

COSTS = ("run time", "energy", "memory")
UNITS = {"run time": "s", "energy": "J", "memory": "GiB"}
_MACHINE = ("hpkb.hw.gpu.name", "hpkb.hw.gpu.count", "hpkb.hw.cpu.model", "hpkb.hw.cpu.cores")
_CALIBRATION = re.compile(r"(^|[_/.\s-])(ece|calibration|brier|nll)([_/.\s-]|$)", re.IGNORECASE)
_TRAINING = re.compile(r"train|trn", re.IGNORECASE)
_SHARE = 0.5  # of the runs that must have a record for it to count
FEWEST_REACHED = 16


@dataclass(frozen=True)
class Reached:
    """The seconds until each run's curve reached the target, (n_runs,), NaN where it never did; lower is better."""

    target: float
    seconds: FloatArray
    n_runs: int


def cost(sweep: Sweep, name: str) -> FloatArray:
    """Returns a cost of each run, (n_runs,), NaN where it was not recorded."""
    records = sweep.records
    if name == "run time":
        return records.numbers("run_seconds")
    if name == "energy":
        return records.numbers("hpkb.energy_joules")
    for metric in ("gpu_peak_memory_gib", "peak_memory_gib"):
        for values in (records.feature(metric, "maximum"), records.numbers(f"hpkb.hw.{metric}")):
            if np.isfinite(values).mean() >= _SHARE:
                return values
    return np.full(sweep.n_runs, np.nan)


def calibration(sweep: Sweep) -> tuple[str, FloatArray]:
    """Returns the metric of calibration that most runs logged and its last value, lower is better; "" for none."""
    found = []
    for metric in sweep.records.metrics:
        if _CALIBRATION.search(metric) and not _TRAINING.search(metric) and metric != metric_of(sweep):
            values = sweep.records.feature(metric, "last_value")
            known = float(np.isfinite(values).mean()) if values.size else 0.0
            if known >= _SHARE:
                found.append((-known, metric, values))
    if not found:
        return "", np.full(sweep.n_runs, np.nan)
    _, metric, values = min(found, key=lambda entry: entry[:2])
    return metric, values


def machines(sweep: Sweep) -> IntArray:
    """Returns the number of each run's kind of machine, (n_runs,)."""
    texts = [sweep.records.texts(name) for name in _MACHINE if name in sweep.records.names]
    if not texts:
        return np.zeros(sweep.n_runs, dtype=np.int64)
    told = [tuple(text or "" for text in facts) for facts in zip(*texts, strict=True)]
    order = {facts: i for i, facts in enumerate(sorted(set(told)))}
    return np.array([order[facts] for facts in told], dtype=np.int64)


def time_to_target(sweep: Sweep) -> Reached | None:
    """Returns when each run first reached the median result; None where too few have a curve of the objective."""
    usable = feasible_runs(sweep)
    if usable.sum() < FEWEST_REACHED:
        return None
    target, sign = float(np.median(winsorised(sweep)[usable])), direction_of(sweep)
    seconds = np.full(sweep.n_runs, np.nan)
    for i, curve in enumerate(sweep.records.curves(metric_of(sweep))):
        if curve is None or not usable[i]:
            continue
        with np.errstate(invalid="ignore"):
            there = np.flatnonzero((sign * curve.value <= target) & np.isfinite(curve.seconds))
        if there.size:
            seconds[i] = curve.seconds[there[0]]
    n = int((seconds > 0).sum())
    return Reached(target, np.where(seconds > 0, seconds, np.nan), n) if n >= FEWEST_REACHED else None
