"""The knowledge base: one DuckDB file that is filled from sources, and read by miners, defaults and pages.

What fills it takes a third of a second to import, so each name is imported when it is asked for.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpkb.kb.ingest import IngestReport as IngestReport
    from hpkb.kb.ingest import ingest as ingest
    from hpkb.kb.ingest import ingest_into as ingest_into
    from hpkb.kb.knowledge import KnowledgeBase as KnowledgeBase
    from hpkb.kb.outcomes import set_objective as set_objective
    from hpkb.kb.store import connect as connect
    from hpkb.kb.store import transaction as transaction
    from hpkb.kb.store import writing as writing
    from hpkb.kb.sweep import load_sweeps as load_sweeps

_HOMES = {
    "IngestReport": "ingest", "KnowledgeBase": "knowledge", "connect": "store", "ingest": "ingest",
    "ingest_into": "ingest", "load_sweeps": "sweep", "set_objective": "outcomes", "transaction": "store",
    "writing": "store",
}  # fmt: skip
__all__ = [*_HOMES]


class _Package(ModuleType):
    """This package: `ingest` is the function, also once the module of that name was imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


sys.modules[__name__].__class__ = _Package
