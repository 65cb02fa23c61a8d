"""What a person says of the runs that their store does not say right: the file `hpkb.toml`.

    [hyperparameters]                     # recorded name = what it means, in all runs
    "net_lr" = "learning_rate"
    "note*" = ""                          # a * stands for anything; "" leaves it out

    [[runs]]                              # and for some runs: those that all the patterns fit
    experiment = "nano*"
    params = { model = "gpt-*" }          # patterns of recorded values
    hyperparameters = { batch_size = "micro_batch_size" }
    task = "shakespeare-gpt"              # what they train; runs are compared within a task
    objective = "val_loss:min"            # what that task is judged by

Of several entries that fit a run, the first that says something holds, those of `[[runs]]` before the others.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpkb.errors import UsageError
from hpkb.sources.objectives import Objective, parse_objective

#: Where the corrections stand if nobody names another file.
FILE = Path("hpkb.toml")
_KEYS = ("experiment", "params", "hyperparameters", "task", "objective")


@dataclass(frozen=True)
class RunsRule:
    """What holds for the runs whose experiment and recorded parameters fit the patterns."""

    experiment: str = "*"
    params: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    objective: tuple[Objective, ...] = ()

    def fits(self, experiment: str | None, params: Mapping[str, str | None]) -> bool:
        """Whether the rule holds for a run of this experiment with these recorded parameters."""
        return _fits(experiment or "", self.experiment) and all(
            _fits(params.get(name) or "", pattern) for name, pattern in self.params.items()
        )


@dataclass(frozen=True)
class Corrections:
    """All corrections; without any, everything is read as the store has it."""

    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[RunsRule, ...] = ()

    @property
    def digest(self) -> str:
        """A digest of what they say: with another one all runs have to be read anew. Empty where they say nothing."""
        if not (self.hyperparameters or self.runs):
            return ""
        return hashlib.blake2b(repr(self).encode(), digest_size=8).hexdigest()


NO_CORRECTIONS = Corrections()


def meaning(recorded: str, tables: Sequence[Mapping[str, str]]) -> str | None:
    """Returns what the first of the tables with a pattern for the recorded name says of it, or None."""
    for table in tables:
        for pattern, meant in table.items():
            if _fits(recorded, pattern):
                return meant
    return None


def read(path: Path | None) -> Corrections:
    """Returns the corrections of a file; of `hpkb.toml` for None, and none where that is not there.

    Raises UsageError where the file cannot be read or says what is not understood.
    """
    if path is None and not FILE.exists():
        return NO_CORRECTIONS
    file = FILE if path is None else path
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"Cannot read the corrections in '{file}': {reason}.") from None
    try:
        return _corrections(content)
    except (UsageError, ValueError) as error:
        raise UsageError(f"The corrections in '{file}' are not understood: {error}") from None


def _fits(text: str, pattern: str) -> bool:
    """Whether the text is the pattern's; only a * is special, for names have brackets and question marks."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def _corrections(content: Mapping[str, Any]) -> Corrections:
    _only(content, ("hyperparameters", "runs"), "at the top")
    rules = content.get("runs", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ValueError("write [[runs]], with two brackets.")
    return Corrections(_texts(content, "hyperparameters"), tuple(_rule(rule) for rule in rules))


def _rule(content: Mapping[str, Any]) -> RunsRule:
    _only(content, _KEYS, "in [[runs]]")
    objective = _text(content, "objective")
    return RunsRule(
        _text(content, "experiment") or "*",
        _texts(content, "params"),
        _texts(content, "hyperparameters"),
        _text(content, "task"),
        parse_objective(objective) if objective else (),
    )


def _only(content: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in content.keys() - set(known):
        raise ValueError(f"there is no '{key}' {where}. Known: {', '.join(known)}.")


def _text(content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"'{key}' has to be a text.")
    return value.strip()


def _texts(content: Mapping[str, Any], key: str) -> dict[str, str]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise ValueError(f"'{key}' has to be a table: NAME = \"MEANING\".")
    # A number is as good as its text: params = {depth = 3}.
    for name, value in table.items():
        if not isinstance(value, str | int | float):
            raise ValueError(f"'{key}.{name}' has to be a text.")
    return {name: value.strip() if isinstance(value, str) else str(value) for name, value in table.items()}
