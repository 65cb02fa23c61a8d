"""The recommendation that a person asks for: the saved one, or one made anew around values that are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpkb.errors import KnowledgeBaseError
from hpkb.names import canonical
from hpkb.recommend.candidates import number

if TYPE_CHECKING:
    from hpkb.kb.knowledge import KnowledgeBase


def answer(base: KnowledgeBase, task: str | None, given: Mapping[str, Any], k: int) -> dict[str, Any]:
    """Returns the contract's document with at most k configurations; raises KnowledgeBaseError for an unknown task."""
    saved = base.defaults(task)
    if saved is None:
        raise KnowledgeBaseError(_unknown(base, task))
    known = saved["configurations"]
    if not given and (len(known) >= k or not known):
        return {**saved, "configurations": known[:k]}
    from hpkb.kb import load_sweeps
    from hpkb.recommend.defaults import recommend

    values = {canonical(name): number(value) for name, value in given.items()}
    return recommend(load_sweeps(base.connection, task), task, values, k)


def _unknown(base: KnowledgeBase, task: str | None) -> str:
    tasks = [row[0] for row in base.sql("SELECT task_id FROM tasks ORDER BY task_id").fetchall()]
    if task is None or task in tasks:
        return "The knowledge base holds no recommendation yet. Try: hpkb analyze"
    return f"No task '{task}'. Known: {', '.join(tasks)}."
