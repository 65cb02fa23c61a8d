"""hpkb turns training runs into recommended hyperparameters, with the evidence beside them.

    import hpkb
    with hpkb.run(task="digits", params={"lr": 0.1}) as run:   # in a script or a notebook, instead of `hpkb log`
        run.log({"val_loss": 0.3}, step=10)
    hpkb.log({"val_loss": 0.3}, step=10)                       # inside a job started by `hpkb log`
    hpkb.open("hpkb.duckdb").findings()                        # what is known

This module is imported inside training jobs, so it imports nothing by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from os import PathLike

    from hpkb.kb.knowledge import KnowledgeBase
    from hpkb.ship.inline import InlineRun

_log: Callable[[Mapping[str, float], int | None], None] | None = None

__version__ = "0.1.0"
__all__ = ["log", "open", "run"]


def log(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Records metrics of the current run; does nothing outside one. Never blocks and never raises into the job.

    `step` is an optimizer step; without it, the one that capture counts.
    """
    global _log
    if _log is None:
        from hpkb.capture import session  # once: an import statement costs as much as a whole step

        _log = session.log
    _log(metrics, step)


def run(
    task: str | None = None,
    params: Mapping[str, Any] | None = None,
    experiment: str | None = None,
    run_name: str | None = None,
    tracking_uri: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> AbstractContextManager[InlineRun]:
    """Returns a context in which this process is captured as one run, and shipped by another process."""
    from hpkb.ship import inline

    return inline.run(task, params, experiment, run_name, tracking_uri, tags)


def open(path: str | PathLike[str] = "hpkb.duckdb") -> KnowledgeBase:
    """Returns the knowledge base at `path`, read-only; raises KnowledgeBaseError where there is none."""
    from hpkb.kb.knowledge import KnowledgeBase

    return KnowledgeBase.open(path)
