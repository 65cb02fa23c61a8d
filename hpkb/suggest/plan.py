"""The next experiments of a task: the designs put together, without what was run or would diverge, the best first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from hpkb.errors import KnowledgeBaseError, UsageError
from hpkb.findings import Finding
from hpkb.recommend.candidates import Value, number
from hpkb.recommend.task_model import Regressor
from hpkb.suggest import designs
from hpkb.suggest.known import Experiment, Known
from hpkb.suggest.options import options_of
from hpkb.suggest.space import Space, plain, scale_of, space_of
from hpkb.sweep import Sweep

if TYPE_CHECKING:
    from hpkb.kb.knowledge import KnowledgeBase

DESIGNS = ("auto", "perturb", "factorial", "bayes")
FEWEST_FACTORIAL = 4
SEEDS_OF_PERTURBATIONS = 3


def suggest(
    base: KnowledgeBase, task: str | None, n: int = 8, design: str = "auto", seed: int = 0
) -> dict[str, Any]:
    """Returns the next n experiments of a task as a JSON document, the most useful first; the same for a seed.

    `experiments` has for each its `values`, its `seed` (None: any), its `design`, what it `settles` in a sentence, the
    `finding_id` whose interval it narrows (or None), and `is_repeat` where the configuration ran before. There may be
    fewer than n. Raises KnowledgeBaseError for a task that is not known or has no run with an outcome, UsageError for
    an unknown design, n below 1, or a factorial of fewer than 4 runs.
    """
    if design not in DESIGNS:
        raise UsageError(f"No design '{design}'. Known: {', '.join(DESIGNS)}.")
    if n < 1:
        raise UsageError(f"The number of experiments is at least 1, not {n}.")
    if design == "factorial" and n < FEWEST_FACTORIAL:
        raise UsageError(f"A factorial takes at least {FEWEST_FACTORIAL} runs, not {n}.")
    sweeps = _sweeps(base)
    return _proposed(base, _one(sweeps, base, task), sweeps, n, design, seed)


def suggest_each(base: KnowledgeBase, n: int = 8, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yields what `suggest` proposes for each task that has a run with an outcome, in the order of the tasks' names."""
    sweeps = _sweeps(base)
    for sweep in sweeps:
        yield _proposed(base, sweep, sweeps, n, "auto", seed)


def _proposed(
    base: KnowledgeBase, sweep: Sweep, sweeps: Sequence[Sweep], n: int, design: str, seed: int
) -> dict[str, Any]:
    known = know(base, sweep, seed)
    note = ""
    found: list[Experiment]
    if not known.best and design != "bayes":
        found = list(_downwards(known))
    elif design == "factorial":
        found, note = designs.two_level(known, n)
        if not found:
            note = "A factorial needs two hyperparameters that can be changed; none is proposed."
    elif design == "perturb":
        found = [*designs.baseline(known), *designs.one_at_a_time(known, SEEDS_OF_PERTURBATIONS)]
        found += list(designs.never_varied(known))
    elif design == "bayes":
        from hpkb.recommend.likeness import alike  # these import scipy and scikit-learn, which takes a second
        from hpkb.suggest import bayes

        found, note = bayes.ask(known, alike(base, sweep, sweeps), n)
    else:
        found = list(_in_turn(_groups(known, n)))
    chosen, left_out = _feasible(known, found, n)
    return _document(base, known, chosen, design, note, left_out)


def know(
    base: KnowledgeBase,
    sweep: Sweep,
    seed: int = 0,
    forest: Regressor | None = None,
    kept: Sequence[Finding] | None = None,
) -> Known:
    """Returns what experiments of a task start from.

    A forest that was fitted to it before need not be fitted again, nor those of its findings be read that were kept.
    """
    findings = base.findings(task=sweep.task, runs=False) if kept is None else kept
    space = space_of(sweep, findings)
    baseline, origin = _baseline(base, sweep, space)
    return Known(sweep, space, findings, space.consistent(baseline), origin, seed, base.defaults(None), forest)


def _sweeps(base: KnowledgeBase) -> list[Sweep]:
    from hpkb.kb import load_sweeps

    return load_sweeps(base.connection)


