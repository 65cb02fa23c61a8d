"""A sampler for Optuna that knows what other tasks have shown: `optuna.create_study(sampler=kb.sampler())`.

The first trials are the short list that covers the other tasks; each further one has the largest expected improvement
under one process over those tasks and the study's own trials (`hpkb.recommend.newcomer`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpkb.recommend import candidates
from hpkb.recommend.candidates import Configuration, Value
from hpkb.recommend.choice import portfolio
from hpkb.recommend.newcomer import LISTED, Newcomer, own_width, usual_width
from hpkb.recommend.population import Population, Space, evidence
from hpkb.recommend.regret import on_regret
from hpkb.stats.sampling import drawn, most_telling
from hpkb.suggest.configuration import name_of
from hpkb.suggest.space import Knob
from hpkb.sweep import FloatArray, Scale, Sweep
from hpkb.vocabulary import read_level

TRIED = 1_000  # candidates among what other tasks ran, and as many that mix their values
RANDOM = 500  # candidates anywhere in the search space
NEAR, NEARNESS = 200, 0.08  # candidates around the best trial, and their deviation in shares of the ranges
STEP = 0.1  # of a range: how far beyond what any task or trial reached a candidate may lie
MOST_OWN = 300  # trials that the process rests on
Axes = Mapping[str, BaseDistribution]
Settle = Callable[[Configuration], Configuration]


class KnowledgeSampler(BaseSampler):
    """Samples what is expected to improve a study the most, given the runs of other tasks and its own trials.

    A parameter may have any name that hpkb reads (`lr`, `optimizer.lr`, `learning_rate`). A failed trial counts as an
    infeasible one, a pruned one as the worst that finished. For studies with one objective.
    """

    def __init__(
        self,
        others: Sequence[Sweep],
        seed: int = 0,
        objective: str | None = None,
        search_space: Axes | None = None,
        settle: Settle = dict,
    ) -> None:
        """`others` are the tasks that are known. `objective`, as `val_loss:min`, says that results have the unit of
        the tasks with that objective. With `search_space` the first trial too is sampled as a whole. `settle` drops
        from a configuration, by canonical names, what does not belong to it.
        """
        self.others = [on_regret(sweep) for sweep in others]
        self.usual_width = usual_width([s for s in others if s.objective == objective])
        self.seed, self.settle = seed, settle
        self.search_space = None if search_space is None else dict(search_space)
        self.in_common = IntersectionSearchSpace()
        self.random = RandomSampler(seed)
        self._priors: dict[str, _Prior] = {}
        self._given: dict[tuple[str, int], dict[str, Any]] = {}  # parameters of running trials that no storage has yet
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """A sampler may be pickled, as Optuna's own; what is fitted is fitted anew."""
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_priors", "_given")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _priors={}, _given={})

    def reseed_rng(self) -> None:
        """Reseeds what is drawn at random where no task knows a parameter; all else depends on the trial's number."""
        self.random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns the search space that was given, else what all finished trials have in common.

        Raises ValueError for a study with several objectives.
        """
        if len(study.directions) > 1:
            raise ValueError("hpkb's sampler is for one objective; this study has several.")
        space = self.in_common.calculate(study) if self.search_space is None else self.search_space
        return {name: axis for name, axis in space.items() if not axis.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the parameters of the next trial."""
        if not search_space:
            return {}
        with self._lock:  # threads of one study ask one after another, so that each knows what the others were given
            prior = self._prior(search_space)
            others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
            running = {
                t.number: self._given.get((study.study_name, t.number), {}) | t.params
                for t in others
                if t.state == TrialState.RUNNING
            }
            if trial.number < LISTED:
                found = prior.listed(trial.number)
            else:
                pending = [prior.read(parameters) for parameters in running.values() if parameters]
                finished = [t for t in others if t.state.is_finished() and t.params]
                own, y = [prior.read(t.params) for t in finished], results(finished, study.direction)
                rng = np.random.default_rng([self.seed, trial.number])
                found = prior.most_improving(own, y, pending, self.usual_width or own_width(y), rng)
            given = {(study.study_name, number): parameters for number, parameters in running.items()}
            self._given = given | {(study.study_name, trial.number): found}
            return found

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns a value of the short list for the first trials, else a random one."""
        if trial.number < LISTED:
            with self._lock:
                values = self._prior({}).short_list[trial.number : trial.number + 1]
            name = name_of(param_name)
            value = as_parameter(param_distribution, name, values[0].get(name)) if values else None
            if value is not None:
                return value
        return self.random.sample_independent(study, trial, param_name, param_distribution)

    def _prior(self, axes: Axes) -> _Prior:
        key = repr(sorted(axes.items(), key=lambda item: item[0]))
        if key not in self._priors:
            self._priors = {key: _Prior(self.others, axes, self.settle, self.seed)}
        return self._priors[key]


@dataclass(frozen=True)
class Candidate:
    """A configuration by canonical names, and the parameters that make it."""

    values: Configuration
    parameters: dict[str, Any]


class _Prior:
    """The process over the other tasks, in the search space of a study; without axes, over what most tasks vary."""

    def __init__(self, others: Sequence[Sweep], axes: Axes, settle: Settle, seed: int) -> None:
        self.axes, self.settle, self.seed = axes, settle, seed
        self.names = names_of(axes)
        self.knobs = {parameter: knob_of(self.names[parameter], axis) for parameter, axis in axes.items()}
        self.space = Space.of(others, sorted(self.names.values()) if axes else candidates.shared_names(others))
        self.reached = np.array([_reached(knob, self.space) for knob in self.knobs.values()]).reshape(-1, 2)
        for knob in self.knobs.values():
            if knob.scale == "category":
                self.space = self.space.with_levels(knob.name, knob.levels)
            else:
                self.space = self.space.with_range(knob.name, knob.low, knob.high, knob.scale == "log")
        read = [candidates.read_all(s, self.space.names) for s in others]
        self.population = Population.fit(evidence(others, self.space, read, seed), seed)
        tried = candidates.observed(others, self.space.names)
        self.tried = [tried[i] for i in drawn(len(tried), TRIED, [seed, 11])]
        self.sources = [*self.tried, *candidates.recombined(self.tried, TRIED, seed), *[{}] * RANDOM]

    @cached_property
    def short_list(self) -> list[Configuration]:
        """The first configurations to try, by canonical names, among those that other tasks tried."""
        return [self.tried[i] for i in self._covering(self.tried)]

    def listed(self, place: int) -> dict[str, Any]:
        """The parameters at one place of the short list in the search space."""
        pool = self._pool([], None, np.random.default_rng(self.seed))
        picks = self._covering([candidate.values for candidate in pool])
        return pool[picks[min(place, len(picks) - 1)]].parameters

    def most_improving(
        self, own: Sequence[Configuration], y: FloatArray, pending: Sequence[Configuration],
        width: tuple[float, float], rng: np.random.Generator,
    ) -> dict[str, Any]:  # fmt: skip
        """The parameters with the largest expected improvement."""
        some = most_telling(y, MOST_OWN)
        rows = self.space.encode([own[i] for i in some])
        newcomer = Newcomer.of(self.population, rows, y[some], width).believing(self.space.encode(pending))
        pool = self._pool([*own, *pending], own[int(y.argmin())] if own else None, rng)
        expected = newcomer.improvement(self.space.encode([candidate.values for candidate in pool]))
        return pool[int(expected.argmax())].parameters

    def _covering(self, configurations: Sequence[Configuration]) -> list[int]:
        """The numbers of the greedy list for draws of an unseen task."""
        best, draws = self.population.unseen(self.space.encode(configurations), self.seed)
        return [int(best[pick]) for pick in portfolio(draws, LISTED)]

    def _pool(
        self, ran: Sequence[Configuration], best: Configuration | None, rng: np.random.Generator
    ) -> list[Candidate]:
        """What other tasks tried, mixtures of it, what is near the best trial, and what is anywhere; nothing twice."""
        low, high = self._within(ran)
        shares = low + (high - low) * rng.random((len(self.sources), len(self.axes)))
        proposed = [
            {p: source.get(k.name, k.at(u)) for (p, k), u in zip(self.knobs.items(), row, strict=True)}
            for source, row in zip(self.sources, shares.tolist(), strict=True)
        ]
        if best is not None:
            near = np.clip(self._shares(best) + NEARNESS * rng.standard_normal((NEAR, len(low))), low, high)
            near = np.where(np.isnan(near), low + (high - low) * rng.random(near.shape), near)
            proposed += [
                {p: k.at(u) for (p, k), u in zip(self.knobs.items(), row, strict=True)} for row in near.tolist()
            ]
        found: dict[candidates.Key, Candidate] = {}
        for values in proposed:
            parameters = {p: as_parameter(axis, self.names[p], values[p]) for p, axis in self.axes.items()}
            if None not in parameters.values():
                candidate = Candidate(self.read(parameters), parameters)
                found.setdefault(candidates.key(candidate.values), candidate)
        taken = {candidates.key(values) for values in ran}
        return [c for key, c in found.items() if key not in taken] or list(found.values())

    def _within(self, ran: Sequence[Configuration]) -> tuple[FloatArray, FloatArray]:
        """The ends of what is proposed, in shares of the search space: a step beyond what any task or trial reached.

        Of what lies further out nothing is known, and far out is where training fails.
        """
        reached = np.stack([*self.reached.T, *map(self._shares, ran)])
        return np.clip(np.nanmin(reached, axis=0) - STEP, 0, 1), np.clip(np.nanmax(reached, axis=0) + STEP, 0, 1)

    def _shares(self, values: Configuration) -> FloatArray:
        """Where a configuration lies in the search space; NaN for what it has no value of."""
        return np.array([k.share(values[k.name]) if k.name in values else np.nan for k in self.knobs.values()])

    def read(self, parameters: Mapping[str, Any]) -> Configuration:
        """A trial's parameters by canonical names."""
        names = {parameter: self.names.get(parameter) or name_of(parameter) for parameter in parameters}
        return self.settle({name: as_value(name, parameters[p]) for p, name in names.items()})


