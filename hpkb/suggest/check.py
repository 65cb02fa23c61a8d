"""A configuration held against what is known of a task, or of all tasks: a line with a verdict for each value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hpkb.errors import KnowledgeBaseError
from hpkb.findings import Finding
from hpkb.recommend.candidates import Value
from hpkb.recommend.task_model import Regressor
from hpkb.suggest.designs import shown, words
from hpkb.suggest.known import Known
from hpkb.suggest.outline import forest_of, outlined, states
from hpkb.suggest.plan import know
from hpkb.suggest.space import plain
from hpkb.sweep import direction_of

if TYPE_CHECKING:
    from hpkb.kb.knowledge import KnowledgeBase

Verdict = Literal["against", "fits", "no matter", "unknown"]
_DETECTABLE = "minimum_detectable_difference"
SLACK = 0.02  # of the range, by which a value may leave what was tried
_IDENTITY = frozenset(["seed"])


@dataclass(frozen=True)
class Line:
    """What is known of one value (or of a pair), on one task.

    *against*: it is known to be worse, or to diverge. *fits*: within the safe range. *no matter*: the difference that
    it makes is below the noise floor. *unknown*: untested, aliased, or not shown to matter.
    """

    hyperparameters: tuple[str, ...]
    verdict: Verdict
    says: str
    finding_id: str | None = None


def check(base: KnowledgeBase, values: Mapping[str, Value], task: str | None = None) -> dict[str, Any]:
    """Returns what speaks for and against a configuration (canonical names), as a JSON document.

    `verdict` is "against" where at least one line is, "nothing against" where none is and at least one value is known
    to fit or not to matter, else "unknown". Without a task, most tasks that know of a value decide, two at least.
    Raises KnowledgeBaseError for a task that is not known or has no run with an outcome.
    """
    asked = {name: value for name, value in values.items() if name not in _IDENTITY}
    known = _known(base, task, list(asked))
    if not known:
        tasks = base.task_names()
        if task is not None and task not in tasks:
            raise KnowledgeBaseError(f"No task '{task}'. Known: {', '.join(tasks)}.")
        raise KnowledgeBaseError("No run has an outcome yet. Try: hpkb log -- python train.py; hpkb analyze")
    recorded = {k.name for one in known for k in one.space.knobs} | {
        n for one in known for n in one.space.fixed
    }
    unseen = [name for name in asked if name not in recorded]
    asked = {name: value for name, value in asked.items() if name in recorded}
    if len(known) == 1:
        lines = _of_task(list(lines_of(known[0], asked)))
    else:
        lines = _over_tasks({one.sweep.task: list(_of_values(one, asked)) for one in known})
    verdicts = {line["verdict"] for line in lines}
    verdict = "against" if "against" in verdicts else "unknown"
    if verdict == "unknown" and verdicts & {"fits", "no matter"}:
        verdict = "nothing against"
    return {
        "task": known[0].sweep.task if len(known) == 1 else None,
        "objective": ", ".join(sorted({one.sweep.objective for one in known})),
        "values": {name: plain(value) for name, value in values.items()},
        "verdict": verdict,
        "lines": lines,
        "predicted_regret": _predicted(known[0], asked) if len(known) == 1 else None,
        "not_recorded": [{"name": n, "close": get_close_matches(n, sorted(recorded), 1)} for n in unseen],
    }


def lines_of(known: Known, values: Mapping[str, Value]) -> Iterator[Line]:
    """Yields a line for each value, then for pairs that were never tried together, and for the configuration."""
    yield from _of_values(known, values)
    yield from _as_run(known, values)


def _known(base: KnowledgeBase, task: str | None, names: Sequence[str]) -> list[Known]:
    """What is known of the task, or of each; of several, their runs are loaded only where they changed since."""
    made_of = {name: state for name, state in states(base).items() if task in (None, name)}
    kept = outlined(base, made_of, names)
    if len(made_of) != 1:
        return [kept.get(name) or _of_runs(base, name) for name in made_of]
    ((name, state),) = made_of.items()
    findings = kept[name].findings if name in kept else None
    return [_of_runs(base, name, forest_of(base, name, state), findings)]


def _of_runs(
    base: KnowledgeBase,
    task: str,
    forest: Regressor | None = None,
    findings: Sequence[Finding] | None = None,
) -> Known:
    from hpkb.kb import load_sweeps  # a fifth of a second to import

    return know(base, load_sweeps(base.connection, task)[0], 0, forest, findings)


def _of_values(known: Known, values: Mapping[str, Value]) -> Iterator[Line]:
    for name, value in values.items():
        yield _of_value(known, name, value, values)
    yield from _of_pairs(known, values)


def _of_value(known: Known, name: str, value: Value, values: Mapping[str, Value]) -> Line:
    knob = known.space.knob(name)
    if knob is None:
        return _of_fixed(known, name, value)
    if isinstance(value, str) != (knob.scale == "category"):
        value = f"{value:g}" if isinstance(value, float) else value
    share = knob.share(value) if isinstance(value, str) == (knob.scale == "category") else float("nan")
    context = {**known.baseline, **values}
    for limit in known.space.limits:
        if limit.name == name and limit.rules_out(context):
            where = f" with {limit.condition[1]}" if limit.condition else ""
            says = f"{shown(value)} is beyond {limit.high:.3g}, up to which at most one run in ten diverges{where}"
            return Line((name,), "against", says, limit.finding_id)
    if np.isnan(share) or not -SLACK <= share <= 1 + SLACK:
        if isinstance(value, float) and value == 0 and knob.has_zero:
            return _tried(known, name, value, values)
        tried = ", ".join(knob.levels) if knob.scale == "category" else f"{knob.low:.3g} to {knob.high:.3g}"
        found = known.find("coverage", name)
        return Line(
            (name,), "unknown", f"{shown(value)} is untested: {tried} was tried", found.id if found else None
        )
    return _tried(known, name, value, values)


def _of_fixed(known: Known, name: str, value: Value) -> Line:
    held = known.space.fixed.get(name)
    if held is None:
        return Line((name,), "unknown", "no run of this task recorded it")
    if known.rows_of({**known.baseline, name: value}) or held == value:
        return Line((name,), "unknown", f"{held} in every run: whether another value is better is not known")
    return Line((name,), "unknown", f"{shown(value)} is untested: it was {held} in every run")


def _tried(known: Known, name: str, value: Value, values: Mapping[str, Value]) -> Line:
    """A value within what was tried: aliased, in a hole, or on the response curve."""
    for found in known.findings:
        if found.quantity == "aliasing" and found.verdict == "supported" and name in found.hyperparameters:
            others = " and ".join(words(n) for n in found.hyperparameters if n != name)
            says = f"it always changed together with {others}, so nothing is known of it by itself"
            return Line((name,), "unknown", says, found.id)
    curve = _curve(known, name, values)
    if curve is not None and curve.verdict == "supported":
        return _on_curve(known, name, value, curve)
    for found in known.all("coverage", name):
        gaps = found.figure.get("gaps") or []
        if gaps and found.verdict == "insufficient" and _inside(gaps[0], value):
            return Line((name,), "unknown", "it lies in a hole: hardly anything was tried there", found.id)
    lost, floor = known.find("attainable_loss", name), _floor(known)
    if lost and floor is not None and isinstance(lost.high, float) and lost.high < floor:
        says = f"its worst value costs at most {lost.high:.2g} of {known.metric}, below the {floor:.2g} that seeds hide"
        return Line((name,), "no matter", says, lost.id)
    optimizer = values.get("optimizer")
    few = (
        f"too few runs with {optimizer} to tell"
        if known.find("optimum", name)
        else "no finding speaks of it yet"
    )
    reason = "the runs do not show that it matters" if curve else few
    return Line((name,), "unknown", reason, curve.id if curve else None)


def _curve(known: Known, name: str, values: Mapping[str, Value]) -> Finding | None:
    """The response of the hyperparameter with the optimizer that is named; None where it is another's."""
    level = values.get("optimizer")
    curves = [f for f in known.findings if f.quantity == "optimum" and f.hyperparameters == (name,)]
    own = next((f for f in curves if f.condition == f"optimizer={level}"), None)
    usual = known.find("optimum", name)
    if own is not None or usual is None:
        return own
    if level is None:
        return usual
    return usual if usual.seen_with in ("", f"optimizer={level}") else None


