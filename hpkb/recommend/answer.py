"""The recommendation that a person asks for: the saved one, or one made anew around what is given or alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpkb.errors import KnowledgeBaseError, UsageError
from hpkb.names import canonical
from hpkb.recommend.candidates import number

if TYPE_CHECKING:
    from hpkb.findings import Finding
    from hpkb.kb.knowledge import KnowledgeBase


class Recommendation(dict[str, Any]):
    """The contract's document, with a short way to the values."""

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The values of the first configuration by their names, whole numbers as int: `train(**these)`.

        Raises KnowledgeBaseError with the reason where nothing is recommended.
        """
        from hpkb.suggest.space import plain

        if self["verdict"] != "recommended":
            raise KnowledgeBaseError(f"No default to take: {self['reason']}")
        return {name: plain(value) for name, value in self["configurations"][0]["values"].items()}


def answer(
    base: KnowledgeBase, task: str | None, given: Mapping[str, Any], k: int, like: str | None = None
) -> Recommendation:
    """Returns the contract's document with at most k configurations.

    With `like`, for a new task that resembles that one; for a task without a default of its own, by its first runs
    (`hpkb.recommend.leaning`), where there are other tasks to lean on. Raises KnowledgeBaseError for an unknown task,
    UsageError for both a task and `like`.
    """
    if task is not None and like is not None:
        raise UsageError("Either --task or --like: the task itself, or one that it resembles.")
    saved = base.defaults(task if like is None else like)
    if saved is None:
        raise KnowledgeBaseError(_unknown(base, task if like is None else like))
    values = {canonical(name): number(value) for name, value in given.items()}
    if like is not None:
        return _leaning(base, like, values, k, is_like=True)
    known = saved["configurations"]
    if task is not None and saved["verdict"] != "recommended" and not known:
        found = _leaning(base, task, values, k, is_like=False)
        return found if found["verdict"] == "recommended" else Recommendation(saved)
    if not given and (len(known) >= k or not known):
        return Recommendation({**saved, "configurations": known[:k]})
    from hpkb.kb import load_sweeps
    from hpkb.recommend.defaults import recommend
    from hpkb.recommend.evidence import with_evidence
    from hpkb.recommend.laws import laws_of

    sweeps, findings = load_sweeps(base.connection, task), _findings(base, task)
    document = recommend(sweeps, task, values, k, laws=laws_of(findings, task))
    return Recommendation(with_evidence(document, findings, sweeps))


def _leaning(
    base: KnowledgeBase, task: str, given: Mapping[str, Any], k: int, is_like: bool
) -> Recommendation:
    """What alike tasks recommend; the overall default, with the reason, where leaning on them does no good."""
    from hpkb.kb import load_sweeps
    from hpkb.recommend.laws import laws_of
    from hpkb.recommend.leaning import lean

    sweeps = load_sweeps(base.connection)
    target = next((s for s in sweeps if s.task == task), None)
    if target is None:
        raise KnowledgeBaseError(f"No run of '{task}' has an outcome yet. Try: hpkb analyze")
    found = lean(base, target, sweeps, given, k, is_like, laws_of(_findings(base, task), task))
    if found["verdict"] == "recommended" or base.defaults(None) is None:
        return Recommendation(found)
    overall = answer(base, None, given, k)
    own: dict[str, Any] = {name: found[name] for name in ("task", "like", "leaned_on") if name in found}
    reason = f"{found['reason']} This is the default of all tasks: {overall['reason']}"
    return Recommendation({**overall, **own, "reason": reason})


def _findings(base: KnowledgeBase, task: str | None) -> list[Finding]:
    """What a recommendation may rest on: the findings of the task and those over all tasks, or all that there are."""
    return base.findings(task, figures=False, runs=False, overall=True)


def _unknown(base: KnowledgeBase, task: str | None) -> str:
    tasks = base.task_names()
    if task is None or task in tasks:
        return "The knowledge base holds no recommendation yet. Try: hpkb analyze"
    return f"No task '{task}'. Known: {', '.join(tasks)}."