def _reached(knob: Knob, tried: Space) -> tuple[float, float]:
    """The ends of what other tasks tried of a hyperparameter, in shares of its range; all of it where none did."""
    if knob.scale == "category" or knob.name not in tried.low:
        return 0.0, 1.0
    ends = (tried.low[knob.name], tried.high[knob.name])
    low, high = (knob.share(float(np.exp(end)) if knob.name in tried.logs else end) for end in ends)
    return low, high


def results(trials: Sequence[FrozenTrial], direction: StudyDirection) -> FloatArray:
    """Returns the result of each finished trial, the lower the better; infinite where it failed, (trials,)."""
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    complete = [sign * t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    worst = max((v for v in complete if np.isfinite(v)), default=np.inf)
    of_state = {TrialState.PRUNED: worst, TrialState.FAIL: np.inf}
    return np.array([of_state.get(t.state, sign * (t.value or 0.0)) for t in trials], dtype=np.float64)


def names_of(parameters: Iterable[str]) -> dict[str, str]:
    """Returns the name of each parameter; where two would have the same, the second keeps its own."""
    found: dict[str, str] = {}
    for parameter in parameters:
        name = name_of(parameter)
        found[parameter] = parameter if name in found.values() else name
    return found


def knob_of(name: str, axis: BaseDistribution) -> Knob:
    """Returns a parameter's distribution as a hyperparameter of a search space."""
    if isinstance(axis, CategoricalDistribution):
        values = [as_value(name, choice) for choice in axis.choices]
        return Knob(name, "category", levels=tuple(v if isinstance(v, str) else f"{v:g}" for v in values))
    assert isinstance(axis, FloatDistribution | IntDistribution)
    scale: Scale = "log" if axis.log else "linear"
    return Knob(name, scale, float(axis.low), float(axis.high), is_whole=isinstance(axis, IntDistribution))


def as_value(name: str, value: Any) -> Value:
    """Returns a parameter's value as hpkb holds it: a number as a float, all else as the word for its level."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else read_level(name, str(value))


def as_parameter(axis: BaseDistribution, name: str, value: Value | None) -> Any:
    """Returns the value of a parameter's distribution that a value stands for, None where it lies outside."""
    if value is None:
        return None
    if isinstance(axis, CategoricalDistribution):
        wanted = candidates.number(value)
        return next((c for c in axis.choices if candidates.number(as_value(name, c)) == wanted), None)
    assert isinstance(axis, FloatDistribution | IntDistribution)
    slack = 1e-9 * abs(value) if not isinstance(value, str) else 0.0
    if isinstance(value, str) or not axis.low - slack <= value <= axis.high + slack:
        return None
    if axis.step is not None and not (isinstance(axis, IntDistribution) and axis.log):
        value = axis.low + round((value - axis.low) / axis.step) * axis.step
    value = min(max(value, axis.low), axis.high)
    return round(value) if isinstance(axis, IntDistribution) else float(value)
