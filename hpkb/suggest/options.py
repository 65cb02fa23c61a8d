"""How a task's own script spells its options, as its runs recorded it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hpkb.names import lookup
from hpkb.vocabulary import read_name

if TYPE_CHECKING:
    from hpkb.kb.knowledge import KnowledgeBase

_SCRIPT = "cli."

_RECORDED = """-- One row per argument that the scripts of a task were told, the most frequent first.
SELECT h.recorded, count(*) AS n FROM hyperparameters h JOIN runs r USING (run_id)
WHERE r.task_id = $task AND starts_with(h.recorded, 'cli.') GROUP BY ALL ORDER BY n DESC, h.recorded"""


def options_of(base: KnowledgeBase, task: str | None) -> dict[str, str]:
    """Returns the name of the script's option for each hyperparameter that its command line was recorded with."""
    options: dict[str, str] = {}
    if task is None:
        return options
    for recorded, _ in base.connection.execute(_RECORDED, {"task": task}).fetchall():
        # argparse keeps --weight-decay as weight_decay
        option = recorded.removeprefix(_SCRIPT).replace("_", "-")
        known = read_name(option)
        options.setdefault(known.name if known else recorded, option)
    return options


def option(name: str, spelled: Mapping[str, str]) -> str:
    """Returns the option of a hyperparameter: as the task's script spells it, else as most scripts do."""
    if name in spelled:
        return spelled[name]
    known = lookup(name)
    if known and known.option:
        return known.option
    return name.rpartition(".")[2].replace("_", "-")


def underscored(names: Iterable[str], spelled: Mapping[str, str]) -> dict[str, str]:
    """Returns the options of hyperparameters, and of the seed, with underscores in place of hyphens."""
    return {name: option(name, spelled).replace("-", "_") for name in (*names, "seed")}


def arguments(
    values: Mapping[str, Any], seed: int | None = None, spelled: Mapping[str, str] | None = None
) -> list[str]:
    """Returns values as the words of a command line: ["--lr", "0.0003", "--batch-size", "64"]."""
    named = dict(values) if seed is None else {**values, "seed": seed}
    words = []
    for name, value in named.items():
        words += [f"--{option(name, spelled or {})}", shown(value)]
    return words


def shown(value: Any) -> str:
    """Returns a value as it is typed: 0.0003, 3e-05, 1024."""
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
