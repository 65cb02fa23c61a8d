"""One question a file: each module here answers one from the runs of a task, as findings.

A miner is a module with a docstring under four headings (*Question*, *Method*, *How to read it*, *When it misleads*)
and a function `mine(context)`; `combine(findings)` is there where the tasks together say more than each alone. The
file's name is the miner's name everywhere: the finding's `miner`, the page, the argument on the command line.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, cast

from hpkb.errors import UsageError
from hpkb.findings import Finding
from hpkb.sweep import Sweep

if TYPE_CHECKING:
    from hpkb.stats.effects import Effects
    from hpkb.stats.gaussian import Process
    from hpkb.stats.surrogate import Surrogate


@dataclass(frozen=True)
class Context:
    """What a miner gets for one task: its runs, the seed of every random choice, and the fitted surrogate."""

    sweep: Sweep
    seed: int = 0

    @cached_property
    def surrogate(self) -> Surrogate:
        """The forest fitted to the task's feasible runs; fitted once and shared by the miners."""
        # A second to import: a list of the miners has no use for it.
        from hpkb.stats.surrogate import Surrogate

        return Surrogate.fit(self.sweep, self.seed)

    @cached_property
    def process(self) -> Process | None:
        """The Gaussian process fitted to the task's feasible configurations, None where they are too few or alike."""
        from hpkb.stats.gaussian import process_of

        return process_of(self.sweep, self.seed)

    @cached_property
    def effects(self) -> Effects:
        """The p-values of all main effects and pairs on the objective."""
        from hpkb.stats.effects import effects_of

        return effects_of(self.sweep)


class Miner(Protocol):
    """The shape of a miner's module."""

    __doc__: str

    def mine(self, context: Context) -> list[Finding]:
        """Returns the findings of one task."""


def names() -> list[str]:
    """Returns the names of all miners, in the order of the alphabet; a module `_name` is no miner."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def check(name: str) -> None:
    """Raises UsageError where there is no miner of that name."""
    if name not in names():
        raise UsageError(f"No miner '{name}'. Known: {', '.join(names())}.")


def load(name: str) -> Miner:
    """Returns the miner of that name; raises UsageError for one that is not there."""
    check(name)
    return cast(Miner, importlib.import_module(f"{__name__}.{name}"))


def combine(name: str, findings: Sequence[Finding]) -> list[Finding]:
    """Returns what the miner says of all tasks together; nothing where it has no `combine`."""
    together = getattr(load(name), "combine", None)
    return list(together(findings)) if together and len({f.task for f in findings}) > 1 else []
