"""What torch itself would have used, on the same tasks and through the same surrogates as the default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Value
from hpkb.recommend.regret import regret_summary
from hpkb.recommend.task_model import TaskModel
from hpkb.sweep import FloatArray, Hyperparameter, Sweep

_ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0}
#: What `torch.optim` takes where a script says nothing, as of torch 2.13.
TORCH: Mapping[str, Mapping[str, float]] = {
    "SGD": {"learning_rate": 1e-3, "momentum": 0.0, "weight_decay": 0.0},
    "Adam": {"learning_rate": 1e-3, **_ADAM},
    "AdamW": {"learning_rate": 1e-3, **_ADAM, "weight_decay": 1e-2},
    "NAdam": {"learning_rate": 2e-3, **_ADAM},
    "RAdam": {"learning_rate": 1e-3, **_ADAM},
    "Adamax": {"learning_rate": 2e-3, **_ADAM},
    "RMSprop": {"learning_rate": 1e-2, "momentum": 0.0, "epsilon": 1e-8, "weight_decay": 0.0},
    "Adagrad": {"learning_rate": 1e-2, "epsilon": 1e-10, "weight_decay": 0.0},
    "Adadelta": {"learning_rate": 1.0, "epsilon": 1e-6, "weight_decay": 0.0},
    "ASGD": {"learning_rate": 1e-2, "weight_decay": 0.0},
    "Rprop": {"learning_rate": 1e-2},
}
AS_GOOD_AS_NONE = {"weight_decay": 1e-5}  # over 100,000 steps at a rate of 1e-3 it takes a thousandth off a weight


def library_default(
    sweeps: Sequence[Sweep], values: Mapping[str, Value], given: Mapping[str, Value]
) -> dict[str, Any]:
    """Returns the library's values of what the tasks vary, for the optimizer of the recommended `values`.

    `held` names what the library has no default of (a batch size, a model's depth): it stays as recommended. `values`
    are empty, with the `reason`, where nothing can be said.
    """
    optimizer = _optimizer(sweeps, values)
    own = next((v for name, v in TORCH.items() if optimizer and name.lower() == optimizer.lower()), None)
    document: dict[str, Any] = {"library": "torch", "optimizer": optimizer, "values": {}, "held": []}
    if own is None:
        reason = f"torch has no defaults for '{optimizer}'." if optimizer else "The optimizer was not recorded."
        return document | {"reason": f"It cannot be placed: {reason}"}
    varied = {h.name for s in sweeps for h in s.hyperparameters}
    found = {name: value for name, value in own.items() if name in varied and name not in given}
    held = sorted(n for n in values if n not in own and n not in given and n != "optimizer")
    if not found:
        return document | {"reason": "It cannot be placed: the tasks vary nothing that torch has a default of."}
    return document | {"values": found, "held": held, "reason": ""}


def library_regrets(
    document: Mapping[str, Any], models: Sequence[TaskModel], defaults: Sequence[Mapping[str, Value]]
) -> FloatArray:
    """Returns the predicted regret of the library's values on each task, (tasks,), NaN where a task never tried such.

    All else is as in the default that the other tasks chose for it, `defaults`, one a task.
    """
    regrets = np.full(len(models), np.nan)
    own = document["values"]
    for i, (model, default) in enumerate(zip(models, defaults, strict=True)):
        if own and all(_is_covered(model.sweep, name, value) for name, value in own.items()):
            level = {"optimizer": document["optimizer"]} if "optimizer" in default else {}
            regrets[i] = model.predict([{**default, **level, **own}])[0]
    return regrets


def placed_library(
    sweeps: Sequence[Sweep], values: Mapping[str, Value], given: Mapping[str, Value], models: Sequence[TaskModel],
    defaults: Sequence[Mapping[str, Value]], weights: FloatArray | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Returns the library's default with its regret over the tasks that can place it, by `weights` if given."""
    document = library_default(sweeps, values, given)
    regrets = library_regrets(document, models, defaults)
    there = np.isfinite(regrets)
    if not there.any():
        return with_regret(document, sweeps, None)
    tasks = [model.sweep.task for model, placed in zip(models, there, strict=True) if placed]
    summary = regret_summary(regrets[there], tasks, None if weights is None else weights[there])
    return with_regret(document, sweeps, summary)


def with_regret(
    document: Mapping[str, Any], sweeps: Sequence[Sweep], summary: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Returns the document with its regret, or the reason where no task could place it."""
    if summary is not None or not document["values"]:
        return {**document, "held_out_regret": summary}
    outside = [
        f"{name} {value:g}" for name, value in document["values"].items()
        if not any(_is_covered(sweep, name, value) for sweep in sweeps)
    ]  # fmt: skip
    said = f"{' and '.join(outside)} was never tried" if outside else "no task tried all of its values"
    return {**document, "held_out_regret": None, "reason": f"It cannot be placed: {said}."}


def _optimizer(sweeps: Sequence[Sweep], values: Mapping[str, Value]) -> str | None:
    """The recommended optimizer, or the one that all tasks had in common."""
    if "optimizer" in values:
        return str(values["optimizer"])
    fixed = {sweep.fixed.get("optimizer") for sweep in sweeps}
    return fixed.pop() if len(fixed) == 1 else None


def _is_covered(sweep: Sweep, name: str, value: float) -> bool:
    """Whether the task tried values around it, or always had this one; what it does not know of says nothing."""
    parameter = sweep.hyperparameter(name)
    if parameter is None:
        return name not in sweep.fixed or candidates.number(sweep.fixed[name]) == value
    return _is_within(parameter, value)


def _is_within(parameter: Hyperparameter, value: float) -> bool:
    if value == 0 and parameter.scale == "log":
        return float(np.nanmin(parameter.values)) <= AS_GOOD_AS_NONE.get(parameter.name, 0.0)
    return not np.isnan(candidates.place(parameter, value))