def _on_curve(known: Known, name: str, value: Value, curve: Finding) -> Line:
    """Within the plateau, off it by less than the noise floor, or off it by more."""
    plateau = curve.figure.get("plateau") or []
    if isinstance(value, float) and len(plateau) == 2 and plateau[0] * 0.999 <= value <= plateau[1] * 1.001:
        says = f"within the safe range {plateau[0]:.3g} to {plateau[1]:.3g}{_whose(curve)}"
        return Line((name,), "fits", says, curve.id)
    cost = _cost(known, value, curve)
    floor, found = _floor(known), known.find(_DETECTABLE)
    best = f"the best is {curve.estimate}" if isinstance(value, str) else _safe_words(plateau)
    if cost is None:
        return Line((name,), "unknown", "its response is not known at this value", curve.id)
    if isinstance(value, str) and value == curve.estimate:
        return Line((name,), "fits", "the best of those that were tried", curve.id)
    if found and floor is not None and cost < floor:
        says = (
            f"about {cost:.2g} of {known.metric} worse than the best, below the {floor:.2g} that seeds hide"
        )
        return Line((name,), "no matter", says, found.id)
    return Line(
        (name,),
        "against",
        f"{shown(value)} costs about {cost:.2g} of {known.metric}: {best}{_whose(curve)}",
        curve.id,
    )


def _whose(curve: Finding) -> str:
    """With which optimizer the response was seen, where the finding speaks of one."""
    name, _, level = curve.seen_with.partition("=")
    return f" (with {level})" if name == "optimizer" else ""


def _safe_words(plateau: Sequence[float]) -> str:
    return (
        f"the safe range is {plateau[0]:.3g} to {plateau[1]:.3g}"
        if len(plateau) == 2
        else "it is not the best"
    )