def _one(sweeps: Sequence[Sweep], base: KnowledgeBase, task: str | None) -> Sweep:
    """The sweep of the task; where none is named, the only one."""
    names = [s.task for s in sweeps]
    if task is None and len(names) == 1:
        return sweeps[0]
    if task is None and names:
        raise UsageError(f"Say which task: --task NAME. Known: {', '.join(names)}.")
    found = next((s for s in sweeps if s.task == task), None)
    if found is not None:
        return found
    there = base.task_names()
    if task is None or task in there:
        which = f"of '{task}' " if task else ""
        raise KnowledgeBaseError(
            f"No run {which}has an outcome yet. Try: hpkb log -- python train.py; hpkb analyze"
        )
    raise KnowledgeBaseError(f"No task '{task}'. Known: {', '.join(names)}.")


def _baseline(base: KnowledgeBase, sweep: Sweep, space: Space) -> tuple[dict[str, Value], str]:
    """The configuration to compare with: the task's default, else its best run; within what is safe, if one is."""
    own = base.defaults(sweep.task)
    if own and own["verdict"] == "recommended" and own["configurations"]:
        values: dict[str, Value] = own["configurations"][0]["values"]
        if all(space.knob(name) for name in values) and space.is_safe(values):
            return dict(values), designs.RECOMMENDED
    best = Known(sweep, space, (), {}, "", 0).best
    safe = [values for values in best if space.is_safe(values)]
    if best and safe[:1] != best[:1]:
        return (safe or best)[
            0
        ], "the best configuration so far that is not likely to diverge with another seed"
    if best:
        return best[0], "the best configuration so far"
    return _gentlest(sweep), "the smallest learning rate that was tried: no run has succeeded yet"


def _gentlest(sweep: Sweep) -> dict[str, Value]:
    """Where every run failed: the run with the smallest learning rate, and the smallest of the first other number."""
    from hpkb.recommend.candidates import read

    rate = sweep.hyperparameter("learning_rate")
    row = int(np.nanargmin(rate.values)) if rate is not None and np.isfinite(rate.values).any() else 0
    return read(sweep, row, [h.name for h in sweep.hyperparameters])


def _groups(known: Known, n: int) -> list[Iterable[Experiment]]:
    """Questions in the order in which their answers help the most; what is open is what there are runs for."""
    return [
        designs.baseline(known),
        designs.overall(known),
        designs.noise_floor(known),
        designs.beyond_edges(known, settled=True),
        designs.told_apart(known),
        designs.near_the_best(known),
        designs.holes(known),
        designs.one_at_a_time(known),
        designs.beyond_edges(known, settled=False),
        designs.never_varied(known),
        designs.close_calls(known),
        designs.filling(known, n),
    ]


def _downwards(known: Known) -> Iterator[Experiment]:
    """Where no run has succeeded: ever smaller learning rates."""
    knob, value = known.space.knob("learning_rate"), known.baseline.get("learning_rate")
    if value is None and "learning_rate" in known.space.fixed:
        value = float(known.space.fixed["learning_rate"])
    if not isinstance(value, float) or value <= 0:
        return
    for factor in (3, 10, 30, 100):
        smaller = float(f"{value / factor:.1g}") if knob is None else knob.typed(value / factor)
        settles = "Whether any learning rate trains at all: every run so far was infeasible."
        yield Experiment({**known.baseline, "learning_rate": smaller}, "boundary", settles)


def _in_turn(groups: Iterable[Iterable[Experiment]]) -> Iterator[Experiment]:
    """One experiment of each group in turn, so that no question takes all runs."""
    running = [iter(group) for group in groups]
    while running:
        still = []
        for group in running:
            experiment = next(group, None)
            if experiment is not None:
                yield experiment
                still.append(group)
        running = still


