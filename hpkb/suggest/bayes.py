"""Bayesian optimisation with the knowledge base as its prior: Optuna's TPE sampler, told what is known before it asks.

What goes in is on one scale, normalised regret (0 the best of a task, 1 its median, 2 an infeasible run), so that runs
of several tasks stand side by side. The task's own runs go in whole. Of other tasks those that agree with it go in, at
most as many runs as make up for what its own runs lack; and the overall short list is asked first. Proposals that wait
for their result are kept apart by the constant liar (Ginsbourger, Le Riche & Carraro 2010).
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpkb.errors import HpkbError
from hpkb.recommend import candidates
from hpkb.recommend.candidates import Value
from hpkb.recommend.enough import FEWEST_CONFIGURATIONS
from hpkb.recommend.likeness import Likeness
from hpkb.recommend.regret import CAP, run_regrets
from hpkb.recommend.task_model import TaskModel
from hpkb.suggest.known import Experiment, Known
from hpkb.suggest.space import Knob, Space, space_of
from hpkb.sweep import FloatArray, IntArray, Sweep

PRIOR = 60  # runs of other tasks where the task has none of its own
MOST_OWN = 1000  # runs of its own
STARTUP = 8  # trials before TPE models anything
TRIES = 8  # times n that the sampler is asked, since a proposal may be ruled out


def ask(known: Known, alike: Sequence[Likeness], n: int) -> tuple[list[Experiment], str]:
    """Returns n configurations, the short list of the overall default first, and what they rest on in a sentence.

    Raises HpkbError where Optuna is not installed.
    """
    optuna = _optuna()
    alike = [part for part in alike if part.weight > 0]
    space = widened(known.space, [part.sweep for part in alike])
    if not space.knobs:
        return [], "No hyperparameter was varied, here or on another task: there is nothing to optimise."
    study = _study(optuna, known.seed)
    axes = {knob.name: _distribution(optuna, knob) for knob in space.knobs}
    own = _own_regrets(known.sweep, alike)
    n_own = _tell(optuna, study, axes, space, known.sweep, own, _own_rows(own))
    n_prior, leaned = _tell_prior(optuna, study, axes, space, alike, max(0, PRIOR - n_own), known.seed)
    short_list = _short_list(space, axes, known)[: max(1, n // 2)]
    for values in short_list:
        study.enqueue_trial({name: v for name, v in values.items() if name in axes})
    found = _asked(study, axes, space, known, n, short_list)
    said = f"Bayesian optimisation (TPE) on {n_own} runs of its own"
    if n_prior:
        said += f" and {n_prior} of alike tasks ({', '.join(leaned)})"
    return found, said + ("; first what is best over all tasks." if short_list else ".")


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise HpkbError("The design 'bayes' needs Optuna. Run: pip install 'hpkb[optuna]'") from error
    return optuna


def _study(optuna: Any, seed: int) -> Any:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # multivariate and constant_liar are marked as experimental
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP
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
    optuna: Any,
    study: Any,
    axes: Mapping[str, Any],
    space: Space,
    sweep: Sweep,
    regrets: FloatArray,
    rows: IntArray,
) -> int:
    """Adds runs of a task as finished trials by their regrets, (runs,); returns how many lie within the space."""
    trials = []
    for row in rows:
        values = candidates.read(sweep, int(row), list(axes))
        placed = {name: axes[name] for name in values if _is_inside(space.knob(name), values[name])}
        if placed and len(placed) == len(values):
            trials.append(
                optuna.trial.create_trial(
                    params={name: values[name] for name in placed},
                    distributions=placed,
                    value=min(float(regrets[row]), CAP),
                )
            )
    study.add_trials(trials)
    return len(trials)


def _own_regrets(sweep: Sweep, alike: Sequence[Likeness]) -> FloatArray:
    """The regret of each run of the task on the scale of the other tasks, (runs,).

    A few runs chosen with care have a median far better than that of a random pool, and would look bad beside the other
    tasks' runs. Until there are enough, they take the regrets that alike tasks predict for the same configurations, in
    the order of their own results.
    """
    usable = [part for part in alike if part.sweep.n_configurations >= FEWEST_CONFIGURATIONS]
    if sweep.n_configurations >= FEWEST_CONFIGURATIONS or not usable:
        return run_regrets(sweep)
    names = sorted({h.name for part in usable for h in part.sweep.hyperparameters})
    configurations = candidates.read_all(sweep, names, range(sweep.n_runs))
    predicted = [
        TaskModel.fit(p.sweep, [h.name for h in p.sweep.hyperparameters], 0).predict(configurations)
        for p in usable
    ]
    mean = np.average(predicted, axis=0, weights=[part.weight for part in usable])
    matched = np.empty(sweep.n_runs)
    matched[np.argsort(sweep.y, kind="stable")] = np.sort(mean)
    return np.where(np.isfinite(sweep.y), matched, CAP)


def _own_rows(regrets: FloatArray) -> IntArray:
    """All runs; of very many the best ones, and of the others as many as there is time for, evenly by rank."""
    order = np.argsort(regrets, kind="stable")
    if order.size <= MOST_OWN:
        return order
    spread = np.linspace(MOST_OWN // 4, order.size - 1, MOST_OWN - MOST_OWN // 4).astype(np.int64)
    return np.concatenate([order[: MOST_OWN // 4], order[spread]])


def _is_inside(knob: Knob | None, value: Value) -> bool:
    if knob is None or isinstance(value, str) != (knob.scale == "category"):
        return False
    return value in knob.levels if isinstance(value, str) else knob.low <= value <= knob.high


def _tell_prior(
    optuna: Any,
    study: Any,
    axes: Mapping[str, Any],
    space: Space,
    alike: Sequence[Likeness],
    n: int,
    seed: int,
) -> tuple[int, list[str]]:
    """Adds about n runs of other tasks, of each in proportion to its weight, drawn at random."""
    total = sum(part.weight for part in alike)
    told, leaned = 0, []
    for part in sorted(alike, key=lambda p: (-p.weight, p.sweep.task)):
        share = min(part.sweep.n_runs, round(n * part.weight / total)) if total else 0
        rows = np.random.default_rng(seed).permutation(part.sweep.n_runs)[:share]
        added = _tell(optuna, study, axes, space, part.sweep, run_regrets(part.sweep), rows)
        told += added
        leaned += [part.sweep.task] if added else []
    return told, leaned


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
            study.tell(trial, CAP)  # what is known to diverge is not asked again
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
