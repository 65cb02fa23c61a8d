"""Bayesian optimisation with the knowledge base as its prior, through Optuna's interfaces.

While a task has few runs of its own, the sampler is `hpkb.suggest.sampler`, which knows what the other tasks have
shown; the first runs are those that are best over all tasks. With many, or where no other task is like it, Optuna's TPE
is told its own runs. Proposals that wait for their result are kept apart: each is taken to give what is predicted of
it, or by TPE the worst (the constant liar of Ginsbourger, Le Riche & Carraro 2010).
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpkb.errors import HpkbError, KnowledgeBaseError
from hpkb.recommend import candidates
from hpkb.recommend.candidates import Value
from hpkb.recommend.enough import FEWEST_CONFIGURATIONS, FEWEST_TASKS, is_enough
from hpkb.recommend.likeness import Likeness
from hpkb.recommend.newcomer import LISTED
from hpkb.stats.sampling import most_telling
from hpkb.suggest.known import Experiment, Known
from hpkb.suggest.space import Knob, Space, space_of
from hpkb.sweep import IntArray, Sweep

if TYPE_CHECKING:
    from hpkb.kb.knowledge import KnowledgeBase
    from hpkb.suggest.sampler import KnowledgeSampler

ALONE = 60  # runs of its own from which on other tasks are not asked
NAMED = 5  # other tasks that are named
MOST_OWN = 1000  # runs of its own
STARTUP = 8  # trials before TPE models anything
TRIES = 8  # times n that the sampler is asked, since a proposal may be ruled out


def ask(known: Known, alike: Sequence[Likeness], n: int) -> tuple[list[Experiment], str]:
    """Returns n configurations and what they rest on in a sentence.

    Raises HpkbError where Optuna is not installed.
    """
    optuna = _optuna()
    leaned = _leaned_on(known, alike)
    space = widened(known.space, leaned)
    if not space.knobs:
        return [], "No hyperparameter was varied, here or on another task: there is nothing to optimise."
    axes = {knob.name: _distribution(optuna, knob) for knob in space.knobs}
    rows = most_telling(known.sweep.y, MOST_OWN)
    if rows.size >= ALONE:
        leaned = []
    study = _study(optuna, known, leaned, axes, space)
    n_own = _tell(optuna, study, axes, space, known.sweep, rows)
    short_list = _short_list(space, axes, known)[: max(0, LISTED - n_own)]
    for values in short_list:
        study.enqueue_trial({name: v for name, v in values.items() if name in axes})
    found = _asked(study, axes, space, known, n, short_list)
    said = f"Bayesian optimisation on {n_own} run{'' if n_own == 1 else 's'} of its own"
    if leaned:
        more = f" and {len(leaned) - NAMED} more" if len(leaned) > NAMED else ""
        said += f" and those of {len(leaned)} other task{'' if len(leaned) == 1 else 's'}"
        said += f" ({', '.join(s.task for s in leaned[:NAMED])}{more})"
    return found, said + ("; first what is best over all tasks." if short_list else ".")


def sampler_of(base: KnowledgeBase, objective: str | None, seed: int) -> KnowledgeSampler:
    """Returns the sampler that knows the tasks of a knowledge base, but for those that mislead.

    Raises HpkbError where Optuna is not installed, KnowledgeBaseError where no task has enough runs or none has the
    objective.
    """
    _optuna()
    from hpkb.kb import load_sweeps
    from hpkb.suggest.sampler import KnowledgeSampler

    apart = (base.defaults(None) or {}).get("set_aside", ())
    sweeps = [s for s in load_sweeps(base.connection) if is_enough(s) and s.task not in apart]
    if not any(s.hyperparameters for s in sweeps):
        raise KnowledgeBaseError(
            f"No task has {FEWEST_CONFIGURATIONS} configurations yet: a sampler has nothing to know. Try: hpkb suggest"
        )
    objectives = sorted({s.objective for s in sweeps})
    if objective is not None and objective not in objectives:
        raise KnowledgeBaseError(f"No task is judged by '{objective}'. Known: {', '.join(objectives)}.")
    return KnowledgeSampler(sweeps, seed, objective)


def _leaned_on(known: Known, alike: Sequence[Likeness]) -> list[Sweep]:
    """The tasks to learn from, the most alike first; without those that mislead, as far as enough runs show it.

    A task with runs enough for a default does without, where there are too few others for one.
    """
    apart = (known.overall or {}).get("set_aside", ())
    found = [
        part.sweep
        for part in sorted(alike, key=lambda part: (-part.weight, part.sweep.task))
        if is_enough(part.sweep)
        and part.sweep.task not in apart
        and (part.weight > 0 or part.n_shared < FEWEST_CONFIGURATIONS)
    ]
    return [] if is_enough(known.sweep) and len(found) < FEWEST_TASKS else found


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise HpkbError("The design 'bayes' needs Optuna. Run: pip install 'hpkb[optuna]'") from error
    return optuna


def _study(optuna: Any, known: Known, others: Sequence[Sweep], axes: Mapping[str, Any], space: Space) -> Any:
    """A study with the sampler that knows other tasks; where there is none to lean on, with TPE."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if others:
        from hpkb.suggest.sampler import KnowledgeSampler  # a module of Optuna's classes

        sampler = KnowledgeSampler(others, known.seed, known.sweep.objective, axes, space.consistent)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # multivariate and constant_liar are marked as experimental
            sampler = optuna.samplers.TPESampler(
                seed=known.seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP
            )
    return optuna.create_study(direction="minimize", sampler=sampler)


