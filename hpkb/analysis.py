"""From a store of runs to findings, defaults and pages: what `hpkb analyze` does, one stage a function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import hpkb.miners
from hpkb.engine import Engine, engine_of
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


class Recorded(Protocol):
    """What is known of a task's runs beside their settings and outcomes."""

    def with_all(self, sweep: Sweep) -> Sweep:
        """Returns the sweep with all of it."""

    def without_curves(self, sweep: Sweep) -> Sweep:
        """Returns the sweep with what defaults need, which is little."""


class _AsTheyAre:
    """Adds nothing to what the sweeps came with."""

    def with_all(self, sweep: Sweep) -> Sweep:
        return sweep

    without_curves = with_all


def mine(
    sweeps: Sequence[Sweep],
    miners: Sequence[str] = (),
    seed: int = 0,
    engine: Engine | None = None,
    progress: Progress | None = None,
    recorded: Recorded | None = None,
    memory: Memory | None = None,
) -> Mined:
    """Returns what all miners (or the named ones) find in the sweeps, corrected together, and the defaults.

    Tasks are shared out by the engine, this process if none is given; the result depends neither on it nor on what is
    in the memory of an earlier analysis. `recorded` adds what else is known of a task's runs, a task at a time, since
    that is most of what is read.
    """
    say = progress or (lambda _: None)
    chosen = [name for name in hpkb.miners.names() if not miners or name in miners]
    for name in miners:
        hpkb.miners.load(name)
    ordered = sorted(sweeps, key=lambda s: s.task)
    with nullcontext(engine) if engine else engine_of() as by:
        return _mine(ordered, chosen, seed, by, say, recorded or _AsTheyAre(), memory)


def _mine(
    sweeps: Sequence[Sweep],
    miners: Sequence[str],
    seed: int,
    engine: Engine,
    say: Progress,
    recorded: Recorded,
    memory: Memory | None,
) -> Mined:
    known = memory.findings() if memory else {}
    new = [sweep for sweep in sweeps if sweep.task not in known]
    say("mining")
    jobs = ((recorded.with_all(sweep), miners, seed) for sweep in new)
    mined = dict(zip((s.task for s in new), engine.map(mine_task, jobs), strict=True))
    say("putting tasks together")
    found = known | (memory.with_findings(mined) if memory else mined)
    per_task = [finding for sweep in sweeps for finding in found[sweep.task]]
    across = [
        f for name in miners for f in hpkb.miners.combine(name, [f for f in per_task if f.miner == name])
    ]
    findings = correct([*across, *per_task])
    say("choosing defaults")
    return Mined(tuple(findings), _defaults(sweeps, findings, seed, engine, recorded, memory))


def _defaults(
    sweeps: Sequence[Sweep],
    findings: Sequence[Finding],
    seed: int,
    engine: Engine,
    recorded: Recorded,
    memory: Memory | None,
) -> dict[str | None, dict[str, Any]]:
    """The recommendation over all tasks, under None, and of each, with what it rests on."""
    bare = {sweep.task: recorded.without_curves(sweep) for sweep in sweeps}
    everything = list(bare.values())
    known = memory.defaults() if memory else {}
    new = [task for task in bare if task not in known]
    jobs = [(everything, None, seed), *(([bare[task]], task, seed) for task in new)]
    overall, *own = engine.map(_recommend, jobs)
    chosen = dict(zip(new, own, strict=True))
    chosen = known | (memory.with_defaults(chosen) if memory else chosen)
    said: dict[str | None, list[Finding]] = defaultdict(list)
    for finding in findings:
        said[finding.task].append(finding)
    of_tasks = {
        task: with_evidence(chosen[task], [*said[None], *said[task]], [sweep]) for task, sweep in bare.items()
    }
    return {None: with_evidence(overall, findings, everything)} | of_tasks


def mine_task(sweep: Sweep, miners: Sequence[str], seed: int) -> list[Finding]:
    """Returns the findings of the named miners on one task, not yet corrected for each other."""
    context = hpkb.miners.Context(replace(sweep, recorded=sweep.records.fetched()), seed)
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


def _recommend(sweeps: Sequence[Sweep], task: str | None, seed: int) -> dict[str, Any]:
    return recommend(sweeps, task, k=LIST_LENGTH, seed=seed)
