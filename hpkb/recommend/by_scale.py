"""The default at the size of a new task: its learning rate, where a rule of scale was found and all sizes are given.

The rule was tested on tasks left out against the best constant (`scale_rules`); the default's other values stay as they
were chosen. Sizes that a script does not set (how many parameters, how many training examples) only say what the task
is: they are no part of a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpkb.errors import UsageError
from hpkb.recommend.candidates import Value
from hpkb.recommend.laws import RATE, moved_by, typed_rate
from hpkb.recommend.scale_rules import Rule

NOT_SET = ("parameter_count", "training_examples")  # sizes of a task that no script is told


def fitting(rules: Sequence[Rule], given: Mapping[str, Value]) -> Rule | None:
    """Returns the rule all of whose sizes are given; None where the learning rate is given too.

    Raises UsageError for a size that is no positive number.
    """
    for name in NOT_SET:
        if name in given and not _size(given, name) > 0:
            raise UsageError(f"{name} takes a positive number, not '{given[name]}'.")
    if RATE in given:
        return None
    return next((rule for rule in rules if all(_size(given, name) > 0 for name in rule.exponents)), None)


def without_sizes(given: Mapping[str, Value]) -> dict[str, Value]:
    """Returns what is given of a configuration."""
    return {name: value for name, value in given.items() if name not in NOT_SET}


def moved_to_scale(document: dict[str, Any], rule: Rule, given: Mapping[str, Value]) -> dict[str, Any]:
    """Returns the document with the learning rate of its first configuration by the rule, all others moved alike.

    `scale` has the sizes, the rate and, where a size lies beyond those of the tasks, that it is an extrapolation.
    """
    sizes = {name: _size(given, name) for name in rule.exponents}
    first = document["configurations"][0]["values"]
    if not isinstance(first.get(RATE), float | int):
        return document
    rate = rule.learning_rate(sizes)
    factor = rate / float(first[RATE])
    told = {name: value for name, value in sizes.items() if name not in NOT_SET}
    beyond = [name for name, (low, high) in rule.spans.items() if not low <= sizes[name] <= high]
    words = (
        f"Learning rate {typed_rate(rate, None, None):g} by the rule of scale at "
        f"{', '.join(f'{name} {value:g}' for name, value in sizes.items())} (regret on tasks left out "
        f"{rule.held_out_regret:.2f}, of the best constant {rule.constant_held_out_regret:.2f})"
    )
    if beyond:
        seen = ", ".join(f"{name} {rule.spans[name][0]:g} to {rule.spans[name][1]:g}" for name in beyond)
        words += f"; that is an extrapolation, not tested: the tasks have {seen}"
    return {
        **document,
        "configurations": [_moved(c, factor, told) for c in document["configurations"]],
        "scale": {"sizes": sizes, RATE: rate, "extrapolated": bool(beyond), "words": f"{words}."},
        "reason": f"{document['reason']} {words}. All other tests are of the default without it.",
    }


def unused(rules: Sequence[Rule], given: Mapping[str, Value]) -> str:
    """Returns why sizes that are given change nothing, as a sentence; empty where none was."""
    if RATE in given:
        return ""
    for rule in rules:
        missing = [name for name in rule.exponents if name not in given]
        if missing and len(missing) < len(rule.exponents):
            return f"The rule of scale asks for {' and '.join(missing)} too: --given {missing[0]}=…"
    sizes = [name for name in given if name in NOT_SET]
    verb = "changes" if len(sizes) == 1 else "change"
    return f"{' and '.join(sizes)} {verb} nothing: no rule of scale has {_it(sizes)} in it." if sizes else ""


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _moved(configuration: Mapping[str, Any], factor: float, told: Mapping[str, float]) -> dict[str, Any]:
    values = configuration["values"] | told
    plateau = {name: ends for name, ends in configuration["plateau"].items() if name not in told}
    if isinstance(values.get(RATE), float | int):
        values[RATE], plateau = moved_by(factor, float(values[RATE]), plateau)
    return {**configuration, "values": values, "plateau": plateau}


def _size(given: Mapping[str, Value], name: str) -> float:
    value = given.get(name, 0.0)
    return 0.0 if isinstance(value, str) else float(value)