def _cost(known: Known, value: Value, curve: Finding) -> float | None:
    """By how much the response at a value is worse than at its best, in the objective's unit."""
    line = curve.figure.get("line") or []
    sign = direction_of(known.sweep)
    y = np.array([sign * float(point["y"]) for point in line])
    if not line:
        return None
    if isinstance(value, str):
        at = [i for i, point in enumerate(line) if str(point["x"]) == value]
        return float(y[at[0]] - y.min()) if at else None
    x = np.array([float(point["x"]) for point in line])
    if curve.figure["x"]["scale"] == "log":
        smallest = float(x[x > 0].min()) / 10
        return float(np.interp(np.log(max(value, smallest)), np.log(np.maximum(x, smallest)), y) - y.min())
    return float(np.interp(value, x, y) - y.min())


def _floor(known: Known) -> float | None:
    """The difference that three seeds of each can tell, None where that is not known."""
    found = known.find(_DETECTABLE)
    is_known = found is not None and found.verdict == "supported" and isinstance(found.estimate, float)
    return float(found.estimate) if found and is_known and found.estimate is not None else None


def _inside(gap: Mapping[str, Any], value: Value) -> bool:
    if "level" in gap:
        return bool(gap["level"] == value)
    return isinstance(value, float) and gap["low"] < value < gap["high"]


def _of_pairs(known: Known, values: Mapping[str, Value]) -> Iterator[Line]:
    """Two values that lie in a corner where nothing was tried, although each of them was."""
    for found in known.findings:
        gaps = found.figure.get("gaps") or []
        if found.quantity == "coverage" and len(gaps) == 2 and found.verdict == "insufficient":
            names = [str(gap["hyperparameter"]) for gap in gaps]
            if all(n in values and _inside(gap, values[n]) for n, gap in zip(names, gaps, strict=True)):
                yield Line(tuple(names), "unknown", "this combination is untested", found.id)


def _as_run(known: Known, values: Mapping[str, Value]) -> Iterator[Line]:
    """The configuration as a whole, where it was run: how far it lies from the best one."""
    if len(values) < len(known.space.knobs):
        return
    result, best = known.result(values), known.result(known.best[0]) if known.best else None
    if result is None or best is None:
        return
    floor, found, difference = _floor(known), known.find(_DETECTABLE), abs(result - best)
    said = f"it was run: {known.metric} {result:.4g}, the best {best:.4g}"
    if found and floor is not None and difference < floor:
        yield Line(
            (), "no matter", f"{said}; closer together than three seeds can tell ({floor:.2g})", found.id
        )
    elif found and floor is not None:
        yield Line((), "against", f"{said}; further apart than seeds explain ({floor:.2g})", found.id)
    else:
        yield Line((), "unknown", f"{said}; how far seeds move it is not known")


def _predicted(known: Known, values: Mapping[str, Value]) -> float | None:
    """The normalised regret that the task's forest predicts, with the baseline's values for what is not named."""
    named = {name: value for name, value in values.items() if known.space.knob(name)}
    if not known.can_predict or not named:
        return None
    return round(float(known.predicted([{**known.baseline, **named}])[0]), 3)


def _of_task(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [
        {"hyperparameters": list(line.hyperparameters), "verdict": line.verdict, "says": line.says,
         "finding_id": line.finding_id}
        for line in lines
    ]  # fmt: skip


def _over_tasks(by_task: Mapping[str, list[Line]]) -> list[dict[str, Any]]:
    """A line for each value: what most of the tasks that know of it say, and which of them."""
    gathered: dict[tuple[str, ...], dict[str, Line]] = {}
    for task, lines in by_task.items():
        for line in lines:
            if line.hyperparameters:
                gathered.setdefault(line.hyperparameters, {})[task] = line
    return [_most(names, lines) for names, lines in gathered.items()]


def _most(names: tuple[str, ...], lines: Mapping[str, Line]) -> dict[str, Any]:
    order: tuple[Verdict, ...] = ("against", "fits", "no matter")
    tasks = {v: [t for t, line in lines.items() if line.verdict == v] for v in order}
    knowing = sum(map(len, tasks.values()))
    verdict: Verdict = "unknown"
    if len(tasks["against"]) * 2 > knowing:
        verdict = "against" if knowing > 1 else "unknown"  # what one task says is not said of all
    elif knowing:
        verdict = max(order[1:], key=lambda v: len(tasks[v]))
    spoken = [line for line in lines.values() if line.verdict == verdict]
    line = spoken[0] if spoken else next(iter(lines.values()))
    counts = [
        f"{v} on {len(t)} ({', '.join(t[:3])}{', …' if len(t) > 3 else ''})" for v, t in tasks.items() if t
    ]
    says = (
        f"{'; '.join(counts)} of {len(lines)} tasks"
        if counts
        else f"on none of {len(lines)} tasks: {line.says}"
    )
    by_task = {task: {"verdict": own.verdict, "says": own.says, "finding_id": own.finding_id}
               for task, own in lines.items()}  # fmt: skip
    return {"hyperparameters": list(names), "verdict": verdict, "says": says, "finding_id": line.finding_id,
            "tasks": by_task}  # fmt: skip
