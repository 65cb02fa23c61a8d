"""From a store of runs to findings, defaults and pages: what `hpkb analyze` does, one stage a function."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import parallel_config
from threadpoolctl import threadpool_limits

import hpkb.miners
from hpkb.findings import Finding
from hpkb.recommend.defaults import recommend
from hpkb.recommend.evidence import with_evidence
from hpkb.stats.correction import benjamini_yekutieli
from hpkb.sweep import Sweep

if TYPE_CHECKING:
    from hpkb.kb.mined import Memory

LEVEL = 0.05  # the false discovery rate of a whole report
LIST_LENGTH = 4

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Mined:
    """The findings of a report and the recommendation of each task; key None stands for all tasks together."""

    findings: tuple[Finding, ...]
    defaults: dict[str | None, dict[str, Any]]


def mine(
    sweeps: Sequence[Sweep],
    miners: Sequence[str] = (),
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    memory: Memory | None = None,
) -> Mined:
    """Returns what all miners (or the named ones) find in the sweeps, corrected together, and the defaults.

    Tasks are shared out over `workers` processes; the result does not depend on how many there are, nor on what of it
    is in the memory of an earlier analysis.
    """
    say = progress or (lambda _: None)
    chosen = [name for name in hpkb.miners.names() if not miners or name in miners]
    for name in miners:
        hpkb.miners.load(name)
    ordered = sorted(sweeps, key=lambda s: s.task)
    known = memory.findings() if memory else {}
    new = [sweep for sweep in ordered if sweep.task not in known]
    with _processes(min(workers, len(new)), workers) as spread:
        say("mining")
        mined = zip((s.task for s in new), spread(mine_task, [(sweep, chosen, seed) for sweep in new]), strict=True)
        found = known | (memory.with_findings(dict(mined)) if memory else dict(mined))
        per_task = [finding for sweep in ordered for finding in found[sweep.task]]
        across = [
            f for name in chosen for f in hpkb.miners.combine(name, [f for f in per_task if f.miner == name])
        ]
        findings = correct([*across, *per_task])
        say("choosing defaults")
        bare = [replace(sweep, recorded=sweep.records.without_curves()) for sweep in ordered]  # no default needs them
        chosen_before = memory.defaults() if memory else {}
        tasks = [s.task for s in ordered if s.task not in chosen_before]
        jobs = [(_of_task(bare, task), task, seed) for task in (None, *tasks)]
        overall, *own = spread(_recommend, jobs)
        of_tasks = dict(zip(tasks, own, strict=True))
        of_tasks = chosen_before | (memory.with_defaults(of_tasks) if memory else of_tasks)
    documents = {None: overall} | {sweep.task: of_tasks[sweep.task] for sweep in ordered}
    defaults = {
        task: with_evidence(document, findings, _of_task(bare, task)) for task, document in documents.items()
    }
    return Mined(tuple(findings), defaults)


def mine_task(sweep: Sweep, miners: Sequence[str], seed: int) -> list[Finding]:
    """Returns the findings of the named miners on one task, not yet corrected for each other."""
    context = hpkb.miners.Context(sweep, seed)
    return [finding for name in miners for finding in hpkb.miners.load(name).mine(context)]


def correct(findings: Sequence[Finding]) -> list[Finding]:
    """Returns the findings with q-values over the whole report; a claim above the level loses its verdict.

    Benjamini and Yekutieli (2001), valid whatever the dependence between the tests. A finding of p-value 0 states a
    recorded fact (two splits differ, say): it is no test, keeps its verdict, and does not count among the discoveries,
    or a report with many facts would let more chance findings pass.
    """
    tested = [i for i, f in enumerate(findings) if f.p_value]
    q_values = benjamini_yekutieli(np.array([findings[i].p_value for i in tested], dtype=np.float64))
    corrected = [replace(f, q_value=0.0, comparisons=len(tested)) if f.p_value == 0 else f for f in findings]
    for i, q in zip(tested, q_values, strict=True):
        finding = replace(findings[i], q_value=float(q), comparisons=len(tested))
        if finding.verdict == "supported" and q > LEVEL:
            finding = finding.insufficient(f"not significant after correction for {len(tested)} comparisons")
        corrected[i] = finding
    return corrected


def _of_task(sweeps: Sequence[Sweep], task: str | None) -> list[Sweep]:
    return [sweep for sweep in sweeps if task is None or sweep.task == task]


def _recommend(sweeps: Sequence[Sweep], task: str | None, seed: int) -> dict[str, Any]:
    return recommend(sweeps, task, k=LIST_LENGTH, seed=seed)


@contextmanager
def _processes(
    n: int, workers: int
) -> Iterator[Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]]:
    """Yields `spread(function, jobs)`, the results of `function(*job)` in the order of the jobs, by n processes.

    One process alone may use as many threads as there are workers.
    """
    if n <= 1:
        # The arrays are small: more threads of BLAS only wait for each other. The trees of a forest do not.
        with threadpool_limits(1), parallel_config("threading", n_jobs=workers):
            yield lambda function, jobs: [function(*job) for job in jobs]
        return
    spawn = multiprocessing.get_context("spawn")  # fork would copy DuckDB's threads half alive
    with ProcessPoolExecutor(n, spawn, initializer=_one_thread) as pool:
        yield lambda function, jobs: list(pool.map(function, *zip(*jobs, strict=True)))


def _one_thread() -> None:
    threadpool_limits(1)
