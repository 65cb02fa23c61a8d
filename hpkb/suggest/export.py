"""Search spaces and lists of experiments as other tools take them: Optuna, Ray Tune, W&B sweeps, Hydra.

A search space is a mapping of names to `{"low", "high", "log", "whole"}` or `{"values"}`. In the snippets for W&B and
Hydra, which hand values to a script, a hyperparameter has the name that the script's options have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from hpkb.names import lookup
from hpkb.suggest.options import arguments, option, shown
from hpkb.suggest.space import Limit, plain

FORMATS = ("optuna", "ray", "wandb", "hydra")
_WIDE = 20.0  # high over low from which a number of an unknown kind is searched by its logarithm

Space = Mapping[str, Mapping[str, Any]]


def space_of_ranges(
    values: Mapping[str, Any], ranges: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, Any]]:
    """Returns a search space of safe ranges; what has none keeps its value."""
    space: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        low, high = (float(x) for x in ranges.get(name, (0.0, 0.0)))
        if isinstance(value, str) or not low < high:
            space[name] = {"values": [plain(value)]}
            continue
        known = lookup(name)
        log = known.scale == "log" if known else low > 0 and high / low > _WIDE
        whole = bool(known and known.unit) and float(value) == int(value)
        low, high = (round(low), round(high)) if whole else (_rounded(low), _rounded(high))
        space[name] = {"low": low, "high": high, "log": log and low > 0, "whole": whole}
    return space


def capped(
    ranges: Mapping[str, Sequence[float]], limits: Sequence[Limit], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the safe ranges cut where training diverges with these values; the value itself is never cut off."""
    found = dict(ranges)
    for limit in limits:
        low, high = found.get(limit.name, (0.0, 0.0))
        concerns = limit.condition is None or values.get(limit.condition[0]) == limit.condition[1]
        if concerns and low <= values.get(limit.name, low) <= limit.high < high:
            found[limit.name] = [low, limit.high]
    return found


def search_space(format_: str, space: Space, objective: str, spelled: Mapping[str, str] | None = None) -> str:
    """Returns a snippet that searches the space with a tool; raises KeyError for a format that is none."""
    writers = {"optuna": _optuna, "ray": _ray, "wandb": _wandb, "hydra": _hydra}
    return writers[format_](space, *_judged(objective), spelled or {})


def experiments(format_: str, document: Mapping[str, Any]) -> str:
    """Returns a snippet that runs the experiments of `suggest` with a tool; raises KeyError for another format."""
    runs = [
        {**e["values"], **({} if e["seed"] is None else {"seed": e["seed"]})} for e in document["experiments"]
    ]
    metric, mode = _judged(document["objective"])
    spelled = document["options"]
    writers = {"optuna": _optuna_list, "ray": _ray_list, "wandb": _wandb_list, "hydra": _hydra_list}
    if format_ == "optuna":  # what a trial does not name would be drawn at random
        seed = {"seed": 0} if any("seed" in run for run in runs) else {}
        usual = {n: v for n, v in document["fixed"].items() if n in document["space"]}
        runs = [{**seed, **usual, **run} for run in runs]
    return writers[format_](runs, document["space"], metric, mode, spelled)


def _judged(objective: str) -> tuple[str, str]:
    """The metric, and min or max."""
    metric, _, mode = objective.partition(",")[0].rpartition(":")
    return metric or mode or "objective", "max" if mode == "max" else "min"


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _suggestion(name: str, axis: Mapping[str, Any]) -> str:
    if "values" in axis:
        return f"trial.suggest_categorical({name!r}, {axis['values']!r})"
    kind, log = ("int" if axis["whole"] else "float"), (", log=True" if axis["log"] else "")
    return f"trial.suggest_{kind}({name!r}, {axis['low']!r}, {axis['high']!r}{log})"


def _optuna(space: Space, metric: str, mode: str, spelled: Mapping[str, str]) -> str:
    lines = ["def objective(trial):", "    values = {"]
    lines += [f"        {name!r}: {_suggestion(name, axis)}," for name, axis in space.items()]
    return "\n".join(
        [
            "import optuna",
            "",
            *lines,
            "    }",
            f"    return train(values)  # train() is yours: it returns {metric}",
            "",
            f"study = optuna.create_study(direction={mode + 'imize'!r})",
            "study.optimize(objective, n_trials=32)",
        ]
    )


def _optuna_list(
    runs: Sequence[Mapping[str, Any]], space: Space, metric: str, mode: str, spelled: Mapping[str, str]
) -> str:
    axes = dict(space)
    if any("seed" in run for run in runs):
        axes["seed"] = {
            "low": 0,
            "high": max(run.get("seed", 0) for run in runs),
            "log": False,
            "whole": True,
        }
    head, tail = _optuna(axes, metric, mode, spelled).rsplit("\n", 1)
    listed = [f"study.enqueue_trial({run!r})" for run in runs]
    return "\n".join([head, *listed, tail.replace("32", str(len(runs)))])


