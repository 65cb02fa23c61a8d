"""The knowledge base: one DuckDB file that is filled from sources, and read by miners, defaults and pages."""

from hpkb.kb.ingest import IngestReport, ingest, ingest_into
from hpkb.kb.knowledge import KnowledgeBase
from hpkb.kb.outcomes import set_objective
from hpkb.kb.store import connect, transaction, writing
from hpkb.kb.sweep import load_sweeps

__all__ = [
    "IngestReport",
    "KnowledgeBase",
    "connect",
    "ingest",
    "ingest_into",
    "load_sweeps",
    "set_objective",
    "transaction",
    "writing",
]