def _feasible(known: Known, found: Iterable[Experiment], n: int) -> tuple[list[Experiment], list[str]]:
    """The first n that were not run, are asked once and lie within what is safe; and what a limit ruled out."""
    chosen: list[Experiment] = []
    left_out: dict[str, int] = {}
    seen = set()
    for experiment in found:
        values = known.space.consistent(experiment.values)
        if not values and known.space.knobs:
            continue
        experiment = Experiment(values, *_rest(experiment))
        limit = next((limit for limit in known.space.limits if limit.rules_out(values)), None)
        if limit is not None:
            where = f" with {limit.condition[0]} {limit.condition[1]}" if limit.condition else ""
            said = f"{designs.words(limit.name)} above {limit.high:.3g}{where}: diverges (finding {limit.finding_id})"
            left_out[said] = left_out.get(said, 0) + 1
            continue
        is_new = not known.has_run(values) or experiment.is_repeat
        if is_new and experiment.key not in seen and len(chosen) < n:
            seen.add(experiment.key)
            chosen.append(experiment)
    return chosen, [f"{said}; {count} left out" for said, count in left_out.items()]


def _rest(e: Experiment) -> tuple[str, str, int | None, str | None, bool]:
    return e.design, e.settles, e.seed, e.finding_id, e.is_repeat


def _document(
    base: KnowledgeBase,
    known: Known,
    chosen: Sequence[Experiment],
    design: str,
    note: str,
    left_out: list[str],
) -> dict[str, Any]:
    return {
        "task": known.sweep.task,
        "objective": known.sweep.objective,
        "design": design,
        "n_runs": known.sweep.n_runs,
        "n_configurations": known.sweep.n_configurations,
        "reason": " ".join(chain([_state(base, known)], [note] if note else [])),
        "baseline": {"values": {k: plain(v) for k, v in known.baseline.items()}, "origin": known.origin},
        "experiments": [
            {
                "rank": rank,
                "values": {name: plain(value) for name, value in e.values.items()},
                "seed": e.seed,
                "design": e.design,
                "settles": e.settles,
                "finding_id": e.finding_id,
                "is_repeat": e.is_repeat,
            }
            for rank, e in enumerate(chosen, 1)
        ],
        "left_out": left_out,
        "fixed": {name: plain(number(text)) for name, text in known.space.fixed.items()},
        "space": _space(known, chosen),
        "options": options_of(base, known.sweep.task),
    }


def _space(known: Known, chosen: Sequence[Experiment]) -> dict[str, dict[str, Any]]:
    """The space that holds the runs there are and those that are proposed, as `export` takes it."""
    space: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(chain(known.baseline, *(e.values for e in chosen))):
        knob = known.space.knob(name)
        values = [e.values[name] for e in chosen if name in e.values]
        texts = [v for v in values if isinstance(v, str)]
        if texts or (knob and knob.scale == "category"):
            space[name] = {"values": list(dict.fromkeys([*(knob.levels if knob else ()), *texts]))}
            continue
        numbers = [float(v) for v in values] + ([knob.low, knob.high] if knob else [])
        if knob is None and isinstance(held := number(known.space.fixed.get(name, "")), float):
            numbers.append(held)
        whole = knob.is_whole if knob else all(v == int(v) for v in numbers)
        log = (knob.scale if knob else scale_of(name)) == "log" and min(numbers) > 0
        low, high = plain(min(numbers)), plain(max(numbers))
        space[name] = {"low": low, "high": high, "log": log, "whole": whole}
    return space


def _state(base: KnowledgeBase, known: Known) -> str:
    """What is there to go by, in a sentence or two."""
    sweep, varied = known.sweep, len(known.space.knobs)
    plural = "" if varied == 1 else "s"
    were = " was" if sweep.n_configurations == 1 else "s were"
    said = f"{sweep.n_configurations} configuration{were} run, {varied} hyperparameter{plural} varied"
    said += (
        ", none repeated with another seed."
        if sweep.n_seeds < 2
        else f", up to {sweep.n_seeds} seeds of one."
    )
    if not known.best:
        return said + " No run has succeeded."
    document = base.defaults(sweep.task)
    if document is None:
        return said + " Nothing was analyzed yet: hpkb analyze"
    return said if document["verdict"] == "recommended" else f"{said} No default yet: {document['reason']}"