def widened(space: Space, others: Sequence[Sweep]) -> Space:
    """Returns the space with what alike tasks varied: wider ranges of what the task varied, and new hyperparameters.

    A new one only where the task's runs had a value of it; at that value they count.
    """
    knobs = {knob.name: knob for knob in space.knobs}
    for sweep in others:
        for knob in space_of(sweep).knobs:
            mine = knobs.get(knob.name)
            if mine is None and knob.name in space.fixed and knob.only_with is None:
                mine = _holding(knob, space.fixed[knob.name])
            elif mine is not None and mine.scale == knob.scale != "category":
                mine = _joined(mine, knob)
            if mine is not None:
                knobs[knob.name] = mine
    return Space(tuple(knobs.values()), space.fixed, space.limits)


def _joined(one: Knob, other: Knob) -> Knob:
    return Knob(
        one.name, one.scale, min(one.low, other.low), max(one.high, other.high),
        is_whole=one.is_whole and other.is_whole, is_power_of_two=one.is_power_of_two and other.is_power_of_two,
        only_with=one.only_with,
    )  # fmt: skip


def _holding(knob: Knob, text: str) -> Knob | None:
    """The knob of another task where it holds the value that this one always had."""
    value = candidates.number(text)
    share = knob.share(value) if isinstance(value, str) == (knob.scale == "category") else float("nan")
    return knob if 0 <= share <= 1 else None


def _distribution(optuna: Any, knob: Knob) -> Any:
    kinds = optuna.distributions
    if knob.scale == "category":
        return kinds.CategoricalDistribution(knob.levels)
    return kinds.FloatDistribution(knob.low, max(knob.high, knob.low * (1 + 1e-9)), log=knob.scale == "log")


def _tell(
    optuna: Any, study: Any, axes: Mapping[str, Any], space: Space, sweep: Sweep, rows: IntArray
) -> int:
    """Adds runs of the task as finished trials, an infeasible one at infinity; returns how many the space holds."""
    trials = []
    for row in rows:
        values = candidates.read(sweep, int(row), list(axes))
        placed = {name: axes[name] for name in values if _is_inside(space.knob(name), values[name])}
        if placed and len(placed) == len(values):
            y = float(sweep.y[row])
            trials.append(
                optuna.trial.create_trial(
                    params={name: values[name] for name in placed},
                    distributions=placed,
                    value=y if math.isfinite(y) else math.inf,
                )
            )
    study.add_trials(trials)
    return len(trials)


def _is_inside(knob: Knob | None, value: Value) -> bool:
    if knob is None or isinstance(value, str) != (knob.scale == "category"):
        return False
    return value in knob.levels if isinstance(value, str) else knob.low <= value <= knob.high


def _short_list(space: Space, axes: Mapping[str, Any], known: Known) -> list[dict[str, Value]]:
    """The configurations recommended over all tasks that lie within the space and were not run here."""
    overall = known.overall
    if not overall or overall["verdict"] != "recommended":
        return []
    return [
        dict(c["values"])
        for c in overall["configurations"]
        if all(_is_inside(space.knob(name), v) for name, v in c["values"].items() if name in axes)
        and set(axes) <= set(c["values"])
        and not known.has_run(c["values"])
    ]


def _asked(
    study: Any,
    axes: Mapping[str, Any],
    space: Space,
    known: Known,
    n: int,
    short_list: list[dict[str, Value]],
) -> list[Experiment]:
    """Experiments as the sampler asks for them, without those that were run or are ruled out."""
    found: list[Experiment] = []
    for number in range(TRIES * n):
        trial = study.ask(dict(axes))
        is_listed = number < len(short_list)
        params = short_list[number] if is_listed else trial.params
        values = {name: v if is_listed else _typed(space, name, v) for name, v in params.items()}
        values = space.consistent(values)
        seen = {candidates.key(e.values) for e in found}
        if not space.is_safe(values):
            study.tell(trial, math.inf)  # what is known to diverge is not asked again
            continue
        if known.has_run(values) or candidates.key(values) in seen:
            continue
        settles = (
            "Whether what is best over all tasks is good here: it is on the overall short list."
            if is_listed
            else "Whether this beats the best so far: the sampler expects the most of it, given all runs."
        )
        optimum = known.find("optimum", *known.names[:1])
        found.append(Experiment(values, "bayes", settles, finding_id=optimum.id if optimum else None))
        if len(found) == n:
            break
    return found


def _typed(space: Space, name: str, value: Value) -> Value:
    """A value as a person would type it, kept within the range."""
    knob = space.knob(name)
    if knob is None or isinstance(value, str) or knob.scale == "category":
        return value
    return knob.within(float(value))
