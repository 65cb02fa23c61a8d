"""What `efficiency` says of the front: the configurations that are not beaten in the result and all costs at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata

from hpkb.findings import Finding, evidence
from hpkb.miners._costs import COSTS, UNITS, calibration, cost, machines
from hpkb.stats.pareto import Front, front, single_best
from hpkb.stats.surrogate import feasible_runs, winsorised
from hpkb.sweep import FloatArray, IntArray, Sweep, direction_of, metric_of

FEWEST_CONFIGURATIONS = 8
FEWEST_DEGREES = 4.0
KNOWN = 0.8  # of the feasible runs that must have a cost for it to take part


@dataclass(frozen=True)
class _Axes:
    """The means of the configurations on each axis, (n, m), the result first; what their runs scatter, (m,)."""

    names: tuple[str, ...]
    means: FloatArray
    seeds: FloatArray
    first: IntArray
    sd: FloatArray
    degrees: float
    scores: FloatArray
    score_sd: FloatArray


def pareto(sweep: Sweep) -> Finding:
    """Returns how many configurations are not beaten in the result, calibration, time, energy and memory at once."""
    axes = _axes(sweep)
    if axes is None:
        claim = "Which configurations are not beaten in result and costs cannot be said: no costs, or too few runs."
        return Finding(
            miner="efficiency", hyperparameters=(), quantity="pareto_front", claim=claim, unit="configurations",
            verdict="insufficient", **evidence(sweep),
        )  # fmt: skip
    degrees = np.full(len(axes.names), max(axes.degrees, 1.0))
    found = front(axes.means, axes.seeds, axes.sd, degrees)
    return _finding(sweep, axes, found, _p_value(axes, degrees))


def _p_value(axes: _Axes, degrees: FloatArray) -> float:
    """That of some configuration having both the best result and the lowest of every cost.

    The result is held against one cost at a time, on the values and on the normal scores of their ranks: that two costs
    cannot both be lowest says nothing of the result.
    """
    found = []
    for cost_axis in range(1, len(axes.names)):
        pair = [0, cost_axis]
        found.append(max(
            single_best(values[:, pair], axes.seeds, sd[pair], degrees[pair])
            for values, sd in ((axes.means, axes.sd), (axes.scores, axes.score_sd))
        ))  # fmt: skip
    return min(1.0, min(found) * len(found))


def _finding(sweep: Sweep, axes: _Axes, found: Front, p_value: float) -> Finding:
    n, k = len(axes.means), int(found.kept.sum())
    listed = f"{', '.join(axes.names[:-1])} and {axes.names[-1]}"
    repeated = axes.degrees >= FEWEST_DEGREES
    said = f"{k} of {n} configurations are not beaten in {listed} at once" + (" beyond noise" if repeated else "")
    several = np.unique(machines(sweep)).size
    common: dict[str, Any] = {
        "miner": "efficiency", "hyperparameters": (), "quantity": "pareto_front", "unit": "configurations",
        "estimate": float(k), "low": float(min(found.low, k)) if repeated else None,
        "high": float(max(found.high, k)) if repeated else None, "p_value": p_value if repeated else None,
        "figure": _figure(sweep, axes, found),
        "caveats": (f"{several} kinds of machines: their costs do not compare",) if several > 1 else (),
        "claim_if_insufficient": f"{said}; that the best result costs more is not shown.", **evidence(sweep),
    }  # fmt: skip
    if repeated and found.high == 1:
        claim = f"One configuration is best in {listed} alike, beyond noise."
        return Finding(claim=claim, verdict="rejected", **common)
    claim = f"The best result and the lowest costs do not go together: {said}."
    result = Finding(claim=claim, verdict="supported", **common)
    return result.judged() if repeated else result.insufficient("no repeated seeds: noise is not known")


def _axes(sweep: Sweep) -> _Axes | None:
    feasible = feasible_runs(sweep)
    metric, calibrated = calibration(sweep)
    axes = {metric_of(sweep): winsorised(sweep)}
    axes |= {metric: calibrated} if metric else {}
    axes |= {name: cost(sweep, name) for name in COSTS}
    n = max(int(feasible.sum()), 1)
    known = {name: v[feasible & np.isfinite(v)] for name, v in axes.items()}
    kept = {name: v for name, v in axes.items() if known[name].size >= KNOWN * n and np.ptp(known[name]) > 0}
    if len(kept) < 2 or metric_of(sweep) not in kept:
        return None
    values = np.stack(list(kept.values()), axis=1)
    rows = np.flatnonzero(feasible & np.isfinite(values).all(axis=1)).astype(np.int64)
    _, first, member = np.unique(sweep.configuration[rows], return_index=True, return_inverse=True)
    if first.size < FEWEST_CONFIGURATIONS:
        return None
    scores = np.stack([norm.ppf(rankdata(column) / (rows.size + 1)) for column in values[rows].T], axis=1)
    seeds = np.bincount(member).astype(float)
    means, sd = _means(values[rows], member)
    score_means, score_sd = _means(scores, member)
    return _Axes(tuple(kept), means, seeds, rows[first], sd, float(rows.size - first.size), score_means, score_sd)


def _means(values: FloatArray, member: IntArray) -> tuple[FloatArray, FloatArray]:
    """The means by configuration, (n, m), and the pooled standard deviation within, (m,)."""
    n = np.bincount(member).astype(float)
    means = np.stack([np.bincount(member, weights=column) for column in values.T], axis=1) / n[:, None]
    squares = ((values - means[member]) ** 2).sum(axis=0)
    return means, np.sqrt(squares / max(len(values) - n.size, 1))


def _figure(sweep: Sweep, axes: _Axes, found: Front) -> dict[str, Any]:
    """The result over the first cost, a point a configuration, a line along the front of these two."""
    sign = direction_of(sweep)
    column = next((i for i, name in enumerate(axes.names) if name in COSTS), 1)
    name = axes.names[column]
    x, y = axes.means[:, column], axes.means[:, 0]
    points = [
        {"x": float(x[i]), "y": float(sign * y[i]), "run_id": sweep.run_ids[axes.first[i]], "infeasible": False,
         "on_front": bool(found.kept[i])}
        for i in range(x.size)
    ]  # fmt: skip
    order = np.lexsort((y, x))
    best = np.minimum.accumulate(y[order])
    steps = order[np.concatenate([[True], best[1:] < best[:-1]])]
    line = [{"x": float(x[i]), "y": float(sign * y[i]), "low": None, "high": None} for i in steps]
    scale = "log" if x.min() > 0 and x.max() > 10 * x.min() else "linear"
    unit = f", {UNITS[name]}" if name in UNITS else ""
    return {
        "kind": "response", "x": {"label": f"{name}{unit}", "scale": scale, "levels": []},
        "y": {"label": metric_of(sweep), "scale": "linear"}, "points": points, "line": line, "plateau": [],
        "optimum": None, "front": [sweep.run_ids[axes.first[i]] for i in np.flatnonzero(found.kept)],
    }  # fmt: skip
