"""The tables that `bench/defaults.py` chooses defaults from, as sweeps with the same names on every task."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as parquet
from others import DATA, HPOBENCH, TASKSET, load

from hpkb.sweep import Hyperparameter, Sweep

WORKLOADS = (
    "criteo1tb", "fastmri", "imagenet_resnet", "imagenet_vit", "librispeech_conformer", "librispeech_deepspeech",
    "ogbg", "wmt",
)  # fmt: skip


def sgd_rates() -> list[Sweep]:
    """Returns the learning rates of plain SGD in `deepobs_baselines`, on each of its tasks."""
    whole = parquet.read_table(DATA / "deepobs_baselines.parquet")
    whole = whole.filter(pc.equal(whole["optimizer"], "GradientDescent"))
    sweeps = []
    for task in sorted(set(whole["task"].to_pylist())):
        rows = whole.filter(pc.equal(whole["task"], task))
        accuracy = rows["final_test_accuracies"].to_numpy().astype(float)
        y = -accuracy if np.isfinite(accuracy).any() else rows["final_test_losses"].to_numpy().astype(float)
        typed = np.array([float(f"{rate:.3g}") for rate in rows["learning_rate"].to_numpy()])
        rates, configuration = np.unique(typed, return_inverse=True)
        rate = Hyperparameter("learning_rate", "log", rates[configuration])
        sweeps.append(_sweep(task, rows["run_id"].to_pylist(), configuration, y, (rate,)))
    return sweeps


def submissions() -> list[Sweep]:
    """Returns the trials of the AlgoPerf submissions on the eight base workloads; a setting is all of its values."""
    whole = parquet.read_table(DATA / "algoperf.parquet")
    values = [name for name in whole.column_names if name.startswith("hp_")]
    sweeps = []
    for task in WORKLOADS:
        rows = whole.filter(pc.equal(whole["task"], task)).to_pylist()
        names = [r["submission"] for r in rows]
        settings = [r["submission"] + str([r[v] for v in values]) for r in rows]
        sign = -1.0 if rows[0]["higher_is_better"] else 1.0
        y = np.array([np.nan if r["best_val"] is None else sign * r["best_val"] for r in rows], dtype=float)
        _, configuration = np.unique(settings, return_inverse=True)
        both = (_category("submission", names), _category("setting", settings))
        sweeps.append(_sweep(task, [r["run_id"] for r in rows], configuration, y, both))
    return sweeps


def _category(name: str, values: list[str]) -> Hyperparameter:
    levels, index = np.unique(values, return_inverse=True)
    return Hyperparameter(name, "category", index.astype(float), tuple(str(level) for level in levels))


def _sweep(task, ids, configuration, y, parameters) -> Sweep:
    infeasible = ~np.isfinite(y)
    return Sweep(task, "objective:min", tuple(ids), configuration.astype(np.int64), np.zeros(len(y)),
                 np.where(infeasible, np.nan, y), infeasible, parameters)  # fmt: skip


TABLES = {
    "hpobench_mlp": lambda: load(HPOBENCH), "taskset_rnn": lambda: load(TASKSET),
    "deepobs_sgd": sgd_rates, "algoperf_base": submissions,
}  # fmt: skip