def _ray_axis(axis: Mapping[str, Any]) -> str:
    if "values" in axis:
        return f"tune.choice({axis['values']!r})"
    kind = (
        ("lograndint" if axis["log"] else "randint")
        if axis["whole"]
        else "loguniform"
        if axis["log"]
        else "uniform"
    )
    high = axis["high"] + 1 if axis["whole"] else axis["high"]  # the upper end of Ray's integers is open
    return f"tune.{kind}({axis['low']!r}, {high!r})"


def _ray(space: Space, metric: str, mode: str, spelled: Mapping[str, str]) -> str:
    lines = [f"    {name!r}: {_ray_axis(axis)}," for name, axis in space.items()]
    tuner = f"tune.Tuner(train, param_space=space, tune_config=tune.TuneConfig(metric={metric!r}, mode={mode!r}, " \
        "num_samples=32))"  # fmt: skip
    head = ["from ray import tune", "", "space = {"]
    return "\n".join([*head, *lines, "}", "# train(config) is yours", f"results = {tuner}.fit()"])


def _ray_list(
    runs: Sequence[Mapping[str, Any]], space: Space, metric: str, mode: str, spelled: Mapping[str, str]
) -> str:
    lines = [f"    {dict(run)!r}," for run in runs]
    tuner = 'tune.Tuner(train, param_space={"experiment": tune.grid_search(experiments)}, ' \
        f"tune_config=tune.TuneConfig(metric={metric!r}, mode={mode!r}))"  # fmt: skip
    head = ["from ray import tune", "", "experiments = ["]
    return "\n".join([*head, *lines, "]", '# train(config) is yours; its values are config["experiment"]',
                      f"results = {tuner}.fit()"])  # fmt: skip


def _wandb(space: Space, metric: str, mode: str, spelled: Mapping[str, str]) -> str:
    parameters: dict[str, Any] = {}
    for name, axis in space.items():
        key = option(name, spelled)
        if "values" in axis:
            parameters[key] = (
                {"value": axis["values"][0]} if len(axis["values"]) == 1 else {"values": axis["values"]}
            )
            continue
        kind = ("q_" if axis["whole"] else "") + ("log_uniform_values" if axis["log"] else "uniform")
        kind = "int_uniform" if kind == "q_uniform" else kind
        parameters[key] = {"distribution": kind, "min": axis["low"], "max": axis["high"]}
    return _yaml(
        {
            "program": "train.py",
            "method": "bayes",
            "metric": {"name": metric, "goal": f"{mode}imize"},
            "parameters": parameters,
        }
    )


def _wandb_list(
    runs: Sequence[Mapping[str, Any]], space: Space, metric: str, mode: str, spelled: Mapping[str, str]
) -> str:
    """A grid over one parameter that holds whole command lines: a W&B sweep has no other list of configurations."""
    lines = [" ".join(arguments(run, None, spelled)) for run in runs]
    # ${args_no_hyphens} is the one word "arguments=--lr 0.1 …", which the shell sees as $0.
    shell = "exec python train.py ${0#arguments=}"
    return _yaml(
        {
            "program": "train.py",
            "method": "grid",
            "metric": {"name": metric, "goal": f"{mode}imize"},
            "parameters": {"arguments": {"values": lines}},
            "command": ["${env}", "bash", "-c", shell, "${args_no_hyphens}"],
        }
    )


def _key(name: str, spelled: Mapping[str, str]) -> str:
    return option(name, spelled).replace("-", "_")


def _hydra(space: Space, metric: str, mode: str, spelled: Mapping[str, str]) -> str:
    parameters: dict[str, Any] = {}
    for name, axis in space.items():
        key = _key(name, spelled)
        if "values" in axis:
            values = [shown(value) for value in axis["values"]]
            parameters[key] = values[0] if len(values) == 1 else f"choice({', '.join(values)})"
            continue
        inner = f"interval({shown(axis['low'])}, {shown(axis['high'])})"
        inner = f"int({inner})" if axis["whole"] else inner
        parameters[key] = f"tag(log, {inner})" if axis["log"] else inner
    head = "# python train.py --multirun, with hydra-optuna-sweeper; train() returns " + metric
    sweeper = {"direction": f"{mode}imize", "n_trials": 32, "params": parameters}
    document = {"defaults": ["_self_", {"override hydra/sweeper": "optuna"}], "hydra": {"sweeper": sweeper}}
    return f"{head}\n{_yaml(document)}"


def _hydra_list(
    runs: Sequence[Mapping[str, Any]], space: Space, metric: str, mode: str, spelled: Mapping[str, str]
) -> str:
    """Overrides, a line a run: --multirun would combine every value with every other one."""
    return "\n".join(
        " ".join(f"{_key(n, spelled)}={_quoted(shown(v))}" for n, v in run.items()) for run in runs
    )


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[\w.+-]+", text) else json.dumps(text)


def _yaml(document: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=400)).rstrip()
